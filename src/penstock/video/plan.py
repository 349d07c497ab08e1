"""The plan: what a source will become. A pure function of the source's facts and the settings, stored with the video.

Same facts and settings give the same plan on every machine, and its digest says whether two plans are the same. The
plan pins what the encoder's bytes depend on. It knows no commands, files or records; ``ffmpeg/commands.py`` writes the
commands, and every chunk's number of frames is known before it is encoded.
"""

import bisect
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Self

from penstock.video import documents, ladder, tracks
from penstock.video import grid as grids
from penstock.video.grid import Grid, nearest
from penstock.video.ladder import Rung
from penstock.video.media import Chapter, Colour, Scan, SourceMedia, VideoStream
from penstock.video.tracks import AudioTrack, CaptionsTrack

FORMAT = 2


class Profile(StrEnum):
    """How much work goes into each bit."""

    SPEED = "speed"  # fewest CPU seconds; about a fifth more bits for the same picture
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator decides about every video. Changing one changes the plan's digest, so a retry plans anew."""

    profile: Profile = Profile.BALANCED  # ``speed`` or ``balanced``: how much work goes into each bit
    max_rung: int = 1080  # highest standard height; 1440 and 2160 cost two and four times 1080
    gop_seconds: Fraction = Fraction(2)  # between keyframes: how precisely a player can seek and switch
    segment_gops: int = 2  # keyframe intervals per segment: 4 s segments halve the requests of 2 s ones
    first_chunk_segments: int = 1  # the first chunk is short, because the video becomes playable with it
    chunk_segments: int = 4  # 16 s: long enough that the restart of the rate control costs nothing to see
    threads: int = 1  # of one encoder of a large rung; part of the plan because bytes depend on it
    first_threads: int = 2  # the same in the first chunk, which somebody waits for
    loudness: bool = (
        False  # bring each track to -16 LUFS (EBU R128); costs a pass of its own and changes the mix
    )
    fingerprint: str = (
        ""  # of the tools (``ffmpeg/discovery.py``): only nodes with the same may work on the plan
    )


@dataclass(frozen=True, slots=True)
class VideoTreatment:
    """What is done to every picture before it is scaled to the rungs."""

    stream: int  # index in the source
    width: int  # of the pictures as decoded
    height: int
    rotation: int  # degrees clockwise
    mirrored: bool  # left to right, before it is turned
    deinterlace: Scan  # progressive: nothing to do; else the field that comes first
    colour_in: Colour  # with gaps filled by what the size suggests
    colour_out: Colour
    tonemap: bool  # from HDR to the standard range


@dataclass(frozen=True, slots=True)
class Poster:
    """The still that stands for the video."""

    time: Fraction  # seconds on the source's clock
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a source will become. ``grid``, ``video`` and ``poster`` are None for a source without pictures."""

    format: int
    fingerprint: str  # of the tools whose bytes the plan counts on
    container: str  # the source's demuxer
    origin: Fraction  # seconds on the source's clock that become zero: the earliest start of any chosen track
    duration: Fraction | None  # seconds after ``origin`` as the header claims; None: only the scan will tell
    scan_stream: int  # index of the stream whose packets the scan counts: the pictures, else the first sound
    # Seconds on the source's clock where its own header ends it; None: it does not say.
    scan_end: Fraction | None
    still: bool  # one picture, held for one segment
    preset: str  # the encoder's
    grid: Grid | None
    video: VideoTreatment | None
    rungs: tuple[Rung, ...]  # lowest first
    audio: tuple[AudioTrack, ...]
    captions: tuple[CaptionsTrack, ...]
    chapters: tuple[Chapter, ...]  # times after ``origin``
    poster: Poster | None
    target_duration: int  # seconds: no segment is longer, rounded (RFC 8216 section 4.3.3.1)
    first_chunk_segments: int
    chunk_segments: int
    first_chunk_early: (
        bool  # whether chunk 0 can be planned before the scan: the header is believable and long enough
    )

    def to_json(self) -> str:
        """Canonical JSON text."""
        return documents.dumps(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The value of :meth:`to_json`. Raises ``DocumentMalformed``."""
        return documents.loads(cls, text)

    def digest(self) -> str:
        """64 hexadecimal digits; equal for equal plans on every machine."""
        return documents.digest(self)

    def rung(self, name: str) -> Rung:
        """The rung with this name."""
        return next(rung for rung in self.rungs if rung.name == name)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What reading every packet's head found out. Times are ticks of ``time_base`` on the source's clock."""

    time_base: Fraction  # of the chosen video stream; of the first audio track where there are no pictures
    keyframes: tuple[int, ...]  # presentation times of the frames that decoding can start at, ascending
    frames: int  # packets of the chosen video stream
    last: int  # presentation time of the last of them
    end: int  # when it ends as its packet says, which may be too early (of the first audio track without pictures)
    truncated: bool  # the packets end earlier than the header said

    def to_json(self) -> str:
        """Canonical JSON text."""
        return documents.dumps(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The value of :meth:`to_json`. Raises ``DocumentMalformed``."""
        return documents.loads(cls, text)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of whole segments that one task encodes for all rungs with one decode."""

    index: int  # from 0; the index of the task
    first_frame: int  # on the grid, from 0
    frames: int  # what every rung must contain, no more and no less
    first_segment: int  # its number, from 1
    segments: int
    # Seconds on the source's clock of the keyframe to start decoding at; None: from the beginning.
    seek: Fraction | None
    last: bool  # nothing follows; the source's last picture may have to be held for its rounding


def plan(media: SourceMedia, settings: Settings) -> Plan:
    """The plan for a source. A source without any video or audio stream has none: the probe refuses it."""
    picture = media.video[0] if media.video else None
    origin = min([stream.start for stream in media.video[:1]] + [stream.start for stream in media.audio])
    counted = picture or media.audio[0]
    grid = (
        grids.choose(
            picture,
            origin,
            still=media.still,
            gop_seconds=settings.gop_seconds,
            segment_gops=settings.segment_gops,
        )
        if picture
        else None
    )
    seconds = (
        Fraction(grid.segment_frames) / grid.rate if grid else settings.gop_seconds * settings.segment_gops
    )
    audio = tracks.audio(media, seconds, loudness=settings.loudness)
    end = None if media.duration is None else media.start + media.duration
    return Plan(
        format=FORMAT,
        fingerprint=settings.fingerprint,
        container=media.container,
        origin=origin,
        duration=None if end is None else max(end - origin, Fraction(0)),
        scan_stream=counted.index,
        scan_end=None if counted.duration is None else counted.start + counted.duration,
        still=media.still,
        preset=_PRESETS[settings.profile],
        grid=grid,
        video=_treatment(picture) if picture else None,
        rungs=_rungs(picture, grid, settings) if picture and grid else (),
        audio=audio,
        captions=tracks.captions(media),
        chapters=tuple(
            Chapter(max(chapter.start - origin, Fraction(0)), chapter.end - origin, chapter.title)
            for chapter in media.chapters
            if chapter.end > origin
        ),
        poster=_poster(picture, end) if picture else None,
        target_duration=nearest(
            max(
                [
                    grid.longest_segment if grid else seconds,
                    *(Fraction(t.segment_samples, t.sample_rate) for t in audio),
                ]
            )
        ),
        first_chunk_segments=settings.first_chunk_segments,
        chunk_segments=settings.chunk_segments,
        first_chunk_early=_believable(media, picture, grid, settings) if picture and grid else False,
    )


def total_frames(plan: Plan, scan: ScanResult) -> int:
    """Frames of every rung over the whole video, known once the source is scanned; 0 without pictures."""
    if plan.grid is None:
        return 0
    if plan.still:
        return plan.grid.segment_frames
    last, end = (plan.grid.frame_at(ticks * scan.time_base) for ticks in (scan.last, scan.end))
    # Every picture is shown for a frame at least: FLV and Matroska may claim a tick.
    return max(last + 1, end)


def duration(plan: Plan, scan: ScanResult) -> Fraction:
    """Seconds of the finished pictures, or of the first sound track where there are none, as the scan knows it."""
    if plan.grid is None:
        return max(scan.end * scan.time_base - plan.origin, Fraction(0))
    return total_frames(plan, scan) / plan.grid.rate


def chunks(plan: Plan, scan: ScanResult | None) -> tuple[Chunk, ...]:
    """All chunks in order; without a scan at most the first one, and none where the header cannot be believed.

    The first chunk planned early equals the first chunk planned with the scan unless the header lied about the length:
    so a task derives its chunk from whatever is known when it runs, and a retry after the scan is right by itself.
    """
    grid = plan.grid
    if grid is None:
        return ()
    first = plan.first_chunk_segments * grid.segment_frames
    if scan is None:
        early = Chunk(0, 0, first, 1, plan.first_chunk_segments, None, last=False)
        return (early,) if plan.first_chunk_early else ()
    total = total_frames(plan, scan)
    step = plan.chunk_segments * grid.segment_frames
    # What is too short for a segment is too short for a chunk.
    starts = [0, *range(first, total - grid.shortest_tail + 1, step)]
    result = []
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], total], strict=True)):
        result.append(
            Chunk(
                index=index,
                first_frame=start,
                frames=end - start,
                first_segment=start // grid.segment_frames + 1,
                segments=grid.segments(end - start),
                seek=_seek(plan, grid, scan, start) if start else None,
                last=end == total,
            )
        )
    return tuple(result)


_PRESETS = {Profile.SPEED: "superfast", Profile.BALANCED: "veryfast"}
_CRF = {Profile.SPEED: 24, Profile.BALANCED: 23}
_EXACT_SEEKING = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # demuxers whose index names every keyframe


def _seek(plan: Plan, grid: Grid, scan: ScanResult, first_frame: int) -> Fraction | None:
    """The keyframe to decode from so that every picture shown from ``first_frame`` on is there; None: the beginning."""
    # The picture shown at a grid frame is the last one whose time, rounded to the grid, is not later: a keyframe at or
    # before half a frame before this one precedes it. A deinterlacer looks two pictures back.
    margin = Fraction(1, 2) if plan.video and plan.video.deinterlace is Scan.PROGRESSIVE else Fraction(5, 2)
    latest = grid.video_origin + (first_frame - margin) / grid.rate
    position = bisect.bisect_right(scan.keyframes, latest / scan.time_base) - 1
    if plan.container not in _EXACT_SEEKING:
        position -= (
            1  # TS, PS, AVI, FLV find a position by guessing or by decode time: one group earlier is safe
        )
    return scan.keyframes[position] * scan.time_base if position > 0 else None


def _believable(media: SourceMedia, stream: VideoStream, grid: Grid, settings: Settings) -> bool:
    """Whether the header's word on the length is good enough to cut the first chunk by."""
    claimed = stream.start + stream.duration if stream.duration is not None else None
    if claimed is None and media.duration is not None:
        claimed = media.start + media.duration
    if claimed is None or media.truncated or media.still:
        return False
    needed = settings.first_chunk_segments * grid.segment_frames
    # A header that counts frames has a table of them; others estimate, and get a whole segment of doubt.
    doubt = grid.shortest_tail if stream.header_frames else grid.segment_frames
    return (claimed - grid.video_origin) * grid.rate >= needed + doubt


def _treatment(stream: VideoStream) -> VideoTreatment:
    colour = _completed(stream)
    # Standard-range YCbCr keeps its own matrix and says so; what browsers do not show faithfully becomes BT.709.
    kept = (
        colour.hdr is None
        and colour.matrix in {"bt709", "smpte170m", "bt470bg"}
        and colour.primaries != "bt2020"
    )
    return VideoTreatment(
        stream=stream.index,
        width=stream.width,
        height=stream.height,
        rotation=stream.rotation,
        mirrored=stream.mirrored,
        deinterlace=stream.scan,
        colour_in=colour,
        colour_out=replace(colour, full_range=False) if kept else Colour(False, "bt709", "bt709", "bt709"),
        tonemap=colour.hdr is not None,
    )


def _completed(stream: VideoStream) -> Colour:
    """The stream's colour tags; where it has none, what players assume from its size, so that all rungs agree."""
    rgb = stream.pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "pal8"))
    guess = "gbr" if rgb else "bt709" if max(stream.width, stream.height) >= 1280 else "smpte170m"
    tags = stream.colour
    curve = "bt709" if guess == "gbr" else guess
    return Colour(
        full_range=tags.full_range,
        matrix=tags.matrix or guess,
        primaries=tags.primaries or curve,
        transfer=tags.transfer or curve,
    )


def _rungs(stream: VideoStream, grid: Grid, settings: Settings) -> tuple[Rung, ...]:
    width, height = stream.upright_size
    return ladder.choose(
        width,
        height,
        rate=grid.rate,
        max_rung=settings.max_rung,
        crf=_CRF[settings.profile],
        threads=settings.threads,
        first_threads=settings.first_threads,
    )


def _poster(stream: VideoStream, end: Fraction | None) -> Poster:
    """A tenth of the way in, at most 10 s: past a black beginning, and still near the file's start."""
    time = (
        stream.start
        if end is None
        else stream.start + max(min((end - stream.start) / 10, Fraction(10)), Fraction(0))
    )
    width, height = ladder.fitted(*stream.upright_size, 720)
    return Poster(time, width, height)
