"""Real processes killed at every point between two things that last; then everything must be as if they had not been."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.faults import Point
from tests.cluster.running import eventually
from tests.cluster.walking import Walk, arrive, make_clip, story

ALL = [point for point in Point if not point.startswith("bucket.")]  # those have a walk of their own
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
pytestmark = pytest.mark.timeout(1800)  # six deaths and starts of everything; a busy machine takes minutes

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


def tell(walk: Walk, point: Point, *, everything: bool) -> None:
    """The story that comes by the point, with the kill; again where it went another way this time.

    Whether a version of a short timeline is due before the last one depends on who is faster.
    """
    story(point)(walk, lambda: walk.order_kill(point, everything=everything))
    for _ in range(10):
        if walk.carried_out(point):
            return
        story(point)(walk, lambda: None)
    raise AssertionError(f"nobody came to {point}")


@pytest.mark.parametrize("points", batches(ALONE), ids="+".join)
def test_a_process_killed_at_any_point_loses_nothing(walk: Walk, points: list[Point]) -> None:
    """It starts again and goes on: what was acknowledged is there, nothing is done twice, no player saw half of anything."""
    for point in points:
        tell(walk, point, everything=False)
    assert walk.faults() == []


@pytest.mark.parametrize("points", batches(TOGETHER), ids="+".join)
def test_a_machine_killed_at_any_point_loses_nothing(walk: Walk, points: list[Point]) -> None:
    """Everything of it ends at once; the next start finds records and objects that agree."""
    for point in points:
        tell(walk, point, everything=True)
        walk.ask("GET", "/api/videos", 200)
    assert walk.faults() == []


def test_every_point_is_passed(walk: Walk) -> None:
    """The list has no point that nobody comes to."""
    for each in dict.fromkeys(story(point) for point in ALL):
        each(walk, lambda: None)
    for _ in range(10):
        if walk.passed() == set(ALL):
            break
        arrive(walk, lambda: None)
    assert set(ALL) - walk.passed() == set()


@pytest.mark.parametrize("point", [Point.ENCODE_STORED, Point.ENCODE_ENDED])
def test_a_process_that_sleeps_past_its_lease_wakes_to_others_work(
    tmp_path: Path, clip: bytes, point: Point
) -> None:
    """While it is stopped, another on the same folder takes its work over and ends it; what it wanted to commit is refused."""
    walk = Walk(tmp_path, clip, {"PROCESSING_LEASE": "3"})
    other = None
    try:
        walk.start()
        walk.order_hold(point)
        video_id = walk.upload()
        sleeper = eventually(lambda: walk.taken_by(point), f"a process was held at {point}")
        walk.put_to_sleep(sleeper)
        reader = walk.reader(video_id)
        command = [sys.executable, "-m", "penstock.cli", "serve", "processing"]
        other = subprocess.Popen(command, env=walk.platform.environment)
        walk.await_state(video_id, "ready")
        walk.wake(sleeper, point)
        eventually(
            lambda: (
                walk.platform.log("attempt_ended", outcome="taken_over")
                or walk.platform.log("attempt_ended", outcome="called_off")
                or point is Point.COMMIT_DONE
            ),
            "it learns that its work is another's",
        )
        walk.await_state(walk.upload(), "ready")
        reader.stop()
        assert reader.wrong == []
        assert walk.faults() == []
    finally:
        if other is not None:
            other.terminate()
            other.wait(60)
        walk.platform.close()
