import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from penstock import faults
from penstock.catalog import Catalog, schema
from penstock.catalog.words import TaskState
from penstock.faults import Point
from penstock.processing.config import ProcessingConfig
from penstock.video.lifecycle import VideoState
from penstock.video.plan import Settings
from tests.simulation import invariants
from tests.simulation.invariants import Reader
from tests.simulation.scripted import Script, ScriptedMedia
from tests.simulation.simulation import Death, hurried, repeatable
from tests.simulation.workshop import Room, Workshop

_SCRIPT = Script("clip", frames=220, header_frames=220)
_PARTS = 4  # of the walk, so that several processors share it
_PASSED = {  # by a room that is worked by hand, from the claim to the collection
    point
    for point in Point
    if point.partition(".")[0]
    in {"object", "record", "encode", "commit", "scan", "publish", "freeze", "collect"}
}


class Walk:
    """One process that dies at the n-th step, and its successor in the same slot."""

    def __init__(self, folder: Path, catalog: Catalog, *, death_at: int | None) -> None:
        config = ProcessingConfig(
            node="node-1",
            run_folder=folder,
            scratch_folder=folder,
            planning=Settings(chunk_segments=1),
            lease=3600.0,  # nobody dies of slowness
            retry_base=0.0,
            publish_interval=0.0,
        )
        self.workshop = Workshop(folder, catalog, config=config)
        self.media = ScriptedMedia()
        self.steps = 0
        self.passed: set[Point] = set()
        self._death_at = death_at

    def step(self, point: Point) -> None:
        """Between any two things that last."""
        self.passed.add(point)
        self.steps += 1
        if self.steps == self._death_at:
            raise Death

    def room(self) -> Room:
        """The process in its slot, or its successor."""
        return self.workshop.room(self.media, slot=0)

    def run(self) -> str:
        """Everything from the upload to ``ready`` and clean, with a restart wherever the process died."""
        video_id = self.workshop.upload(_SCRIPT.to_bytes())
        faults.arm(self.step)
        reader: Reader | None = None
        while True:
            try:
                room = self.room()
                room.reaper.sweep()
                room.work()
                room.publisher.sweep()
                with self.workshop.catalog.engine.begin() as tx:  # as if time had passed
                    tx.execute(update(schema.garbage).values(not_before=0))
                while room.collector.sweep():
                    pass
                break
            except Death:
                generation_id = self.workshop.video(video_id).current_generation_id
                assert generation_id is not None
                reader = reader or Reader(self.workshop, video_id, generation_id)
                reader.look()
        faults.disarm()
        if reader is not None:
            reader.look()
        return video_id


def test_a_walk_without_a_death_reaches_ready(folder: Path, catalog: Catalog) -> None:
    """The walk is worth taking: it has many steps, and every task is done once."""
    walk = Walk(folder, catalog, death_at=None)
    video_id = walk.run()
    invariants.check_ready(walk.workshop, video_id)
    assert walk.steps > 130
    assert walk.passed >= _PASSED
    assert {task.attempt for task in walk.workshop.tasks(video_id)} == {1}


@pytest.mark.parametrize("part", range(_PARTS))
def test_a_death_at_any_step_loses_nothing(
    part: int, folder: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between bytes, object, record and ring: the successor finishes, does nothing twice and leaves nothing over."""
    repeatable(monkeypatch, part)
    step = part + 1
    while True:
        here = folder / str(step)
        here.mkdir()
        shutil.copy(sqlite_template, here / "catalog.db")
        mine = hurried(here)
        walk = Walk(here, mine, death_at=step)
        video_id = walk.run()
        invariants.check_ready(walk.workshop, video_id)
        tasks = walk.workshop.tasks(video_id)
        assert {task.state for task in tasks} == {TaskState.DONE}
        assert sum(task.losses for task in tasks) <= 1
        assert sum(task.failures for task in tasks) == 0
        invariants.check_collected(walk.workshop)
        assert walk.workshop.video(video_id).state is VideoState.READY
        mine.close()
        if walk.steps < step:
            break  # the walk is shorter than that: no process died
        step += _PARTS
    assert step > 130
