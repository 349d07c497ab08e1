"""Real processes killed at every point between two things that last; then everything must be as if they had not been."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.faults import Point
from tests.cluster.running import eventually
from tests.cluster.walking import Walk, make_clip, story

ALL = list(Point)
BATCH = 6  # points of one platform: a process that is killed more often in a row is started again more slowly
# Those between two things of which only one was done; `make soak` walks all of them, both ways.
ALONE = [
    Point.UPLOAD_STAGED,
    Point.UPLOAD_SYNCED,
    Point.UPLOAD_ADOPTED,
    Point.UPLOAD_COMPLETING,
    Point.UPLOAD_ACKNOWLEDGED,
    Point.OBJECT_NAMED,
    Point.CLAIM_TAKEN,
    Point.ENCODE_STORED,
    Point.COMMIT_HOLDING,
    Point.COMMIT_DONE,
    Point.SCAN_RECORDED,
    Point.PUBLISH_TAKEN,
    Point.PUBLISH_WRITTEN,
    Point.FREEZE_WRITTEN,
    Point.ENTOMB_WRITTEN,
    Point.RETRY_RECORDED,
    Point.DELETE_RECORDED,
    Point.COLLECT_REMOVED,
]
TOGETHER = [
    Point.UPLOAD_ADOPTED,
    Point.UPLOAD_ACKNOWLEDGED,
    Point.ENCODE_STORED,
    Point.COMMIT_DONE,
    Point.FREEZE_WRITTEN,
    Point.DELETE_RECORDED,
]
if os.environ.get("WALK") == "whole":
    ALONE = TOGETHER = ALL


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three seconds of video."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path.read_bytes()


@pytest.fixture
def walk(tmp_path: Path, clip: bytes) -> Iterator[Walk]:
    """A platform that takes orders."""
    made = Walk(tmp_path, clip)
    try:
        made.start()
        yield made
    finally:
        made.platform.close()


def batches(points: list[Point], size: int = BATCH) -> list[list[Point]]:
    """The points in groups, those of one group far apart: they then concern different processes."""
    count = -(-len(points) // size)
    return [points[first::count] for first in range(count)]


@pytest.mark.parametrize("points", batches(ALONE), ids="+".join)
def test_a_process_killed_at_any_point_loses_nothing(walk: Walk, points: list[Point]) -> None:
    """It starts again and goes on: what was acknowledged is there, nothing is done twice, no player saw half of anything."""
    for point in points:
        story(point)(walk, lambda point=point: walk.order_kill(point))  # type: ignore[misc]
        eventually(lambda point=point: walk.carried_out(point), f"a process was killed at {point}")  # type: ignore[misc]
    assert walk.faults() == []


@pytest.mark.parametrize("points", batches(TOGETHER), ids="+".join)
def test_a_machine_killed_at_any_point_loses_nothing(walk: Walk, points: list[Point]) -> None:
    """Everything of it ends at once; the next start finds records and objects that agree."""
    for point in points:
        story(point)(walk, lambda point=point: walk.order_kill(point, everything=True))  # type: ignore[misc]
        eventually(lambda point=point: walk.carried_out(point), f"all were killed at {point}")  # type: ignore[misc]
        walk.ask("GET", "/api/videos", 200)
    assert walk.faults() == []


def test_every_point_is_passed(walk: Walk) -> None:
    """The list has no point that nobody comes to."""
    for each in dict.fromkeys(story(point) for point in ALL):
        each(walk, lambda: None)
    eventually(lambda: walk.passed() == set(ALL), f"all are passed but {set(ALL) - walk.passed()}")
