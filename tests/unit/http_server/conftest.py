"""One running site for the tests that need no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import serving
from tests.unit.http_server.stage import Client, Stage, connected


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """The server's side."""
    return Stage(tmp_path)


@pytest.fixture
def base(stage: Stage) -> Iterator[str]:
    """Its address."""
    with serving(stage.site) as base:
        yield base


@pytest.fixture
def client(base: str) -> Iterator[Client]:
    """One connection to it."""
    with connected(base) as client:
        yield client
