import itertools

import pytest
from structlog.testing import capture_logs

from penstock.catalog import schema, segments
from penstock.catalog.records import Task
from penstock.catalog.words import TaskKind, TaskState
from penstock.video.lifecycle import VideoState
from tests.simulation import invariants
from tests.simulation.scripted import Script, ScriptedMedia
from tests.simulation.workshop import Room, Workshop, await_that


def sound(workshop: Workshop, video_id: str) -> Task:
    """The task of the first track."""
    return next(task for task in workshop.tasks(video_id) if task.kind is TaskKind.AUDIO)


@pytest.fixture
def broken_off(workshop: Workshop, room: Room, monkeypatch: pytest.MonkeyPatch) -> str:
    """A video whose sound broke off after its third segment was recorded."""
    monkeypatch.setattr("penstock.processing.tasks.audio._PACE", 0.0)
    video_id = workshop.upload(Script("long", frames=700, header_frames=700).to_bytes())
    for kind in (TaskKind.INSPECT, TaskKind.SCAN):
        room.do(next(task for task in workshop.tasks(video_id) if task.kind is kind))

    begun = itertools.count()

    def step() -> None:
        number = next(begun)
        await_that(
            lambda: len(recorded(workshop, video_id)) == number, what="the segment before in the records"
        )
        if number == 3:
            raise RuntimeError

    workshop.room(ScriptedMedia(step=step), slot=1).do(sound(workshop, video_id))
    return video_id


def recorded(workshop: Workshop, video_id: str) -> list[str]:
    """Prefixes of the recorded segments, in order."""
    with workshop.catalog.read() as tx:
        return [
            item.prefix for item in segments.listing(tx, sound(workshop, video_id).generation_id, "audio-0")
        ]


def test_segments_are_recorded_as_they_appear(workshop: Workshop, broken_off: str) -> None:
    """An attempt that breaks off leaves what it had recorded, as players may know it already."""
    assert len(recorded(workshop, broken_off)) == 3
    assert sound(workshop, broken_off).state is TaskState.QUEUED


def test_a_later_attempt_continues_what_is_published(workshop: Workshop, room: Room, broken_off: str) -> None:
    """It makes the same bytes again, keeps the recorded segments as they are, and adds the others under its own prefix."""
    before = recorded(workshop, broken_off)
    with capture_logs() as logs:
        room.do(sound(workshop, broken_off))
    after = recorded(workshop, broken_off)
    assert after[: len(before)] == before
    assert set(after[len(before) :]) == {sound(workshop, broken_off).prefix}
    (line,) = (line for line in logs if line["event"] == "audio_encoded")
    assert line["kept_segments"] == len(before)
    assert "audio_segment_differs" not in [line["event"] for line in logs]
    room.work()
    invariants.check_ready(workshop, broken_off)


def test_other_bytes_at_the_same_times_are_said_and_accepted(
    workshop: Workshop, room: Room, broken_off: str
) -> None:
    """Another class of processor may round differently; what was published still does not change."""
    with workshop.catalog.write() as tx:
        tx.execute(schema.segments.update().where(schema.segments.c.number == 2).values(sha256="0" * 64))
    with capture_logs() as logs:
        room.do(sound(workshop, broken_off))
    assert [line["segment"] for line in logs if line["event"] == "audio_segment_differs"] == [2]
    assert sound(workshop, broken_off).state is TaskState.DONE
    with workshop.catalog.read() as tx:
        kept = segments.listing(tx, sound(workshop, broken_off).generation_id, "audio-0")
    assert kept[1].sha256 == "0" * 64


@pytest.mark.parametrize("what", ["times", "init"])
def test_what_would_not_join_is_refused(workshop: Workshop, room: Room, broken_off: str, what: str) -> None:
    """Segments at other times, or of another encoder, never get behind the published ones."""
    with workshop.catalog.write() as tx:
        if what == "times":
            tx.execute(schema.segments.update().where(schema.segments.c.number == 2).values(duration=7))
        else:
            tx.execute(schema.tracks.update().values(init_sha256="0" * 64))
    before = recorded(workshop, broken_off)
    room.do(sound(workshop, broken_off))
    task = sound(workshop, broken_off)
    assert (task.state, task.error_code) == (
        TaskState.QUEUED,
        "audio_mismatch" if what == "times" else "init_mismatch",
    )
    assert recorded(workshop, broken_off) == before


def test_two_tracks_are_two_tasks(workshop: Workshop, room: Room) -> None:
    """Each complete with its own number of segments."""
    video_id = workshop.upload(Script("two", audio=2).to_bytes())
    room.work()
    assert workshop.video(video_id).state is VideoState.READY
    frozen = workshop.versions(video_id)[-1]
    assert [(track.name, track.default) for track in frozen.audio_tracks] == [
        ("audio-0", True),
        ("audio-1", False),
    ]
