from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

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


@pytest.fixture
def platform(start: Starter) -> Platform:
    """A running platform."""
    return start()
