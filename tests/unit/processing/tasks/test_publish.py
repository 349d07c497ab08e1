from dataclasses import replace

import pytest

from penstock.catalog import tasks
from penstock.catalog.records import NewTask
from penstock.catalog.words import TaskKind, TaskState
from penstock.video.lifecycle import VideoState
from tests.simulation.scripted import ScriptedMedia
from tests.simulation.workshop import Room, Workshop


def almost(workshop: Workshop, room: Room, clip: bytes) -> str:
    """A video with nothing left but its publication."""
    video_id = workshop.upload(clip)
    room.work(until=lambda task: task.kind is TaskKind.PUBLISH)
    return video_id


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_nothing_is_frozen_that_is_not_there(
    workshop: Workshop, room: Room, clip: bytes, damage: str
) -> None:
    """An object that vanished or lost bytes since it was recorded keeps the video from ``ready``."""
    video_id = almost(workshop, room, clip)
    key = next(info.key for info in workshop.outputs.list("") if info.key.endswith(".m4s"))
    if damage == "gone":
        workshop.outputs.delete([key])
    else:
        workshop.outputs.put(key, b"x")
    room.work()
    video = workshop.video(video_id)
    assert (video.state, video.error_code) == (VideoState.FAILED, "outputs_missing")


def test_a_publication_before_its_time_waits(workshop: Workshop, media: ScriptedMedia, clip: bytes) -> None:
    """Whatever queued it too early, it freezes nothing while other tasks are outstanding."""
    workshop.config = replace(workshop.config, retry_base=3600.0, retry_longest=7200.0)
    room = workshop.room(media)
    video_id = almost(workshop, room, clip)
    (publish,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.PUBLISH)
    with workshop.catalog.write() as tx:
        tasks.enqueue(tx, publish.generation_id, [NewTask(TaskKind.CAPTIONS, 9)])
    room.do(publish)
    (publish,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.PUBLISH)
    assert (publish.state, publish.error_code) == (TaskState.QUEUED, "publish_too_early")
    assert workshop.video(video_id).state is VideoState.PROCESSING


def test_a_deletion_during_the_publication_wins(
    workshop: Workshop, media: ScriptedMedia, clip: bytes
) -> None:
    """The video never becomes ready, and the tombstone is the last version."""
    room = workshop.room(media)
    video_id = almost(workshop, room, clip)
    generation_id = workshop.video(video_id).current_generation_id
    write = room.publisher.write

    def delete_then_write(version: object) -> None:
        workshop.delete(video_id)
        write(version)  # type: ignore[arg-type]

    room.publisher.write = delete_then_write  # type: ignore[method-assign]
    (publish,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.PUBLISH)
    room.do(publish)
    room.publisher.write = write  # type: ignore[method-assign]
    room.publisher.sweep()
    assert workshop.video(video_id).state is VideoState.DELETED
    assert workshop.versions(video_id, generation_id)[-1].state == "deleted"
