import threading
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from penstock.catalog import segments
from penstock.catalog.records import Task
from penstock.catalog.words import TaskKind, TaskState
from penstock.processing.runs import StopReason
from penstock.video.errors import MediaError, StorageFull, ToolError, ToolFailed
from penstock.video.lifecycle import VideoState
from tests.simulation.scripted import Moment, Script, ScriptedMedia, breaking
from tests.simulation.workshop import Room, Workshop, silence


def one(workshop: Workshop, video_id: str, kind: TaskKind) -> Task:
    """The video's first task of a kind."""
    return next(task for task in workshop.tasks(video_id) if task.kind is kind)


def test_a_video_goes_from_uploaded_to_ready(workshop: Workshop, room: Room, clip: bytes) -> None:
    """Every task is done at its first attempt, and scratch is empty afterwards."""
    video_id = workshop.upload(clip)
    room.work()
    assert workshop.video(video_id).state is VideoState.READY
    assert {(task.state, task.attempt) for task in workshop.tasks(video_id)} == {(TaskState.DONE, 1)}
    assert room.runs.now() == []


def test_its_story_can_be_read_from_the_log(workshop: Workshop, room: Room, clip: bytes) -> None:
    """Each stage is one line with its facts."""
    with capture_logs() as logs:
        workshop.upload(clip)
        room.work()
    events = [line["event"] for line in logs]
    for expected in (
        "video_upload_completed",
        "source_inspected",
        "plan_decided",
        "generation_started",
        "source_scanned",
        "chunk_encoded",
        "audio_encoded",
        "artefact_made",
        "timeline_published",
        "video_playable",
        "video_frozen",
        "attempt_started",
        "attempt_ended",
    ):
        assert expected in events
    chunk = next(line for line in logs if line["event"] == "chunk_encoded")
    assert {"chunk", "frames", "segments", "bytes", "seconds", "speed"} <= chunk.keys()


def test_a_failed_attempt_waits_and_is_tried_again(workshop: Workshop, clip: bytes) -> None:
    """The failure and its code are on the task, with the time before which nobody claims it."""
    workshop.config = replace(workshop.config, retry_base=3600.0, retry_longest=7200.0)
    video_id = workshop.upload(clip)
    room = workshop.room(ScriptedMedia(begun=breaking("inspect")))
    room.work()
    (task,) = workshop.tasks(video_id)
    assert (task.state, task.failures, task.error_code) == (TaskState.QUEUED, 1, "tool_failed")
    assert task.not_before - task.queued_at > 3_000_000
    assert room.waiting() == []


def test_a_full_disk_does_not_count(workshop: Workshop, clip: bytes) -> None:
    """The task waits with its budget untouched, and goes through when there is room."""
    full = True

    def begun(moment: Moment) -> None:
        if full and moment.operation == "chunk":
            raise StorageFull("No room.")

    video_id = workshop.upload(clip)
    room = workshop.room(ScriptedMedia(begun=begun))
    room.do(one(workshop, video_id, TaskKind.INSPECT))
    room.do(one(workshop, video_id, TaskKind.SCAN))
    for _ in range(workshop.config.tries + 2):
        assert room.do(one(workshop, video_id, TaskKind.TRANSCODE))
    task = one(workshop, video_id, TaskKind.TRANSCODE)
    assert (task.state, task.failures, task.error_code) == (TaskState.QUEUED, 0, "storage_full")
    full = False
    room.work()
    assert workshop.video(video_id).state is VideoState.READY


def test_a_zombies_commit_is_refused(
    workshop: Workshop, room: Room, media: ScriptedMedia, clip: bytes
) -> None:
    """A worker that was cut off wakes after another has done its work: nothing of it is recorded, nothing is doubled."""
    video_id = workshop.upload(clip)
    room.do(one(workshop, video_id, TaskKind.INSPECT))
    task = one(workshop, video_id, TaskKind.TRANSCODE)
    other = workshop.room(ScriptedMedia(), slot=1)

    def be_taken_over(_: str) -> None:
        media.ended = lambda _: None
        silence(workshop.catalog, room.lease.worker_id)
        assert other.do(task)

    media.ended = be_taken_over
    with capture_logs() as logs:
        room.do(task)
    assert "commit_refused" in [line["event"] for line in logs]
    done = one(workshop, video_id, TaskKind.TRANSCODE)
    assert (done.state, done.attempt, done.losses) == (TaskState.DONE, 2, 1)
    with workshop.catalog.read() as tx:
        recorded = segments.listing(tx, done.generation_id, "360p")
    assert {item.prefix for item in recorded} == {done.prefix}


def test_a_run_that_is_called_off_records_nothing(
    workshop: Workshop, room: Room, media: ScriptedMedia, clip: bytes
) -> None:
    """Its video was deleted: no failure, no retry."""
    video_id = workshop.upload(clip)
    (task,) = workshop.tasks(video_id)
    run = room.claim(task)
    assert run is not None
    workshop.delete(video_id)
    room.lease.beat()
    room.worker.execute(run)
    (task,) = workshop.tasks(video_id)
    assert (task.state, task.error_code, task.failures) == (TaskState.DEAD, "cancelled", 0)


def test_an_orderly_end_gives_claims_back(workshop: Workshop, room: Room, clip: bytes) -> None:
    """They are queued as if they had never been claimed; only the attempt has risen."""
    video_id = workshop.upload(clip)
    run = room.claim(workshop.tasks(video_id)[0])
    assert run is not None
    run.stop(StopReason.SHUTDOWN)
    room.worker.execute(run)
    (task,) = workshop.tasks(video_id)
    assert (task.state, task.failures, task.losses, task.attempt) == (TaskState.QUEUED, 0, 0, 1)
    assert task.not_before == 0


def test_a_defect_is_logged_with_its_traceback_and_counts(workshop: Workshop, clip: bytes) -> None:
    """A bug in one task takes neither the process nor, at first, the video."""

    def begun(_: Moment) -> None:
        raise ZeroDivisionError

    video_id = workshop.upload(clip)
    room = workshop.room(ScriptedMedia(begun=begun))
    with capture_logs() as logs:
        room.do(workshop.tasks(video_id)[0])
    line = next(line for line in logs if line["event"] == "attempt_failed")
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert workshop.tasks(video_id)[0].error_code == "internal_error"


def test_what_a_tool_said_last_is_in_the_log_alone(workshop: Workshop, clip: bytes) -> None:
    """It helps operators and may name things of this machine; the video's owner does not see it."""

    def begun(_: Moment) -> None:
        error = ToolFailed("It broke.")
        error.add_note("/tmp/secret: broken pipe")
        raise error

    video_id = workshop.upload(clip)
    room = workshop.room(ScriptedMedia(begun=begun))
    with capture_logs() as logs:
        room.do(workshop.tasks(video_id)[0])
    line = next(line for line in logs if line["event"] == "attempt_failed")
    assert line["said"] == ["/tmp/secret: broken pipe"]
    assert "secret" not in str(workshop.tasks(video_id)[0].error_message)


def test_two_rooms_share_one_video(workshop: Workshop, media: ScriptedMedia) -> None:
    """Whoever is free takes what is next; together they finish, and no chunk is encoded twice."""
    video_id = workshop.upload(Script("shared", frames=2500, header_frames=2500).to_bytes())
    rooms = [workshop.room(media, slot=slot) for slot in range(2)]
    threads = [threading.Thread(target=room.work) for room in rooms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    rooms[0].work()
    assert workshop.video(video_id).state is VideoState.READY
    assert len(media.encoded) == len(set(media.encoded))


@pytest.mark.parametrize("header", [110, 300])
def test_a_header_that_promised_too_much_costs_no_try(workshop: Workshop, room: Room, header: int) -> None:
    """The first chunk was cut by the header's word and lacks frames: it waits for the scan and is right then."""
    video_id = workshop.upload(Script("short", frames=60, header_frames=header, audio=0).to_bytes())
    room.do(one(workshop, video_id, TaskKind.INSPECT))
    if header == 300:
        chunk = one(workshop, video_id, TaskKind.TRANSCODE)
        room.do(chunk)
        chunk = one(workshop, video_id, TaskKind.TRANSCODE)
        assert (chunk.state, chunk.failures, chunk.error_code) == (TaskState.QUEUED, 0, "awaits_scan")
        assert chunk.kind not in {task.kind for task in room.waiting()}
    room.work()
    video = workshop.video(video_id)
    assert (video.state, video.truncated, video.duration_ms) == (VideoState.READY, True, 2400)


def test_a_refusal_before_the_scan_is_not_final(workshop: Workshop, room: Room, media: ScriptedMedia) -> None:
    """A first chunk cut by the header's word seems not to decode to its end: the scan knows that it only ends earlier."""

    def begun(moment: Moment) -> None:
        if moment.operation == "chunk":
            media.begun = lambda _: None
            raise MediaError("What decodes ends before the file does.", code="media_undecodable")

    video_id = workshop.upload(Script("short", frames=60, header_frames=300, audio=0).to_bytes())
    room.do(one(workshop, video_id, TaskKind.INSPECT))
    media.begun = begun
    room.do(one(workshop, video_id, TaskKind.TRANSCODE))
    chunk = one(workshop, video_id, TaskKind.TRANSCODE)
    assert (chunk.state, chunk.failures, chunk.error_code) == (TaskState.QUEUED, 0, "awaits_scan")
    room.work()
    assert workshop.video(video_id).state is VideoState.READY


def test_a_refusal_that_the_scan_does_not_explain_is_final(workshop: Workshop, clip: bytes) -> None:
    """Once the packets are known, pictures that do not decode fail the video with their code, at the first try."""

    def begun(moment: Moment) -> None:
        if moment.operation == "chunk":
            raise MediaError("Nothing decodes.", code="media_undecodable")

    video_id = workshop.upload(clip)
    room = workshop.room(ScriptedMedia(begun=begun))
    room.do(one(workshop, video_id, TaskKind.INSPECT))
    room.do(one(workshop, video_id, TaskKind.TRANSCODE))
    assert workshop.video(video_id).state is VideoState.PROCESSING
    room.work()
    video = workshop.video(video_id)
    assert (video.state, video.error_code) == (VideoState.FAILED, "media_undecodable")


def test_tools_that_cannot_be_started_cost_no_try(workshop: Workshop, clip: bytes) -> None:
    """It is the machine's fault: the claim goes back at once, for another machine, and no failure is recorded."""

    def begun(_: Moment) -> None:
        raise ToolError("A media process could not be started: No such file or directory")

    video_id = workshop.upload(clip)
    assert workshop.room(ScriptedMedia(begun=begun)).do(one(workshop, video_id, TaskKind.INSPECT))
    task = one(workshop, video_id, TaskKind.INSPECT)
    assert (task.state, task.failures, task.error_code, task.not_before) == (TaskState.QUEUED, 0, None, 0)
    workshop.room(ScriptedMedia(), slot=1).work()
    assert workshop.video(video_id).state is VideoState.READY


def test_a_task_that_no_tool_starts_for_is_dead_at_last(workshop: Workshop, clip: bytes) -> None:
    """The tools run, but not for this one: that counts, or one video would hold up the machine for ever."""

    def begun(moment: Moment) -> None:
        if moment.operation == "inspect":
            raise ToolError("A media process could not be started: Argument list too long")

    video_id = workshop.upload(clip)
    workshop.room(ScriptedMedia(begun=begun)).work()
    video = workshop.video(video_id)
    assert (video.state, video.error_code) == (VideoState.FAILED, "tool_unusable")
