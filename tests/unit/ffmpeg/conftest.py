"""The tools as an installation has them."""

import pytest

from penstock.ffmpeg.config import FfmpegConfig
from penstock.ffmpeg.discovery import discover
from penstock.ffmpeg.tools import Tools


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Found and checked once."""
    return discover(FfmpegConfig())
