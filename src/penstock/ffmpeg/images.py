"""Pictures and texts made from a source beside its tracks: the poster, and captions."""

import hashlib
from pathlib import Path
from threading import Event

from penstock.ffmpeg import commands
from penstock.ffmpeg.outputs import MadeFile
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import ToolFailed
from penstock.video.plan import Plan
from penstock.video.tracks import CaptionsTrack

_MAX_BYTES = 64 << 20  # of a poster or a captions file; real ones have a thousandth of it


def poster(tools: Tools, source: Path, plan: Plan, scratch: Path, *, cancel: Event | None = None) -> MadeFile:
    """``poster.jpg`` in ``scratch``. Raises ``Cancelled``, ``ToolFailed``; only for plans that have a poster."""
    data = _make(tools, commands.poster(source, plan, tools.config.max_pixels), cancel)
    if not data:  # a header that claims more than there is: the first picture is there, or there is no video
        data = _make(
            tools, commands.poster(source, plan, tools.config.max_pixels, from_beginning=True), cancel
        )
    if not data:
        raise ToolFailed("No picture for the poster could be decoded.")
    return _keep(scratch, "poster.jpg", data, "image/jpeg")


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
    data = _make(tools, commands.captions(source, plan, track, tools.config.max_pixels), cancel)
    if not data.startswith(b"WEBVTT"):
        raise ToolFailed(f"The subtitles of {track.name} could not be read.")
    return _keep(scratch, f"{track.name}.vtt", data, "text/vtt")


def _make(tools: Tools, command: commands.Command, cancel: Event | None) -> bytes:
    made = bytearray()

    def collect(data: bytes) -> None:
        if len(made) + len(data) > _MAX_BYTES:
            raise ToolFailed("A media tool wrote more than it may.", code="tool_output_too_large")
        made.extend(data)

    run(tools, command, {commands.FIRST_OUTPUT_PIPE: collect}, cancel=cancel, nice=tools.config.nice)
    return bytes(made)


def _keep(scratch: Path, name: str, data: bytes, media_type: str) -> MadeFile:
    path = scratch / name
    path.write_bytes(data)
    return MadeFile(name, path, len(data), hashlib.sha256(data).hexdigest(), media_type)
