"""Finding the media tools, and knowing whether they can do what plans need."""

from dataclasses import dataclass
from pathlib import Path

from penstock.ffmpeg.config import FfmpegConfig, Isolation


@dataclass(frozen=True, slots=True)
class Tools:
    """Tools that were found, tried and understood. Make one at start with :func:`discover`; share it freely."""

    ffmpeg: Path
    ffprobe: Path
    version: str  # of ffmpeg
    fingerprint: (
        str  # 16 hexadecimal digits over version, build configuration and CPU class: same value, same bytes
    )
    isolation: Isolation  # in force; never AUTO
    config: FfmpegConfig


def discover(config: FfmpegConfig) -> Tools:
    """Find and check the tools. Raises ``ToolError`` that names each missing tool, encoder, decoder or filter."""
    raise NotImplementedError
