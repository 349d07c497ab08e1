"""The media tools' command lines, as values. Pure: nothing here touches a file or starts a process.

Every argument says why it is there. Commands write to pipes only: descriptor 3 carries FFmpeg's progress, 4 and up what
is made, 1 an answer. Paths are absolute and behind ``file:``, so that no name can be taken for an option or a protocol.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penstock.ffmpeg import graphs
from penstock.video.grid import Grid
from penstock.video.ladder import Rung
from penstock.video.plan import Chunk, Plan
from penstock.video.tracks import AudioTrack, CaptionsTrack

PROGRESS_PIPE = 3
FIRST_OUTPUT_PIPE = 4

# How many pictures may be decoded before one that is shown earlier. It is part of every init segment, so it is pinned:
# two, because a B-frame may itself be referred to (x264's b-pyramid).
REORDERED_PICTURES = 2

# The containers that are opened at all. Nothing that names other files or addresses is among them: no playlist, no
# concatenation script, no session description. FFmpeg matches any one of a demuxer's names.
CONTAINERS = (
    "mov", "matroska", "mpegts", "mpeg", "avi", "flv", "asf", "ogg", "wav", "mp3", "aac", "flac", "aiff", "amr", "caf",
    "ac3", "eac3", "mpegvideo", "h264", "hevc", "ivf", "mxf", "dv", "gif", "apng", "png_pipe", "jpeg_pipe", "webp_pipe",
    "nut", "yuv4mpegpipe", "w64",
)  # fmt: skip

# Bytes: an 8K picture of 16 bits per colour has 285 million, the index of twenty million packets 480 million.
_MAX_ALLOCATION = 1 << 30


@dataclass(frozen=True, slots=True)
class Command:
    """What ``run.py`` starts: the program, its arguments, the files it may read, how many pipes it gets from 3 on."""

    program: Literal["ffmpeg", "ffprobe"]
    arguments: tuple[str, ...]
    reads: tuple[Path, ...] = ()
    pipes: int = 0


def about(what: str, *, program: Literal["ffmpeg", "ffprobe"] = "ffmpeg") -> Command:
    """Ask a tool about itself: ``version``, ``encoders``, ``filters``..."""
    return Command(program, ("-hide_banner", f"-{what}"))


def help_page() -> Command:
    """Every option of the program itself, and none of its codecs'."""
    return Command("ffmpeg", ("-hide_banner", "-h", "long"))


def test_source() -> Command:
    """Two seconds of moving pictures and a tone that the tool makes by itself, as Matroska on pipe 4."""
    return Command(
        "ffmpeg",
        (
            *_quiet("error"),
            *_progress(),
            *("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2"),
            *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=2"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"),
            *("-f", "matroska", f"pipe:{FIRST_OUTPUT_PIPE}"),
        ),
        pipes=2,
    )


def probe(source: Path, packets: int, max_pixels: int) -> Command:
    """Header, streams, chapters and the first packets of a source, as JSON on standard output."""
    return Command(
        "ffprobe",
        (
            *("-v", "error"),  # what it complains about tells the kinds of unreadable files apart
            *_guarded(max_pixels),
            "-show_format",
            "-show_streams",
            "-show_chapters",
            # Side data tells an encrypted packet where the stream's description does not.
            *("-show_entries", "packet=stream_index,pts,dts,duration,flags:packet_side_data=side_data_type"),
            "-show_packets",
            *("-read_intervals", f"%+#{packets}"),  # the beginning only: enough to know a rate by
            *("-of", "json"),
            _name(source),
        ),
        (source,),
    )


def orientation(source: Path, stream: int, max_pixels: int) -> Command:
    """How the first picture itself wants to be shown, as JSON on standard output: photographs say it there (EXIF)."""
    return Command(
        "ffprobe",
        (
            *("-v", "error"),
            *_guarded(max_pixels),
            *("-select_streams", str(stream), "-read_intervals", "%+#1"),
            "-show_frames",
            *("-show_entries", "frame=:frame_side_data=displaymatrix"),
            *("-of", "json"),
            _name(source),
        ),
        (source,),
    )


def scan(source: Path, plan: Plan, max_pixels: int) -> Command:
    """Packets' stream, times and flags as CSV on standard output, then each stream's ticks; nothing is decoded."""
    # Where each stream has a length of its own to be held against, the others need not be listed: half the time.
    chosen = () if plan.scan_end is None else ("-select_streams", str(plan.scan_stream))
    return Command(
        "ffprobe",
        (
            *("-v", "error"),
            *_guarded(max_pixels),
            *chosen,
            *("-show_entries", "packet=stream_index,pts,dts,duration,flags:stream=index,time_base"),
            *("-of", "csv=p=0"),  # a tenth of JSON's bytes: ten hours are a million packets and more
            _name(source),
        ),
        (source,),
    )


def look(source: Path, stream: int, pictures: int, max_pixels: int, *, at: float | None = None) -> Command:
    """Decode a few pictures and report on them: that they decode, their colours, whether their lines are interlaced."""
    return Command(
        "ffmpeg",
        (
            *_quiet("info"),  # showinfo and idet report at this level
            *(("-ss", f"{at:.3f}") if at is not None else ()),
            "-noautorotate",  # the size as stored is asked for
            *_guarded(max_pixels),
            *_input(source),
            *("-filter_complex", graphs.look(stream)),
            *("-map", "[v0]"),
            *("-frames:v", str(pictures)),
            *("-f", "null", "-"),
        ),
        (source,),
        pipes=1,
    )


def encode_chunk(source: Path, plan: Plan, chunk: Chunk, max_pixels: int) -> Command:
    """Every rung of a chunk from one decode: rung ``i`` comes from pipe 4 + i; the last pipe tells each frame's origin."""
    assert plan.grid is not None
    outputs: list[str] = []
    for position, rung in enumerate(plan.rungs):
        outputs += ["-map", f"[v{position}]", *_h264(plan.preset, plan.grid, rung, chunk)]
        if position == 0:
            # Per frame: its number on the grid, and the source time of the picture it shows, in the source's ticks.
            outputs += ["-stats_enc_pre", f"pipe:{FIRST_OUTPUT_PIPE + len(plan.rungs)}"]
            outputs += ["-stats_enc_pre_fmt", "{pts} {ptsi} {tbi}"]
        outputs += [*_fragmented_video(plan.grid), f"pipe:{FIRST_OUTPUT_PIPE + position}"]
    return Command(
        "ffmpeg",
        (
            *_chunk_input(source, plan, chunk, max_pixels),
            *("-filter_complex", graphs.rungs(plan, chunk)),
            *outputs,
        ),
        (source,),
        pipes=2 + len(plan.rungs),
    )


def hash_chunk(source: Path, plan: Plan, chunk: Chunk, max_pixels: int) -> Command:
    """As :func:`encode_chunk`, but instead of encoding, the digest of each picture on its way to the encoder."""
    outputs: list[str] = []
    for position in range(len(plan.rungs)):
        outputs += [
            "-map",
            f"[v{position}]",
            "-fps_mode",
            "passthrough",
            "-f",
            "framehash",
            "-hash",
            "sha256",
        ]
        outputs += [f"pipe:{FIRST_OUTPUT_PIPE + position}"]
    return Command(
        "ffmpeg",
        (
            *_chunk_input(source, plan, chunk, max_pixels),
            *("-filter_complex", graphs.rungs(plan, chunk)),
            *outputs,
        ),
        (source,),
        pipes=1 + len(plan.rungs),
    )


def encode_audio(source: Path, plan: Plan, track: AudioTrack, gain: float | None, max_pixels: int) -> Command:
    """One whole track, one fragment per segment, on pipe 4."""
    # Rounded down: the fragment ends at or after it.
    seconds = track.segment_samples * 1_000_000 // track.sample_rate
    return Command(
        "ffmpeg",
        (
            *_quiet("error"),
            *_progress(),
            "-copyts",  # the source's own times, so that one zero holds for every track
            *("-vn", "-sn", "-dn"),  # nothing else is decoded
            *_guarded(max_pixels),
            *_input(source),
            *("-filter_complex", graphs.sound(plan, track, gain)),
            *("-map", "[a0]"),
            *("-c:a", "aac"),
            *("-b:a", str(track.bitrate)),
            *_anonymous(),
            # CMAF's box flags; the init segment waits for the first packet, because its edit list says how many samples
            # the encoder put in front (without it sound is 21 ms late). Never frag_discont: it wraps below zero here.
            *("-movflags", "+cmaf+delay_moov+skip_trailer"),
            *("-frag_duration", str(seconds)),
            *("-flush_packets", "1"),  # a segment is announced when it is written, not when a buffer is full
            *("-f", "mp4", f"pipe:{FIRST_OUTPUT_PIPE}"),
        ),
        (source,),
        pipes=2,
    )


def measure_loudness(source: Path, plan: Plan, track: AudioTrack, max_pixels: int) -> Command:
    """Decode a track once and report its loudness on standard error."""
    return Command(
        "ffmpeg",
        (
            *_quiet("info"),  # ebur128 reports at this level
            *_progress(),
            "-copyts",
            *("-vn", "-sn", "-dn"),
            *_guarded(max_pixels),
            *_input(source),
            *("-filter_complex", graphs.loudness(plan, track)),
            *("-map", "[a0]"),
            *("-f", "null", "-"),
        ),
        (source,),
        pipes=1,
    )


def poster(source: Path, plan: Plan, max_pixels: int, *, from_beginning: bool = False) -> Command:
    """The poster as JPEG on pipe 4."""
    assert plan.poster is not None
    return Command(
        "ffmpeg",
        (
            *_quiet("error"),
            *_progress(),
            *(() if from_beginning else ("-seek_timestamp", "1", "-ss", f"{float(plan.poster.time):.6f}")),
            *_guarded(max_pixels),
            "-noautorotate",  # the graph turns the picture, as the plan says
            *_input(source),
            *("-filter_complex", graphs.poster(plan, plan.poster)),
            *("-map", "[v0]"),
            *("-frames:v", "1"),
            # About 8 % of the bytes of quality 1, and no artefact to be seen.
            *("-c:v", "mjpeg", "-q:v", "4"),
            *_anonymous(),
            *("-f", "image2pipe", f"pipe:{FIRST_OUTPUT_PIPE}"),
        ),
        (source,),
        pipes=2,
    )


def captions(source: Path, plan: Plan, track: CaptionsTrack, max_pixels: int) -> Command:
    """One text subtitle stream as WebVTT on pipe 4, counted from the video's zero."""
    return Command(
        "ffmpeg",
        (
            *_quiet("error"),
            *_progress(),
            "-copyts",
            *("-vn", "-an", "-dn"),
            *_guarded(max_pixels),
            *_input(source),
            *("-map", f"0:{track.stream}"),
            *("-output_ts_offset", f"{-float(plan.origin):.6f}"),
            *("-c:s", "webvtt"),
            *_anonymous(),
            *("-f", "webvtt", f"pipe:{FIRST_OUTPUT_PIPE}"),
        ),
        (source,),
        pipes=2,
    )


def decode(media: Path, max_pixels: int) -> Command:
    """Decode the first video stream of a file of ours whole: time and digest of every picture on pipe 4."""
    return Command(
        "ffmpeg",
        (
            *_quiet("error"),
            *_progress(),
            "-copyts",
            *_guarded(max_pixels),
            *_input(media),
            *("-map", "0:v:0", "-fps_mode", "passthrough"),
            *("-f", "framehash", "-hash", "sha256", f"pipe:{FIRST_OUTPUT_PIPE}"),
        ),
        (media,),
        pipes=2,
    )


def compare(source: Path, plan: Plan, chunk: Chunk, rung: Rung, media: Path, max_pixels: int) -> Command:
    """PSNR of every picture of an encoded file against the source on the plan's grid, on standard output.

    ``chunk`` covers all that ``media`` holds; ``rung`` is the one that was encoded.
    """
    assert plan.grid is not None
    reference = f"[v{plan.rungs.index(rung)}]"
    others = "".join(f";[v{i}]nullsink" for i in range(len(plan.rungs)) if plan.rungs[i] != rung)
    rate = f"{plan.grid.rate.denominator}/{plan.grid.rate.numerator}"
    graph = f"{graphs.rungs(plan, chunk)}{others};[1:v]settb={rate}[e];[e]{reference}psnr=stats_file=-[p]"
    return Command(
        "ffmpeg",
        (
            *_chunk_input(source, plan, chunk, max_pixels),
            *_guarded(max_pixels),
            *_input(media),
            *("-filter_complex", graph, "-map", "[p]", "-f", "null", "-"),
        ),
        (source, media),
        pipes=1,
    )


def _name(path: Path) -> str:
    # The process runs elsewhere; a caller's mistake must not look like a broken file.
    if not path.is_absolute():
        raise ValueError("Media tools are given absolute paths.")
    return f"file:{path}"


def _guarded(max_pixels: int) -> tuple[str, ...]:
    """A file chooses nothing but its pixels: no other protocol and no container that leads elsewhere. Before each input."""
    # Sizes in a file are anybody's word: nothing that is honestly asked for in one piece is as large.
    return (
        *("-protocol_whitelist", "file", "-format_whitelist", ",".join(CONTAINERS)),
        *("-max_alloc", str(_MAX_ALLOCATION)),
        # No decoder makes a larger picture, whatever the header said: a stream may change its size at any moment. Tools decode
        # a little even where only packets or sound are asked for.
        *("-max_pixels", str(max_pixels)),
    )


def _input(path: Path) -> tuple[str, ...]:
    return ("-i", _name(path))


def _quiet(level: str) -> tuple[str, ...]:
    """No banner, no questions, messages no chattier than needed; and no giving up where much does not decode.

    A damaged stretch is shown as the picture before it: how much there is, is judged by what was made.
    """
    return ("-hide_banner", "-nostdin", "-nostats", "-v", level, "-max_error_rate", "1")


def _progress() -> tuple[str, ...]:
    return ("-progress", f"pipe:{PROGRESS_PIPE}", "-stats_period", "0.5")


def _anonymous() -> tuple[str, ...]:
    """Nothing of the source's tags and nothing of the tool's version in what viewers get; no time of creation either."""
    return ("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact")


def _chunk_input(source: Path, plan: Plan, chunk: Chunk, max_pixels: int) -> tuple[str, ...]:
    threads = str(max(rung.first_threads for rung in plan.rungs))
    seek: tuple[str, ...] = ()
    if chunk.seek is not None:
        # Rounded up, or it finds the one before.
        ticks = -(-chunk.seek.numerator * 1_000_000 // chunk.seek.denominator)
        seek = (
            *("-seek_timestamp", "1"),  # an absolute time: what tools take for a file's start time differs
            *("-ss", f"{ticks / 1_000_000:.6f}"),
            "-noaccurate_seek",  # the graph cuts, and it cuts exactly; -t and -to are not used for the same reason
        )
    return (
        *_quiet("error"),
        *_progress(),
        # More helps little and takes from others.
        *("-filter_complex_threads", threads),
        "-copyts",  # absolute times are what makes every chunk land on the same grid
        "-noautorotate",  # the graph turns the picture, as the plan says
        # Where the picture's size changes on the way, scale follows; a new graph would restart.
        *("-reinit_filter", "0"),
        *("-threads", threads),  # of the decoder
        *("-an", "-sn", "-dn"),  # nothing else is decoded
        *seek,
        *_guarded(max_pixels),
        *_input(source),
    )


def _h264(preset: str, grid: Grid, rung: Rung, chunk: Chunk) -> tuple[str, ...]:
    threads = rung.threads if chunk.index else rung.first_threads
    return (
        *("-c:v", "libx264", "-preset", preset, "-profile:v", "high"),
        *("-crf", str(rung.crf)),  # quality where bits allow,
        # And never more than the rung promises.
        *("-maxrate", str(rung.maxrate), "-bufsize", str(rung.bufsize)),
        # A keyframe where every rung has one,
        *("-g", str(grid.gop_frames), "-keyint_min", str(grid.gop_frames)),
        # and nowhere else; nothing refers across it. B-frames as REORDERED_PICTURES counts on.
        *("-bf", "3", "-x264-params", "scenecut=0:open-gop=0:b-pyramid=normal"),
        *("-threads", str(threads)),  # the bytes depend on it
        *("-fps_mode", "passthrough"),  # the graph made the frames; none is to be added or dropped here
        # A tick is a frame: nothing to round.
        *("-enc_time_base", f"{grid.rate.denominator}/{grid.rate.numerator}"),
    )


def _fragmented_video(grid: Grid) -> tuple[str, ...]:
    return (
        *_anonymous(),
        # A whole number of ticks per frame, in every chunk the same.
        *("-video_track_timescale", str(grid.timescale)),
        # Signed composition offsets; fragments.py writes the edit list, alike in every chunk.
        *("-use_editlist", "0"),
        # One fragment per keyframe; frag_discont keeps the grid's own times instead of starting every chunk at 0.
        *("-movflags", "+cmaf+frag_keyframe+frag_discont+skip_trailer"),
        *("-flush_packets", "1"),  # what is complete leaves at once
        *("-f", "mp4"),
    )
