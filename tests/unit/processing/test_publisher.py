from dataclasses import replace
from fractions import Fraction

import pytest
from sqlalchemy import Connection, event

from penstock.catalog import generations, schema, videos
from penstock.catalog.database import type_of_write
from penstock.catalog.words import TaskKind
from penstock.processing.publisher import Publisher
from penstock.storage.local import LocalStore
from penstock.storage.store import Payload
from penstock.video import keys
from penstock.video.errors import StorageUnavailable
from penstock.video.lifecycle import VideoState
from penstock.video.timeline import Timeline, TimelineState, check_successor
from tests.simulation.scripted import Script
from tests.simulation.workshop import Room, Workshop


def do(workshop: Workshop, room: Room, video_id: str, kind: TaskKind, index: int = 0) -> None:
    """Executes one task of a video, which is waiting."""
    task = next(task for task in workshop.tasks(video_id) if (task.kind, task.index) == (kind, index))
    assert room.do(task)


@pytest.fixture
def video_id(workshop: Workshop, room: Room) -> str:
    """A video of 28 s with its first chunk and its sound done, nothing published yet."""
    video_id = workshop.upload(Script("long", frames=700, header_frames=700).to_bytes())
    for kind in (TaskKind.INSPECT, TaskKind.SCAN, TaskKind.TRANSCODE, TaskKind.AUDIO):
        do(workshop, room, video_id, kind)
    return video_id


def generation_of(workshop: Workshop, video_id: str) -> str:
    """The id of the current one."""
    generation_id = workshop.video(video_id).current_generation_id
    assert generation_id is not None
    return generation_id


def paced(workshop: Workshop, interval: float) -> Publisher:
    """A publisher with a pace of its own."""
    return Publisher(workshop.catalog, workshop.outputs, replace(workshop.config, publish_interval=interval))


def test_nothing_is_published_before_play_can_begin(workshop: Workshop, room: Room) -> None:
    """Pictures without sound are not playable, whatever order the tasks end in."""
    video_id = workshop.upload(Script("clip").to_bytes())
    for kind in (TaskKind.INSPECT, TaskKind.TRANSCODE):
        do(workshop, room, video_id, kind)
        room.publisher.settle()
    assert workshop.versions(video_id) == []
    assert not workshop.video(video_id).playable
    do(workshop, room, video_id, TaskKind.AUDIO)
    room.publisher.settle()
    assert len(workshop.versions(video_id)) == 1
    assert workshop.video(video_id).playable


def test_the_first_version_comes_at_once_the_next_at_its_pace(
    workshop: Workshop, room: Room, video_id: str
) -> None:
    """Early play does not wait for the pace; what follows does, and is not forgotten."""
    publisher = paced(workshop, 3600)
    publisher.request(generation_of(workshop, video_id))
    publisher.settle()
    (first,) = workshop.versions(video_id)
    assert (first.state, first.prefix()) == (TimelineState.GROWING, Fraction(4))
    do(workshop, room, video_id, TaskKind.TRANSCODE, 1)
    publisher.request(first.generation_id)
    publisher.settle()
    assert len(workshop.versions(video_id)) == 1
    with workshop.catalog.write() as tx:  # an hour later
        tx.execute(
            schema.generations.update().values(published_at=schema.generations.c.published_at - 3_600_001)
        )
    publisher.request(first.generation_id)
    publisher.settle()
    later = workshop.versions(video_id)[-1]
    assert (later.version, later.prefix()) == (2, Fraction(20))
    check_successor(first, later)


def test_the_pace_slackens_with_the_length(workshop: Workshop, video_id: str) -> None:
    """A version names every segment: at a constant pace a long video would write the square of its length."""
    config = replace(workshop.config, publish_interval=2.0, publish_share=0.005)
    publisher = Publisher(workshop.catalog, workshop.outputs, config)
    publisher.request(generation_of(workshop, video_id))
    publisher.settle()
    with workshop.catalog.write() as tx:  # two hours are published, the last of it 10 s ago
        tx.execute(
            schema.generations.update().values(
                published_prefix_ms=7_200_000, published_at=schema.generations.c.published_at - 10_000
            )
        )
        tx.execute(
            schema.tracks.update().values(contiguous=2000, contiguous_end=8000 * schema.tracks.c.timescale)
        )
    publisher.request(generation_of(workshop, video_id))
    publisher.settle()
    assert len(workshop.versions(video_id)) == 1


def test_nothing_new_is_no_version(workshop: Workshop, room: Room, video_id: str) -> None:
    """Requests without growth, however many, write nothing."""
    for _ in range(5):
        room.publisher.request(generation_of(workshop, video_id))
        room.publisher.settle()
        room.publisher.sweep()
    assert len(workshop.versions(video_id)) == 1


def test_a_version_holds_what_every_track_has(workshop: Workshop, room: Room, video_id: str) -> None:
    """Sound that runs ahead is cut to the pictures, and the set of tracks never changes."""
    room.publisher.settle()
    (version,) = workshop.versions(video_id)
    assert [track.name for track in version.tracks] == ["240p", "360p", "audio-0"]
    assert [len(track.segments) for track in version.tracks] == [1, 1, 1]
    assert not any(track.complete for track in version.tracks)
    assert version.planned_duration == Fraction(28)


class Failing(LocalStore):
    """A store that refuses to be written to."""

    def put(self, key: str, data: Payload) -> int:
        """Refuses."""
        raise StorageUnavailable("No answer.")


def test_a_version_that_was_taken_and_never_written_is_made_good(
    workshop: Workshop, room: Room, video_id: str
) -> None:
    """A process died between number and object: the gap stays, the next sweep writes a later version."""
    room.publisher.settle()
    do(workshop, room, video_id, TaskKind.TRANSCODE, 1)
    with workshop.catalog.write() as tx:
        generations.take_version(tx, generation_of(workshop, video_id), prefix_ms=20_000)
    room.publisher.sweep()
    assert [version.version for version in workshop.versions(video_id)] == [1]  # it may be on its way
    with workshop.catalog.write() as tx:
        tx.execute(schema.generations.update().values(published_at=1))
    room.publisher.sweep()
    assert [version.version for version in workshop.versions(video_id)] == [1, 3]
    assert workshop.versions(video_id)[-1].prefix() == 20


def test_a_first_version_that_could_not_be_written_is_tried_again(
    workshop: Workshop, room: Room, video_id: str
) -> None:
    """Nobody is told that the video is playable before the object is durable."""
    failing = Publisher(
        workshop.catalog,
        Failing(workshop.folder / "outputs"),
        replace(workshop.config, retry_base=3600),
    )
    failing.request(generation_of(workshop, video_id))
    failing.settle()
    assert not workshop.video(video_id).playable
    room.publisher.settle()
    assert workshop.video(video_id).playable
    assert [version.version for version in workshop.versions(video_id)] == [2]


def test_nothing_grows_after_the_publication_is_queued(workshop: Workshop, room: Room, video_id: str) -> None:
    """A growing version after a frozen one would be a step back."""
    room.work(until=lambda task: task.kind is TaskKind.PUBLISH)
    before = workshop.versions(video_id)
    room.publisher.request(generation_of(workshop, video_id))
    room.publisher.settle()
    room.publisher.sweep()
    assert workshop.versions(video_id) == before
    room.work()
    assert workshop.versions(video_id)[-1].state is TimelineState.FROZEN


def test_players_of_a_deleted_video_are_told(workshop: Workshop, room: Room, video_id: str) -> None:
    """The sweep finds it, whoever deleted it; the tombstone is the highest version and names nothing."""
    room.publisher.settle()
    generation_id = generation_of(workshop, video_id)
    workshop.delete(video_id)
    room.publisher.sweep()
    room.publisher.sweep()
    tombstone = workshop.versions(video_id, generation_id)[-1]
    assert (tombstone.version, tombstone.state, tombstone.tracks) == (2, TimelineState.DELETED, ())


def test_players_of_a_failed_video_are_told_and_a_retry_goes_on(
    workshop: Workshop, room: Room, video_id: str
) -> None:
    """The tombstone carries the code; after a retry the timeline grows on from what was published."""
    room.publisher.settle()
    (before,) = workshop.versions(video_id)
    with workshop.catalog.write() as tx:
        generations.fail(tx, before.generation_id, code="tool_failed", message="It broke.", who="test")
    room.publisher.request(before.generation_id)
    room.publisher.settle()
    tombstone = workshop.versions(video_id)[-1]
    assert (tombstone.state, tombstone.error_code) == (TimelineState.FAILED, "tool_failed")
    with workshop.catalog.write() as tx:
        videos.retry(tx, video_id, who="test")
    do(workshop, room, video_id, TaskKind.INSPECT)
    room.publisher.settle()
    growing = workshop.versions(video_id)[-1]
    assert growing.state is TimelineState.GROWING
    check_successor(before, growing)
    assert workshop.video(video_id).playable
    room.work()
    assert workshop.video(video_id).state is VideoState.READY


def test_a_video_that_was_never_published_needs_no_tombstone(workshop: Workshop, room: Room) -> None:
    """No player knows it."""
    video_id = workshop.upload(Script("clip", refused="media_empty").to_bytes())
    generation_id = generation_of(workshop, video_id)
    room.work()
    room.publisher.sweep()
    assert workshop.versions(video_id, generation_id) == []


def test_versions_lie_where_readers_look(workshop: Workshop, room: Room, video_id: str) -> None:
    """The key is a function of video, generation and number."""
    room.publisher.settle()
    (version,) = workshop.versions(video_id)
    key = keys.timeline(video_id, version.generation_id, 1)
    assert workshop.outputs.head(key).size > 100
    assert isinstance(version, Timeline)


def test_segments_are_read_outside_the_lock(workshop: Workshop, room: Room) -> None:
    """A version of a long video has tens of thousands of them, and nobody could commit anything meanwhile."""
    video_id = workshop.upload(Script("clip").to_bytes())
    for kind in (TaskKind.INSPECT, TaskKind.AUDIO, TaskKind.TRANSCODE):
        do(workshop, room, video_id, kind)
    reading: list[bool] = []

    @event.listens_for(workshop.catalog.engine, "before_cursor_execute")
    def look(tx: Connection, _cursor: object, statement: str, *_: object) -> None:
        if "FROM segments" in statement:
            reading.append(tx.get_execution_options()[type_of_write])

    room.publisher.settle()
    assert len(workshop.versions(video_id)) == 1
    assert reading
    assert not any(reading)


def test_a_flood_is_swept_in_parts(workshop: Workshop, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """No sweep looks at all of many videos, and after some of them each was looked at."""
    monkeypatch.setattr("penstock.processing.publisher._MOST", 2)
    found = [workshop.upload(Script(f"clip {number}").to_bytes()) for number in range(5)]
    for video_id in found:
        for kind in (TaskKind.INSPECT, TaskKind.AUDIO, TaskKind.TRANSCODE):
            do(workshop, room, video_id, kind)
    publisher = paced(workshop, 0.0)  # nobody told it anything
    seen = []
    for _ in range(3):
        publisher.sweep()
        publisher.settle()
        seen.append(sum(bool(workshop.versions(video_id)) for video_id in found))
    assert seen == [2, 4, 5]
