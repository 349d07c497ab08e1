import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import imageio_ffmpeg
import pytest

from tests.cluster.running import Platform


class Starter(Protocol):
    """Starts a platform."""

    def __call__(self, settings: Mapping[str, str] | None = None) -> Platform:
        """``settings`` are names without the prefix."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts platforms, each in a folder of its own; nothing of them outlives the test."""
    started: list[Platform] = []

    def starter(settings: Mapping[str, str] | None = None) -> Platform:
        folder = tmp_path / f"platform-{len(started)}"
        folder.mkdir()
        started.append(Platform(folder / "data", settings))
        return started[-1].start()

    yield starter
    for platform in started:
        platform.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform that the tests of a file share; it looks for tombstones every second, as a deletion is awaited."""
    quick = {"STREAMING_SETTLED_RECHECK": "1"}
    platform = Platform(tmp_path_factory.mktemp("platform") / "data", quick)
    try:
        yield platform.start()
    finally:
        platform.close()


@pytest.fixture(scope="session")
def long_clip(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real clip looped to 100 s without encoding it again: seven chunks, whose encodes can be caught under way."""
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-stream_loop", "-1"),
        *(
            "-i",
            str(clips / "car-detection.mp4"),
            "-t",
            "100",
            "-map",
            "0:v:0",
            "-map",
            "0:a:0",
            "-c",
            "copy",
            str(path),
        ),
    ]
    subprocess.run(command, check=True)
    return path
