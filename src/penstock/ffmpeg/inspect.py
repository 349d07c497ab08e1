"""Looking at a source: what it is (``inspect``) and where its packets lie (``scan``)."""

from pathlib import Path
from threading import Event

from penstock.ffmpeg.tools import Tools
from penstock.video.media import SourceMedia
from penstock.video.plan import Plan, ScanResult


def inspect(tools: Tools, source: Path, *, cancel: Event | None = None) -> SourceMedia:
    """The facts about a source, from its header, its first packets and its first decoded pictures: well under a second.

    Raises ``MediaError`` with one of the codes of ``probe.Refusal`` for what cannot become a video, ``Cancelled``,
    ``ToolFailed``.
    """
    raise NotImplementedError


def scan(tools: Tools, source: Path, plan: Plan, *, cancel: Event | None = None) -> ScanResult:
    """Read every packet's head: 10 hours take some seconds. Raises as :func:`inspect`."""
    raise NotImplementedError
