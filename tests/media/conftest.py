"""The tools as an installation has them, and material that real clips do not offer, made with them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.ffmpeg.config import FfmpegConfig
from penstock.ffmpeg.discovery import discover
from penstock.ffmpeg.tools import Tools

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Found and checked once."""
    return discover(FfmpegConfig())


@pytest.fixture
def make(tools: Tools, tmp_path: Path) -> Make:
    """Run FFmpeg with these arguments and a file name; the file, in this test's folder."""

    def run(name: str, *arguments: str | Path) -> Path:
        path = tmp_path / name
        command = [tools.ffmpeg, "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments, path]
        subprocess.run(command, check=True, timeout=300)
        return path

    return run
