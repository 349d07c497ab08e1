from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from penstock.catalog import accounts, claims, garbage, generations, schema, uploads, videos
from penstock.catalog.words import TaskKind, Transport, UploadState, Visibility
from penstock.processing.collector import Collector
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.storage.store import ObjectInfo
from penstock.video import timeline
from penstock.video.timeline import Timeline, TimelineState
from tests.simulation import invariants
from tests.simulation.scripted import Script, ScriptedMedia, breaking
from tests.simulation.workshop import Room, Workshop

HOUR_MS = 3_600_000


def later(workshop: Workshop, hours: float = 1) -> None:
    """Time passes for the records: what may go after it may go now."""
    past = int(hours * HOUR_MS)
    with workshop.catalog.write() as tx:
        tx.execute(update(schema.garbage).values(not_before=schema.garbage.c.not_before - past))
        tx.execute(update(schema.generations).values(updated_at=schema.generations.c.updated_at - past))


def collect(room: Room) -> None:
    """Until nothing is due."""
    while room.collector.sweep():
        pass


def keys_of(workshop: Workshop) -> list[str]:
    """All outputs."""
    return [info.key for info in workshop.outputs.list("")]


def broken_sound(workshop: Workshop) -> tuple[Room, str]:
    """A video whose sound broke off in the middle, in another room, after some of it was recorded; who goes on with it."""
    video_id = workshop.upload(Script("clip", frames=700, header_frames=700).to_bytes())
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise RuntimeError

    room = workshop.room(ScriptedMedia())
    for kind in (TaskKind.INSPECT, TaskKind.SCAN):
        room.do(next(task for task in workshop.tasks(video_id) if task.kind is kind))
    other = workshop.room(ScriptedMedia(step=step), slot=1)
    (audio,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.AUDIO)
    other.do(audio)
    return room, video_id


def test_what_a_broken_attempt_stored_goes(workshop: Workshop, clip: bytes) -> None:
    """The chunk failed after its segments were stored: they go some time later, the second attempt's stay."""
    video_id = workshop.upload(clip)
    broken = 0

    def ended(operation: str) -> None:
        nonlocal broken
        if operation == "chunk" and not broken:
            broken += 1
            raise RuntimeError

    room = workshop.room(ScriptedMedia(ended=ended))
    room.work()
    stored = keys_of(workshop)
    collect(room)
    assert keys_of(workshop) == stored  # the attempt might still be writing
    later(workshop)
    collect(room)
    assert len(keys_of(workshop)) < len(stored)
    invariants.check_collected(workshop)
    invariants.check_ready(workshop, video_id)


def test_published_sound_of_a_broken_attempt_stays(workshop: Workshop) -> None:
    """Segments that were recorded before the attempt broke are part of the video; what was stored after them goes."""
    room, video_id = broken_sound(workshop)
    later(workshop)
    collect(room)
    room.work()
    later(workshop)
    collect(room)
    invariants.check_ready(workshop, video_id)
    invariants.check_collected(workshop)
    prefixes = {segment.prefix for segment in workshop.versions(video_id)[-1].audio_tracks[0].segments}
    assert len(prefixes) == 2


def test_a_deleted_videos_media_go_after_the_tombstone(workshop: Workshop, room: Room, clip: bytes) -> None:
    """Not before players were told, and not until they had time to hear of it; the tombstone outlives every token."""
    video_id = workshop.upload(clip)
    room.work()
    later(workshop)
    collect(room)
    stored = keys_of(workshop)
    workshop.delete(video_id)
    later(workshop)
    collect(room)
    assert keys_of(workshop) == stored  # no tombstone yet
    assert list(workshop.sources.list("")) == []  # nobody plays the source
    room.publisher.sweep()
    collect(room)
    assert set(stored) < set(keys_of(workshop))  # a tombstone a moment ago
    later(workshop)
    collect(room)
    (tombstone,) = (version for version in _timelines(workshop) if version.state is TimelineState.DELETED)
    assert tombstone.version > 1
    assert all("/timeline/" in key for key in keys_of(workshop))
    later(workshop, hours=26)
    collect(room)
    assert keys_of(workshop) == []


def _timelines(workshop: Workshop) -> list[Timeline]:
    return [timeline.decode(workshop.outputs.get(key)) for key in keys_of(workshop) if "/timeline/" in key]


def test_only_the_frozen_timeline_stays(workshop: Workshop, room: Room) -> None:
    """Growing versions are nobody's concern once it is durable and readers had time to see it."""
    video_id = workshop.upload(Script("long", frames=700, header_frames=700).to_bytes())
    room.work()
    assert len(workshop.versions(video_id)) > 2
    later(workshop)
    collect(room)
    (frozen,) = workshop.versions(video_id)
    assert frozen.state is TimelineState.FROZEN
    invariants.check_ready(workshop, video_id)


def test_a_cancelled_generation_goes_when_no_token_is_left(workshop: Workshop, clip: bytes) -> None:
    """After an update of the tools the video is planned anew; the old plan's segments stay a day for who plays them."""
    old = workshop.room(ScriptedMedia("old tools"))
    video_id = workshop.upload(clip)
    old.work(until=lambda task: task.kind is TaskKind.PUBLISH)
    first = workshop.video(video_id).current_generation_id
    assert first is not None
    with workshop.catalog.write() as tx:
        generations.replan(tx, first, who="test", why="new tools")
    room = workshop.room(ScriptedMedia("new tools"), slot=1)
    room.work()
    later(workshop)
    collect(room)
    assert workshop.versions(video_id, first)
    later(workshop, hours=26)
    collect(room)
    assert workshop.versions(video_id, first) == []
    invariants.check_ready(workshop, video_id)
    with workshop.catalog.read() as tx:
        assert {each.state for each in generations.listing(tx, video_id)} == {"cancelled", "published"}
    invariants.check_collected(workshop)


def test_what_a_generation_referred_to_goes_with_it(workshop: Workshop) -> None:
    """Also of an attempt that was looked at in the same round, when it was still referred to."""
    room, video_id = broken_sound(workshop)
    first = workshop.video(video_id).current_generation_id
    assert first is not None
    with workshop.catalog.write() as tx:
        generations.replan(tx, first, who="test", why="new tools")
    room.work()
    later(workshop, hours=26)
    collect(room)
    invariants.check_collected(workshop)
    invariants.check_ready(workshop, video_id)


def test_an_abandoned_upload_leaves_nothing(workshop: Workshop, room: Room) -> None:
    """Silent for too long, it is expired by the reaper, and its staged bytes and its source go."""
    store = LocalStore(workshop.folder / "sources")
    staging = FolderStaging(store)
    account = workshop.account()
    with workshop.catalog.write() as tx:
        video = videos.create(
            tx, owner_id=account.id, title="t", filename="f", visibility=Visibility.PRIVATE, who="test"
        )
        upload = uploads.create(tx, video, transport=Transport.PUT, life_ms=-1)
    staging.create(upload.id)
    store.put(upload.source_key, b"half of it")
    assert room.reaper.sweep() == 1
    with workshop.catalog.read() as tx:
        assert uploads.get(tx, upload.id).state is UploadState.EXPIRED
    collector = Collector(
        workshop.catalog, workshop.config, sources=store, outputs=workshop.outputs, staging=staging
    )
    while collector.sweep():
        pass
    assert list(staging.leftovers()) == []
    assert list(store.list("")) == []
    assert workshop.video(video.id).state == "deleted"


def test_a_source_that_a_video_stands_on_is_spared(workshop: Workshop, room: Room, clip: bytes) -> None:
    """Whatever entry a mistake put on the list, a living video's source stays."""
    video_id = workshop.upload(clip)
    key = workshop.video(video_id).source_key
    assert key is not None
    with workshop.catalog.write() as tx:
        garbage.add(tx, "sources", key, reason="duplicate", video_id=video_id)
    collect(room)
    assert workshop.sources.head(key).size == len(clip)


def test_a_source_may_be_dropped_when_the_video_is_ready(
    workshop: Workshop, media: ScriptedMedia, clip: bytes
) -> None:
    """Where an operator does not want to keep originals."""
    workshop.config = replace(workshop.config, keep_sources=False)
    room = workshop.room(media)
    video_id = workshop.upload(clip)
    room.work()
    collect(room)
    assert list(workshop.sources.list("")) == []
    assert workshop.video(video_id).source_dropped_at is not None
    invariants.check_ready(workshop, video_id)


@pytest.mark.parametrize("moment", ["listed", "asked"])
def test_a_commit_beside_a_collection_loses_nothing(
    workshop: Workshop, tmp_path: Path, clip: bytes, moment: str
) -> None:
    """While an old attempt's leftovers are being removed, the new attempt of the same task commits."""
    video_id = workshop.upload(clip)
    breaking_room = workshop.room(ScriptedMedia(begun=breaking("poster")))
    for kind in (TaskKind.INSPECT, TaskKind.SCAN, TaskKind.POSTER):
        breaking_room.do(next(task for task in workshop.tasks(video_id) if task.kind is kind))
    room = workshop.room(ScriptedMedia(), slot=1)
    (poster,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.POSTER)
    with workshop.catalog.write() as tx:
        claim = claims.claim(tx, poster.id, room.lease.worker_id)
        claims.release(tx, poster.id, room.lease.worker_id, claim.task.attempt if claim.task else 0)
        assert accounts.find_by_login(tx, "ann") is not None
    later(workshop)

    class Racing(LocalStore):
        """Between two calls of the collector the room finishes its work."""

        def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
            """See the port."""
            yield from super().list(prefix, start_after=start_after)
            if moment == "listed":
                room.work()

        def delete(self, keys: Iterable[str]) -> None:
            """See the port."""
            if moment == "asked":
                room.work()
            super().delete(keys)

    collector = Collector(
        workshop.catalog,
        workshop.config,
        sources=workshop.sources,
        outputs=Racing(workshop.folder / "outputs"),
        staging=None,
    )
    collector.sweep()
    room.work()
    invariants.check_ready(workshop, video_id)


def test_an_entry_that_fails_as_nobody_foresaw_holds_up_no_other(
    workshop: Workshop, room: Room, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failure is told with a traceback and it is tried again later; what came after it goes at once."""
    broken, fine = (workshop.upload(clip) for _ in range(2))
    for video_id in (broken, fine):
        workshop.delete(video_id)
    listing = workshop.sources.list

    def unreadable(prefix: str) -> Iterator[ObjectInfo]:
        if broken in prefix:
            raise ValueError(prefix)
        return listing(prefix)

    monkeypatch.setattr(workshop.sources, "list", unreadable)
    later(workshop)
    with capture_logs() as logs:
        collect(room)
    assert [info.key.split("/")[0] for info in listing("")] == [broken]
    assert any(isinstance(line.get("exc_info"), ValueError) for line in logs)
    monkeypatch.setattr(workshop.sources, "list", listing)
    later(workshop)
    collect(room)
    assert list(listing("")) == []
