from pathlib import Path

import pytest

from penstock.catalog import Catalog, CatalogConfig, accounts, idempotency
from penstock.catalog.words import TaskKind, TaskState
from penstock.processing.config import ProcessingConfig
from penstock.processing.failures import retry_policy
from penstock.processing.publisher import Publisher
from penstock.processing.reaper import Reaper
from penstock.storage.local import LocalStore
from penstock.video.lifecycle import VideoState
from tests.simulation.scripted import ScriptedMedia
from tests.simulation.workshop import Room, Workshop, silence


def test_answers_are_forgotten_once_they_expired(tmp_path: Path) -> None:
    """An idempotency key is free again after its life, and its record does not stay for ever."""
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}"))
    catalog.migrate()
    config = ProcessingConfig(node="a", run_folder=tmp_path, scratch_folder=tmp_path)
    publisher = Publisher(catalog, LocalStore(tmp_path / "outputs"), config)
    reaper = Reaper(catalog, publisher, retry_policy(config), announce=lambda: None)
    with catalog.write() as tx:
        owner = accounts.create(tx, login="ann", name="Ann")
        idempotency.begin(tx, owner.id, "over", "digest", running_ms=0)
        idempotency.begin(tx, owner.id, "in force", "digest")
    reaper.sweep()
    with catalog.write() as tx:
        assert idempotency.expire(tx) == 0
        assert idempotency.begin(tx, owner.id, "over", "another digest").answer is None
    catalog.close()


def test_a_vanished_workers_task_is_queued_again(workshop: Workshop, room: Room, clip: bytes) -> None:
    """After its lease has run out, once; a task that costs too many workers is dead, and its video has failed."""
    video_id = workshop.upload(clip)
    (task,) = workshop.tasks(video_id)
    for losses in range(1, workshop.config.losses_dead + 1):
        victim = workshop.room(ScriptedMedia(), slot=losses)
        assert victim.claim(task) is not None
        assert room.reaper.sweep() == 0
        silence(workshop.catalog, victim.lease.worker_id)
        assert room.reaper.sweep() == 1
        assert room.reaper.sweep() == 0
        (task,) = workshop.tasks(video_id)
        assert task.losses == losses
    assert (task.state, task.error_code) == (TaskState.DEAD, "worker_lost")
    assert workshop.video(video_id).state is VideoState.FAILED


def test_a_lost_last_task_that_is_optional_does_not_hold_the_video(
    workshop: Workshop, room: Room, clip: bytes
) -> None:
    """The poster kills every worker that tries it: the video is published without."""
    video_id = workshop.upload(clip)
    room.work(until=lambda task: task.kind is TaskKind.POSTER)
    for kind in (TaskKind.SCAN, TaskKind.AUDIO, TaskKind.TRANSCODE):
        for task in workshop.tasks(video_id):
            if task.kind is kind:
                room.do(task)
    (poster,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.POSTER)
    for slot in range(1, workshop.config.losses_dead + 1):
        victim = workshop.room(ScriptedMedia(), slot=slot)
        assert victim.claim(poster) is not None
        silence(workshop.catalog, victim.lease.worker_id)
        room.reaper.sweep()
    room.work()
    assert workshop.video(video_id).state is VideoState.READY


def test_a_plan_whose_tools_are_gone_is_made_anew(
    workshop: Workshop, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once, as nodes that are being updated come back; then the video is planned with the tools there are."""
    video_id = workshop.upload(clip)
    old = workshop.room(ScriptedMedia("old tools"))
    old.do(workshop.tasks(video_id)[0])
    silence(workshop.catalog, old.lease.worker_id)
    room = workshop.room(ScriptedMedia("new tools"), slot=1)
    first = workshop.video(video_id).current_generation_id
    assert room.reaper.sweep() == 0
    assert workshop.video(video_id).current_generation_id == first
    monkeypatch.setattr("penstock.processing.reaper._STRANDED_FOR", 0.0)
    assert room.reaper.sweep() == 1
    assert workshop.video(video_id).current_generation_id != first
    room.work()
    assert workshop.video(video_id).state is VideoState.READY
