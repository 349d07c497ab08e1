import threading

import pytest

from penstock.catalog.words import TaskKind, TaskState
from penstock.video.lifecycle import VideoState
from tests.servers.databases import Database
from tests.simulation import invariants
from tests.simulation.scripted import Script, ScriptedMedia, breaking
from tests.simulation.workshop import Room, Workshop


def ready_but(room: Room, workshop: Workshop, clip: bytes, *kinds: TaskKind) -> str:
    """A video all of whose tasks are done but those of these kinds."""
    video_id = workshop.upload(clip)
    room.do(workshop.tasks(video_id)[0])
    for kind in (TaskKind.SCAN, TaskKind.AUDIO, TaskKind.POSTER, TaskKind.CAPTIONS, TaskKind.TRANSCODE):
        for task in workshop.tasks(video_id):
            if task.kind is kind and kind not in kinds:
                room.do(task)
    return video_id


def test_the_last_task_to_end_queues_the_publication(workshop: Workshop, room: Room, clip: bytes) -> None:
    """Not before: while anything is outstanding there is none."""
    video_id = ready_but(room, workshop, clip, TaskKind.POSTER)
    kinds = {task.kind: task for task in workshop.tasks(video_id)}
    assert TaskKind.PUBLISH not in kinds
    room.do(kinds[TaskKind.POSTER])
    assert [task.state for task in workshop.tasks(video_id) if task.kind is TaskKind.PUBLISH] == [
        TaskState.QUEUED
    ]
    room.work()
    assert workshop.video(video_id).state is VideoState.READY


def test_two_last_chunks_that_commit_together_do_not_miss_each_other(
    workshop: Workshop, media: ScriptedMedia, room: Room, database: Database
) -> None:
    """Both encode, wait for each other, and commit at the same moment: one of them sees that nothing is left."""
    video_id = ready_but(
        room, workshop, Script("c", frames=400, header_frames=400, audio=0).to_bytes(), TaskKind.TRANSCODE
    )
    chunks = [task for task in workshop.tasks(video_id) if task.kind is TaskKind.TRANSCODE]
    assert len(chunks) == 2
    together = threading.Barrier(2, timeout=60)

    def meet(_: str) -> None:
        together.wait()

    rooms = [workshop.room(ScriptedMedia(ended=meet), slot=slot, catalog=database.open()) for slot in (1, 2)]
    threads = [
        threading.Thread(target=each.do, args=(task,)) for each, task in zip(rooms, chunks, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    room.work()
    invariants.check_ready(workshop, video_id)


def test_a_video_does_without_its_poster(workshop: Workshop, room: Room, clip: bytes) -> None:
    """An optional task that dies last does not leave the video waiting for ever."""
    video_id = ready_but(room, workshop, clip, TaskKind.POSTER)

    other = workshop.room(ScriptedMedia(begun=breaking("poster")), slot=1)
    other.work(until=lambda task: task.kind is TaskKind.PUBLISH)
    room.work()
    video = workshop.video(video_id)
    assert video.state is VideoState.READY
    invariants.check_ready(workshop, video_id)
    assert workshop.versions(video_id)[-1].artefact("poster.jpg") is None


@pytest.mark.parametrize("kind", [TaskKind.TRANSCODE, TaskKind.AUDIO])
def test_a_required_task_takes_its_video_along(
    workshop: Workshop, room: Room, clip: bytes, kind: TaskKind
) -> None:
    """After its last try the video has failed with the task's code, and nothing of it runs on."""
    operation = "chunk" if kind is TaskKind.TRANSCODE else "audio"
    video_id = workshop.upload(clip)
    workshop.room(ScriptedMedia(begun=breaking(operation)), slot=1).work()
    video = workshop.video(video_id)
    assert (video.state, video.error_code) == (VideoState.FAILED, "tool_failed")
    failed = next(task for task in workshop.tasks(video_id) if task.kind is kind and task.failures)
    assert (failed.state, failed.failures) == (TaskState.DEAD, workshop.config.tries)
    assert {task.state for task in workshop.tasks(video_id)} <= {TaskState.DONE, TaskState.DEAD}
