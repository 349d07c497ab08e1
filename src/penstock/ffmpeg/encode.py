"""Encoding, as the processing service calls it: a chunk of every rung, or one audio track.

Blocking functions, made to be called from a worker thread. They start processes only through ``run.py``, judge them by
what they made and not by their exit status, and know nothing of tasks, records or stores.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from threading import Event

from penstock.ffmpeg import commands
from penstock.ffmpeg.outputs import ChunkOutput, EncodedInit, EncodedSegment, EncodedTrack
from penstock.ffmpeg.progress import Progress
from penstock.ffmpeg.refusals import Refusal, refused
from penstock.ffmpeg.run import Finished, run
from penstock.ffmpeg.tools import Tools
from penstock.ffmpeg.writing import FramesDiffer, RungWriter, SoundWriter
from penstock.video.errors import MediaError, ToolFailed
from penstock.video.plan import Chunk, Plan
from penstock.video.tracks import AudioTrack

# What streaming services agree on (AES TD1008). The level is set by one gain; the dynamics stay.
_TARGET_LUFS = -16.0
# What decoders say of bad data.
_DAMAGE = re.compile("Invalid data found when processing input|error while decoding")
_LARGER = "exceeds specified max pixel count"


def encode_chunk(
    tools: Tools,
    source: Path,
    plan: Plan,
    chunk: Chunk,
    scratch: Path,
    *,
    pinned: Mapping[str, str] | None = None,
    on_init: Callable[[EncodedInit], None] | None = None,
    on_segment: Callable[[EncodedSegment], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
    cancel: Event | None = None,
) -> ChunkOutput:
    """Encode one chunk for every rung with one decode; files go below ``scratch`` (which the caller made and removes).

    ``on_init`` and ``on_segment`` are called in this thread as soon as a file is complete, rungs interleaved; what they
    raise ends the run and is raised here. A segment that was announced may still be followed by a failure, so nothing
    announced counts until this function returns. ``on_progress`` gets 0..1 about twice a second. ``pinned`` holds
    the SHA-256 of each rung's init segment where an earlier chunk has fixed it.

    Raises ``Cancelled`` (within a tenth of a second of ``cancel`` being set; all processes are gone then),
    ``ToolFailed`` with a code: ``frames_missing``, ``init_mismatch``, ``tool_stalled``, ``tool_failed``...;
    ``MediaError`` where the source's pictures cannot be decoded to its end.
    """
    assert plan.grid is not None
    writers = [
        RungWriter(
            rung.name,
            scratch / rung.name,
            plan.grid,
            chunk,
            (pinned or {}).get(rung.name),
            on_init,
            on_segment,
        )
        for rung in plan.rungs
    ]
    origins = bytearray()
    sinks: dict[int, Callable[[bytes], None]] = {
        commands.FIRST_OUTPUT_PIPE + position: writer.feed for position, writer in enumerate(writers)
    }
    tells_origins = commands.FIRST_OUTPUT_PIPE + len(writers)
    sinks[tells_origins] = origins.extend

    def progress(block: Progress) -> None:
        if on_progress is not None:
            on_progress(min(block.frame / chunk.frames, 1.0))

    finished = run(
        tools,
        commands.encode_chunk(source, plan, chunk, tools.config.max_pixels),
        sinks,
        cancel=cancel,
        on_progress=progress,
        nice=tools.config.nice if chunk.index else 0,
        seldom=(tells_origins,),
    )
    try:
        output = ChunkOutput(tuple(writer.close() for writer in writers))
        _check_origins(plan, chunk, origins.decode("ascii"))
    except ToolFailed as error:
        raise _explained(error, finished, empty=all(writer.empty for writer in writers)) from error
    return output


def encode_audio(
    tools: Tools,
    source: Path,
    plan: Plan,
    track: AudioTrack,
    scratch: Path,
    *,
    on_init: Callable[[EncodedInit], None] | None = None,
    on_segment: Callable[[EncodedSegment], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
    cancel: Event | None = None,
) -> EncodedTrack:
    """Encode one audio track whole, in one process; segments are announced as they appear and are then final.

    Unlike a chunk's, an announced audio segment may be committed at once: the bytes are a function of source, plan and
    tool, so a later attempt makes the same again. Callbacks and errors as in :func:`encode_chunk`; ``on_progress`` gets
    0..1 where the duration is known, else nothing.
    """
    gain = _gain(tools, source, plan, track, cancel) if track.loudness else None
    writer = SoundWriter(track, scratch / track.name, on_init, on_segment)
    length = float(plan.duration or 0)

    def progress(block: Progress) -> None:
        if on_progress is not None and length and block.out_seconds is not None:
            on_progress(min(max(block.out_seconds / length, 0.0), 1.0))

    finished = run(
        tools,
        commands.encode_audio(source, plan, track, gain, tools.config.max_pixels),
        {commands.FIRST_OUTPUT_PIPE: writer.feed},
        cancel=cancel,
        on_progress=progress,
        # The first chunk's encoder leaves enough over for the first segment; the rest must not slow it down.
        nice=tools.config.nice,
    )
    try:
        return writer.close()
    except ToolFailed as error:
        raise _explained(error, finished, empty=writer.empty) from error


def _check_origins(plan: Plan, chunk: Chunk, report: str) -> None:
    """Refuse a chunk whose first frame shows a picture from later on: the seek landed behind the chunk's beginning.

    The encoder would have got the right number of frames all the same, because the first decoded picture is repeated
    until its time comes; which is right only where the decoder began with the source.
    """
    assert plan.grid is not None
    if chunk.seek is None:
        return
    first = report.partition("\n")[0].split()
    if len(first) != 3 or not re.fullmatch(r"-?\d+", first[1]):
        raise FramesDiffer(f"Chunk {chunk.index} does not say which pictures it shows.")
    shown = int(first[1]) * Fraction(first[2])
    position = plan.grid.frame_at(shown)
    if position > chunk.first_frame:
        raise FramesDiffer(
            f"Chunk {chunk.index} begins with the picture of grid frame {position} instead of {chunk.first_frame}."
        )


def _gain(tools: Tools, source: Path, plan: Plan, track: AudioTrack, cancel: Event | None) -> float | None:
    """Decibels that bring a track to the target loudness (EBU R128); None for silence."""
    report = run(
        tools, commands.measure_loudness(source, plan, track, tools.config.max_pixels), {}, cancel=cancel
    ).messages
    measured = re.findall(r"I: +(-?\d+\.\d) LUFS", report)
    loudness = float(measured[-1]) if measured else -70.0
    # -70 is the gate of the measurement: nothing to hear.
    return None if loudness <= -70.0 else _TARGET_LUFS - loudness


def _explained(error: ToolFailed, finished: Finished, *, empty: bool) -> ToolFailed | MediaError:
    """The failure with what the tool said last, which is for operators: it may name things of this machine.

    Where the tool read all there is and made nothing of it, or said that it cannot be decoded, the source is at fault: nor will
    it be any better the next time.
    """
    blamed: ToolFailed | MediaError = error
    if isinstance(error, FramesDiffer) and finished.status == 0:
        if _LARGER in finished.messages:
            blamed = refused(Refusal.TOO_LARGE, "Its pictures grow beyond it on the way.")
        elif empty or _DAMAGE.search(finished.messages):
            blamed = refused(Refusal.UNDECODABLE, "What decodes ends before the file does.")
    blamed.add_note(
        f"The tool ended with status {finished.status} after {finished.seconds:.1f} s:\n{finished.messages}"
    )
    return blamed
