"""The media tools of a machine as a value, which everything that runs them is given. ``discovery.py`` makes it."""

from dataclasses import dataclass
from pathlib import Path

from penstock.ffmpeg.config import FfmpegConfig, Isolation


@dataclass(frozen=True, slots=True)
class Tools:
    """Tools that were found, tried and understood. Made once at start; share it freely."""

    ffmpeg: Path
    ffprobe: Path
    version: str  # of ffmpeg
    fingerprint: (
        str  # 16 hexadecimal digits over version, build configuration and CPU class: same value, same bytes
    )
    decodable: frozenset[str]  # codecs that ffmpeg has a decoder for, by FFmpeg's names
    isolation: Isolation  # in force; never AUTO
    bubblewrap: Path | None
    config: FfmpegConfig
