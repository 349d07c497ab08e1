"""From what the probes print to facts: ffprobe's JSON, and the report of FFmpeg's own look at the first pictures."""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from penstock.ffmpeg import rates
from penstock.ffmpeg.config import FfmpegConfig
from penstock.ffmpeg.refusals import Refusal, refused
from penstock.video.media import (
    TRANSPORT_CLOCKS,
    AudioStream,
    Chapter,
    Colour,
    Scan,
    SkippedStream,
    SourceMedia,
    SubtitleStream,
    VideoStream,
)

# A row of a display matrix as ffprobe prints it: its number, and three of which the last is perspective.
_MATRIX_ROW = re.compile(r"[0-9a-f]{8}: +(-?\d+) +(-?\d+) +-?\d+")
_TEXT_SUBTITLES = frozenset(
    {"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "sami", "microdvd", "subviewer"}
)
_ENCRYPTED_TAGS = frozenset({"encv", "enca", "drmi", "drms"})
_CUSTOMARY = frozenset({*range(1, 9), 16, 24})  # numbers of channels for which FFmpeg has a layout to assume
_UNSAID = frozenset({None, "", "unknown", "unspecified", "reserved", "N/A"})


@dataclass(frozen=True, slots=True)
class Look:
    """What the first decoded pictures told."""

    pictures: int
    width: int
    height: int
    pixel_format: str
    colour: Colour
    flagged_top: int  # pictures that the stream itself calls interlaced, top field first
    flagged_bottom: int
    seen_top: int  # pictures in which ``idet`` saw lines of two moments
    seen_bottom: int
    seen_progressive: int

    @property
    def scan(self) -> Scan:
        """How the lines were taken: what was seen, and what is flagged where too little moved to see it."""
        top, bottom, progressive = self.seen_top, self.seen_bottom, self.seen_progressive
        if top + bottom + progressive == 0:
            top, bottom = self.flagged_top, self.flagged_bottom
        if top + bottom <= progressive:
            return Scan.PROGRESSIVE
        return Scan.TOP_FIRST if top >= bottom else Scan.BOTTOM_FIRST


def read(
    document: Mapping[str, Any], *, size: int, decodable: Collection[str], limits: FfmpegConfig
) -> SourceMedia:
    """The facts in ffprobe's JSON. Raises ``MediaError`` for what cannot become a video."""
    streams = document.get("streams", [])
    if len(streams) > limits.max_streams:
        raise refused(
            Refusal.TOO_MANY_STREAMS, f"It has {len(streams)}; at most {limits.max_streams} are accepted."
        )
    if any(_is_encrypted(packet) for packet in document.get("packets", [])):
        raise refused(Refusal.ENCRYPTED)
    sorted_ = _Sorted(decodable, _times_by_stream(document))
    for stream in streams:
        sorted_.take(stream)
    if not sorted_.video and not sorted_.audio:
        tried = any(skipped.reason == "undecodable" for skipped in sorted_.skipped)
        raise refused(Refusal.UNDECODABLE if tried else Refusal.NO_STREAMS)
    header = document.get("format", {})
    container = str(header.get("format_name", ""))
    still = container.endswith("_pipe")
    duration = None if still else _decimal(header.get("duration"))
    # By the first and the last time of a transport stream, whose clock may jump in between: the scan will know.
    if duration is not None and duration > limits.max_duration and container not in TRANSPORT_CLOCKS:
        raise refused(
            Refusal.TOO_LONG,
            f"It lasts {float(duration) / 3600:.1f} h; at most {limits.max_duration / 3600:.1f} h.",
        )
    starts = [stream.start for stream in sorted_.video] + [stream.start for stream in sorted_.audio]
    return SourceMedia(
        container=container,
        size=size,
        start=_decimal(header.get("start_time")) or min(starts),
        duration=duration,
        video=tuple(sorted(sorted_.video, key=lambda item: not sorted_.default[item.index])),
        audio=tuple(sorted_.audio),
        subtitles=tuple(sorted_.subtitles),
        chapters=tuple(
            _chapter(item, number) for number, item in enumerate(document.get("chapters", []), start=1)
        ),
        skipped=tuple(sorted_.skipped),
        still=still,
    )


def look(report: str) -> Look:
    """The report of :func:`commands.look`. ``pictures`` is 0 where nothing could be decoded."""
    frames = re.findall(r"showinfo.*\] n: *\d+ .*? fmt:(\S+) .*?s:(\d+)x(\d+) i:([PTB])", report)
    tags = re.search(r"color_range:(\S+) color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", report)
    # The last count: a graph that is set up anew once the pictures are known reports an empty one before.
    seen = re.findall(r"Multi frame detection: TFF: *(\d+) BFF: *(\d+) Progressive: *(\d+)", report)
    if not frames:
        return Look(0, 0, 0, "", Colour(), 0, 0, 0, 0, 0)
    pixel_format, width, height, _ = frames[0]
    flags = [frame[3] for frame in frames]
    top, bottom, progressive = (int(count) for count in seen[-1]) if seen else (0, 0, 0)
    colour = Colour()
    if tags:
        colour = _colour(pixel_format, *tags.groups())
    return Look(
        len(frames), int(width), int(height), pixel_format, colour, flags.count("T"), flags.count("B"), top, bottom, progressive
    )  # fmt: skip


def refuse_larger(report: str, limits: FfmpegConfig) -> None:
    """Raises ``MediaError`` where a decoder says that it gave up because its pictures are larger than the limit."""
    for width, height in re.findall(r"Picture size (\d+)x(\d+) ", report):
        if int(width) * int(height) > limits.max_pixels:
            raise refused(Refusal.TOO_LARGE, f"It is {width} by {height}.")


def corrected(stream: VideoStream, seen: Look, limits: FfmpegConfig) -> VideoStream:
    """The stream with what its pictures said in place of what its header said. Raises ``MediaError``."""
    if seen.pictures == 0:
        raise refused(Refusal.UNDECODABLE, f"Its pictures are '{stream.codec}'.")
    if seen.width * seen.height > limits.max_pixels:
        raise refused(Refusal.TOO_LARGE, f"It is {seen.width} by {seen.height}.")
    named, found = stream.colour, seen.colour
    return replace(
        stream,
        width=seen.width,
        height=seen.height,
        pixel_format=seen.pixel_format,
        bit_depth=_bit_depth(seen.pixel_format),
        colour=Colour(
            found.full_range,
            found.matrix or named.matrix,
            found.primaries or named.primaries,
            found.transfer or named.transfer,
        ),
    )


def may_be_interlaced(field_order: str, codec: str) -> bool:
    """Whether a stream's pictures must be looked at for lines of two moments."""
    old = {
        "mpeg2video",
        "mpeg1video",
        "dvvideo",
        "rawvideo",
        "vc1",
        "huffyuv",
        "ffv1",
        "mjpeg",
        "prores",
        "dnxhd",
    }
    return field_order in {"tt", "bb", "tb", "bt"} or (field_order in _UNSAID and codec in old)


class _Sorted:
    """Streams by what they are good for."""

    def __init__(self, decodable: Collection[str], times: Mapping[int, list[Fraction]]) -> None:
        self._decodable = decodable
        self._times = times
        self.video: list[VideoStream] = []
        self.audio: list[AudioStream] = []
        self.subtitles: list[SubtitleStream] = []
        self.skipped: list[SkippedStream] = []
        self.default: dict[int, bool] = {}

    def take(self, stream: Mapping[str, Any]) -> None:
        """Read one stream of the probe's list. Raises ``MediaError`` for an encrypted one."""
        kind = str(stream.get("codec_type", "unknown"))
        index = int(stream["index"])
        disposition = stream.get("disposition", {})
        self.default[index] = bool(disposition.get("default"))
        if kind in {"video", "audio"} and _is_encrypted(stream):
            raise refused(Refusal.ENCRYPTED)
        if kind == "subtitle":
            self.subtitles.append(_subtitles(stream))
            return
        reason = self._useless(kind, stream)
        if reason:
            self.skipped.append(SkippedStream(index, kind, reason))
        elif kind == "video":
            self.video.append(_video(stream, self._times.get(index, [])))
        else:
            self.audio.append(_audio(stream))

    def _useless(self, kind: str, stream: Mapping[str, Any]) -> str | None:
        if kind not in {"video", "audio"}:
            return "data"
        if kind == "video" and any(
            stream.get("disposition", {}).get(flag) for flag in ("attached_pic", "timed_thumbnails")
        ):
            return "cover_art"
        if not self._times.get(int(stream["index"])) and stream.get("nb_frames") in {None, "0"}:
            return "empty"
        if stream.get("codec_name") not in self._decodable:
            return "undecodable"
        if kind == "video":  # its size may be 0 so far: the first decoded picture tells
            return None
        channels, rate = int(stream.get("channels", 0)), int(stream.get("sample_rate", 0))
        # Which loudspeaker a channel is for must be said or be customary, or nothing can be mixed from them.
        mixable = stream.get("channel_layout") not in _UNSAID or channels in _CUSTOMARY
        return None if channels > 0 and rate > 0 and mixable else "undecodable"


def _times_by_stream(document: Mapping[str, Any]) -> Mapping[int, list[Fraction]]:
    """The sampled presentation times of each stream, in ticks, as the packets came."""
    times: dict[int, list[Fraction]] = defaultdict(list)
    for packet in document.get("packets", []):
        known = (packet.get(key) for key in ("pts", "dts"))  # either may be missing or "N/A"
        tick = next((value for value in known if isinstance(value, int)), None)
        # D: before an edit list's beginning, never shown
        if tick is not None and "D" not in packet.get("flags", ""):
            times[int(packet["stream_index"])].append(Fraction(tick))
    return times


def _video(stream: Mapping[str, Any], ticks: list[Fraction]) -> VideoStream:
    time_base = Fraction(stream["time_base"])
    # Packets come in decode order: near the sample's end some that are shown earlier have not come yet.
    reordered = 2 * int(stream.get("has_b_frames", 0)) + 2
    shown = sorted(set(ticks))
    frames = int(stream["nb_frames"]) if str(stream.get("nb_frames", "")).isdigit() else None
    if frames is None or len(shown) < frames:
        shown = shown[: max(len(shown) - reordered, 2)]
    times = [tick * time_base for tick in shown]
    average = _ratio(stream.get("avg_frame_rate"))
    nominal = _ratio(stream.get("r_frame_rate"))
    # An average is worth something only where the header counted the frames; else it was guessed from a few packets.
    counted = average if frames else None
    pixel_format = str(stream.get("pix_fmt", ""))
    shown_from = _ticks(stream.get("start_pts"), time_base)
    if shown_from is None:
        shown_from = min(times, default=Fraction(0))
    turn, mirrored = orientation(stream)
    return VideoStream(
        index=int(stream["index"]),
        codec=str(stream["codec_name"]),
        width=int(stream["width"]),
        height=int(stream["height"]),
        sample_aspect=_aspect(stream.get("sample_aspect_ratio")),
        rotation=turn,
        mirrored=mirrored,
        pixel_format=pixel_format,
        bit_depth=_bit_depth(pixel_format),
        colour=_colour(
            pixel_format,
            stream.get("color_range"),
            stream.get("color_space"),
            stream.get("color_primaries"),
            stream.get("color_transfer"),
        ),
        time_base=time_base,
        start=shown_from,
        duration=_length(stream, time_base, shown_from),
        header_frames=frames or None,
        constant_rate=rates.constant(times, time_base, (nominal, average), counted),
        typical_rate=rates.typical(times),
        average_rate=average,
        scan=Scan.PROGRESSIVE,
        language=stream.get("tags", {}).get("language"),
    )


def _audio(stream: Mapping[str, Any]) -> AudioStream:
    time_base, tags = Fraction(stream["time_base"]), stream.get("tags", {})
    start = _ticks(stream.get("start_pts"), time_base) or Fraction(0)
    return AudioStream(
        index=int(stream["index"]),
        codec=str(stream["codec_name"]),
        sample_rate=int(stream["sample_rate"]),
        channels=int(stream["channels"]),
        layout=stream.get("channel_layout"),
        start=start,
        duration=_length(stream, time_base, start),
        language=tags.get("language"),
        title=tags.get("title"),
        default=bool(stream.get("disposition", {}).get("default")),
    )


def _subtitles(stream: Mapping[str, Any]) -> SubtitleStream:
    tags, disposition = stream.get("tags", {}), stream.get("disposition", {})
    codec = str(stream.get("codec_name", "unknown"))
    return SubtitleStream(
        index=int(stream["index"]),
        codec=codec,
        text=codec in _TEXT_SUBTITLES,
        language=tags.get("language"),
        title=tags.get("title"),
        default=bool(disposition.get("default")),
        forced=bool(disposition.get("forced")),
    )


def _chapter(item: Mapping[str, Any], number: int) -> Chapter:
    time_base = Fraction(item["time_base"])
    title = item.get("tags", {}).get("title") or f"Chapter {number}"
    return Chapter(item["start"] * time_base, item["end"] * time_base, str(title))


def _is_encrypted(item: Mapping[str, Any]) -> bool:
    """Whether a stream or a packet says that it is: by its tag, or by what hangs on it."""
    side_data = (str(data.get("side_data_type", "")) for data in item.get("side_data_list", []))
    return item.get("codec_tag_string") in _ENCRYPTED_TAGS or any(
        kind.startswith("Encryption") for kind in side_data
    )


def orientation(item: Mapping[str, Any]) -> tuple[int, bool]:
    """How a stream's or a picture's display matrix wants it shown: mirrored left to right or not, then turned clockwise."""
    for data in item.get("side_data_list", []):
        numbers = _MATRIX_ROW.findall(str(data.get("displaymatrix", "")))
        if len(numbers) >= 2:
            (a, b), (c, d) = ((int(first), int(second)) for first, second in numbers[:2])
            # A point (x, y), y downwards, is shown at (ax + cy, bx + dy) (ISO/IEC 14496-12): the lower row is that of the turn
            # whether there is a mirror or not, and the determinant tells whether there is.
            turn = round(math.degrees(math.atan2(-c, d)) / 90) * 90 % 360
            return turn, a * d - b * c < 0
    return 0, False


def dolby_vision_profile(document: Mapping[str, Any], index: int) -> int | None:
    """The Dolby Vision profile of a stream in ffprobe's JSON, None for other streams."""
    for stream in document.get("streams", []):
        for item in stream.get("side_data_list", []) if stream["index"] == index else ():
            if "dv_profile" in item:
                return int(item["dv_profile"])
    return None


def _colour(pixel_format: str, range_: Any, matrix: Any, primaries: Any, transfer: Any) -> Colour:
    full = range_ in {"pc", "jpeg", "full"} or pixel_format.startswith("yuvj")
    named = [None if value in _UNSAID else str(value) for value in (matrix, primaries, transfer)]
    return Colour(full, *named)


def _bit_depth(pixel_format: str) -> int:
    """Bits per component from the name of the format: yuv420p10le, p010le, gray12be, rgb48le; 8 where it says nothing."""
    found = re.search(r"(\d+)(?:le|be)$", pixel_format)
    if found is None:
        return 8
    bits = int(found[1])
    return min(bits, 16)


def _aspect(text: Any) -> Fraction:
    """``1137:800``. Absurd ratios are mistakes of some muxer, and square pixels the better guess."""
    width, _, height = str(text or "").partition(":")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        return Fraction(1)
    aspect = Fraction(int(width), int(height))
    return aspect if Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def _ratio(text: Any) -> Fraction | None:
    numerator, _, denominator = str(text or "").partition("/")
    if not (numerator.isdigit() and denominator.isdigit() and int(numerator) and int(denominator)):
        return None
    return Fraction(int(numerator), int(denominator))


def _decimal(text: Any) -> Fraction | None:
    return None if text in _UNSAID else Fraction(str(text))


def _length(stream: Mapping[str, Any], time_base: Fraction, start: Fraction) -> Fraction | None:
    """Seconds that the header claims for a stream; Matroska has a tag that says where it ends, ``00:00:30.160000000``."""
    if stream.get("duration_ts") is not None:
        return _ticks(stream["duration_ts"], time_base)
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(stream.get("tags", {}).get("DURATION", "")))
    if found is None:
        return None
    return max(int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3]) - start, Fraction(0))


def _ticks(ticks: Any, time_base: Fraction) -> Fraction | None:
    return None if ticks is None else int(ticks) * time_base
