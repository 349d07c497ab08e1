"""Trying the media tools: a source of two seconds goes through the very calls that a video goes through.

Lists of codecs and options tell what a build has, not whether it works under this machine's isolation and limits.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from penstock.ffmpeg import commands, images
from penstock.ffmpeg.encode import encode_audio, encode_chunk
from penstock.ffmpeg.inspect import inspect, scan
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import PenstockError, ToolError
from penstock.video.plan import Settings, chunks, plan


def attempt(tools: Tools) -> None:
    """Makes a source, then inspects, scans and encodes it: about a second. Raises ``ToolError`` with what went wrong."""
    with TemporaryDirectory(prefix="penstock-trial-") as folder:
        try:
            _attempt(tools, Path(folder).resolve())
        except PenstockError as error:
            raise ToolError(
                f"FFmpeg {tools.version} at {tools.ffmpeg} has what is needed, but a trial of it failed: {error.detail} Set "
                "PENSTOCK_FFMPEG_FFMPEG to another build, or unset it to use the bundled one.",
                code="tools_incapable",
            ) from error


def _attempt(tools: Tools, folder: Path) -> None:
    source = folder / "source.mkv"
    with source.open("wb") as file:
        made = run(
            tools,
            commands.test_source(),
            {commands.FIRST_OUTPUT_PIPE: file.write},  # type: ignore[dict-item]  # what write returns is not used
        )
    if made.status != 0:
        raise ToolError(made.messages.strip()[-300:])
    found = plan(inspect(tools, source), Settings())
    for chunk in chunks(found, scan(tools, source, found)):
        encode_chunk(tools, source, found, chunk, folder)
    for track in found.audio:
        encode_audio(tools, source, found, track, folder)
    images.poster(tools, source, found, folder)
