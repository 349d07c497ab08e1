"""Encoding, as the processing service calls it: a chunk of every rung, or one audio track.

Blocking functions, made to be called from a worker thread. They start processes only through ``run.py``, judge them by
what they made and not by their exit status, and know nothing of tasks, records or stores.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

from penstock.ffmpeg.outputs import ChunkOutput, EncodedInit, EncodedSegment, EncodedTrack
from penstock.ffmpeg.tools import Tools
from penstock.video.plan import AudioTrack, Chunk, Plan


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
    ``ToolFailed`` with a code: ``frames_missing``, ``init_mismatch``, ``tool_stalled``, ``tool_failed``...
    """
    raise NotImplementedError


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
    raise NotImplementedError
