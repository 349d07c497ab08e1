"""One stage and one node for the tests that only look."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from penstock.video.timeline import Timeline
from tests.contract.streaming.stage import Node, Stage, filled
from tests.unit.manifests import timelines as make


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Objects and keys."""
    return Stage(Path(tmp_path_factory.mktemp("stage")))


@pytest.fixture(scope="package")
def node(stage: Stage) -> Iterator[Node]:
    """A node that serves the stage."""
    with stage.node() as running:
        yield running


@pytest.fixture
def client(node: Node) -> Iterator[httpx.Client]:
    """An HTTP client of that node; it asks for no compression unless a test does."""
    with httpx.Client(base_url=node.base, headers={"accept-encoding": "identity"}) as open_client:
        yield open_client


@pytest.fixture(scope="package")
def film(stage: Stage) -> Timeline:
    """A finished video of two rungs and sound, published."""
    timeline = filled(
        stage, [make.video(0), make.video(3), make.audio(0, default=True)], files=["poster.jpg"]
    )
    stage.publish(timeline)
    return timeline
