"""Pictures and texts made from a source beside its tracks: the poster, and captions."""

from pathlib import Path
from threading import Event

from penstock.ffmpeg.outputs import MadeFile
from penstock.ffmpeg.tools import Tools
from penstock.video.plan import CaptionsTrack, Plan


def poster(tools: Tools, source: Path, plan: Plan, scratch: Path, *, cancel: Event | None = None) -> MadeFile:
    """``poster.jpg`` in ``scratch``. Raises ``Cancelled``, ``ToolFailed``; only for plans that have a poster."""
    raise NotImplementedError


def captions(
    tools: Tools,
    source: Path,
    plan: Plan,
    track: CaptionsTrack,
    scratch: Path,
    *,
    cancel: Event | None = None,
) -> MadeFile:
    """One subtitle stream as a WebVTT file, times counted from the video's zero. Raises ``Cancelled``, ``ToolFailed``."""
    raise NotImplementedError
