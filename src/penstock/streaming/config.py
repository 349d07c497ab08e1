"""What can be set about the streaming service."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StreamingConfig:
    """Settings of playback; durations are seconds."""

    node: str
    """Name of this machine, sent with every answer (``Penstock-Node``) and on every log line. Never its address."""

    cache_folder: Path | None = None
    """Where segments from a bucket are kept; None: nowhere, and each request asks the bucket."""

    cache: int = 10_000_000_000
    """Bytes of segments from a bucket that this machine keeps, least recently used out first. What is watched often is then
    asked of the bucket once; an hour of five rungs takes about 6 GB. The folder may grow a tenth beyond it for a moment."""

    growing_recheck: float = 1.0
    """How old the known version of a growing timeline may be when a manifest is made from it. Players reload about every
    4 s, and versions appear at most every 2 s: less only adds listings, more delays the first play of an early viewer."""

    settled_recheck: float = 60.0
    """The same once the timeline is frozen, and for serving segments that are known. It bounds how long a deleted video
    goes on playing; its objects are kept at least this long. One listing per video and minute is nothing."""

    timeline_memory: int = 200_000
    """Segments of all timelines that are kept in memory together, least recently used first out. A segment takes about
    500 bytes, so this is 100 MB; a two-hour video in five rungs has 11 000."""

    sessions_remembered: int = 20_000
    """Viewings whose last rung is remembered, so that a switch can be told in the log; about 300 bytes each. What is
    forgotten costs one unreported switch."""
