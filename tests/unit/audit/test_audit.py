from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from sqlalchemy import update

from penstock.audit.audit import Audit
from penstock.audit.findings import REMEDIES, Fault, Finding
from penstock.catalog import claims, schema, tasks, uploads, videos
from penstock.catalog.words import TaskKind, TaskState, Transport, UploadState, Visibility
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.video import keys, timeline
from penstock.video.identity import new_id
from penstock.video.lifecycle import GenerationState, VideoState
from penstock.video.timeline import TimelineState
from tests.simulation.scripted import Script, ScriptedMedia
from tests.simulation.workshop import HOUR_MS, Workshop


def audit(workshop: Workshop, *, deep: bool = False, repair: bool = False) -> Audit:
    """Of all there is, without waiting between two looks."""
    sources = workshop.sources
    assert isinstance(sources, LocalStore)
    return Audit(
        workshop.catalog,
        sources=sources,
        outputs=workshop.outputs,
        staging=FolderStaging(sources),
        deep=deep,
        repair=repair,
        pause=lambda _: None,
    )


def found(workshop: Workshop, *, deep: bool = False, repair: bool = False) -> list[Finding]:
    """The faults."""
    return list(audit(workshop, deep=deep, repair=repair).run())


def codes(workshop: Workshop, *, deep: bool = False) -> set[Fault]:
    """Their codes."""
    return {finding.code for finding in found(workshop, deep=deep)}


# -- what may go wrong: each damages the records or objects of a ready video


def first_segment(workshop: Workshop, video_id: str) -> str:
    """The key of a published object."""
    frozen = workshop.versions(video_id)[-1]
    return frozen.tracks[0].key(frozen.tracks[0].segments[0])


def other_bytes(workshop: Workshop, key: str) -> bytes:
    """As many as there are, but others."""
    return bytes(byte ^ 1 for byte in workshop.outputs.get(key))


def change(workshop: Workshop, table: str, **values: object) -> None:
    """Writes into every row of a table, past everything that guards it."""
    with workshop.catalog.write() as tx:
        tx.execute(update(schema.metadata.tables[table]).values(**values))


def forge(workshop: Workshop, video_id: str, number: int, state: TimelineState) -> None:
    """One more timeline version, which says that its tracks are shorter."""
    last = workshop.versions(video_id)[-1]
    shorter = tuple(replace(track, segments=track.segments[:1]) for track in last.tracks)
    forged = replace(last, version=number, state=state, tracks=shorter)
    key = keys.timeline(video_id, last.generation_id, number)
    workshop.outputs.put(key, timeline.encode(forged))
    change(workshop, "generations", timeline_version=number)


def lose_line(workshop: Workshop, video_id: str) -> None:
    """A line of the history is gone."""
    table = schema.events
    with workshop.catalog.write() as tx:
        tx.execute(table.delete().where(table.c.number == 3))


def damage_source(workshop: Workshop, video_id: str) -> None:
    """Other bytes of the same number."""
    key = workshop.video(video_id).source_key
    assert key is not None
    workshop.sources.put(key, bytes(byte ^ 1 for byte in workshop.sources.get(key)))


def lose_source(workshop: Workshop, video_id: str) -> None:
    """The acknowledged bytes are gone."""
    workshop.sources.delete([workshop.video(video_id).source_key or ""])


def write_of_another_attempt(
    workshop: Workshop, video_id: str, kind: TaskKind = TaskKind.TRANSCODE, attempt: int = 9
) -> None:
    """A segment is recorded of an attempt that was never made."""
    (task, *_) = [t for t in workshop.tasks(video_id) if t.kind is kind]
    table = schema.segments
    prefix = keys.attempt_prefix(video_id, task.id, attempt)
    with workshop.catalog.write() as tx:
        tx.execute(table.update().where(table.c.number == 1).values(prefix=prefix))


def wait_for_days(workshop: Workshop, _video_id: str) -> None:
    """A clock that was wrong told the tasks of a video to be tried again in a year."""
    change(workshop, "generations", state=GenerationState.ENCODING)
    change(workshop, "tasks", state=TaskState.QUEUED, not_before=10**15)


def publish_otherwise(workshop: Workshop, video_id: str) -> None:
    """The frozen timeline names a segment by another digest than the record."""
    last = workshop.versions(video_id)[-1]
    first = last.tracks[0]
    changed = (replace(first.segments[0], etag="0" * 32), *first.segments[1:])
    forged = replace(last, tracks=(replace(first, segments=changed), *last.tracks[1:]))
    workshop.outputs.put(keys.timeline(video_id, last.generation_id, last.version), timeline.encode(forged))


def newest(workshop: Workshop, video_id: str) -> str:
    """The key of the last timeline version."""
    last = workshop.versions(video_id)[-1]
    return keys.timeline(video_id, last.generation_id, last.version)


def open_upload(workshop: Workshop) -> str:
    """The id of a session whose video waits for it."""
    account = workshop.account()
    with workshop.catalog.write() as tx:
        video = videos.create(
            tx, owner_id=account.id, title="t", filename="f", visibility=Visibility.PUBLIC, who="test"
        )
        return uploads.create(tx, video, transport=Transport.PUT, life_ms=HOUR_MS).id


def end_silently(workshop: Workshop, _video_id: str) -> None:
    """A session is over, and nobody told its video."""
    open_upload(workshop)
    table = schema.uploads
    with workshop.catalog.write() as tx:
        tx.execute(table.update().where(table.c.state == UploadState.OPEN).values(state=UploadState.EXPIRED))


def complete_silently(workshop: Workshop, _video_id: str) -> None:
    """A session is complete, and its video was not."""
    open_upload(workshop)
    table = schema.uploads
    with workshop.catalog.write() as tx:
        tx.execute(
            table.update().where(table.c.state == UploadState.OPEN).values(state=UploadState.COMPLETED)
        )


DAMAGES: dict[str, tuple[Fault, Callable[[Workshop, str], object]]] = {
    "a source is gone": (Fault.SOURCE_MISSING, lose_source),
    "a source is shorter": (
        Fault.SOURCE_DAMAGED,
        lambda w, v: w.sources.put(w.video(v).source_key or "", b"short"),
    ),
    "an object is gone": (Fault.OBJECT_MISSING, lambda w, v: w.outputs.delete([first_segment(w, v)])),
    "an object is longer": (
        Fault.OBJECT_DAMAGED,
        lambda w, v: w.outputs.put(first_segment(w, v), bytes(999)),
    ),
    "a line of the history is gone": (Fault.EVENT_MISSING, lose_line),
    "a line tells of no step": (Fault.EVENT_ILLEGAL, lambda w, v: change(w, "events", event="retried")),
    "a state has no history": (
        Fault.STATE_DIFFERS,
        lambda w, v: change(w, "videos", state=VideoState.FAILED, playable=False),
    ),
    "a generation's state has no history": (
        Fault.STATE_DIFFERS,
        lambda w, v: change(w, "generations", state=GenerationState.FAILED),
    ),
    "a ready video cannot be played": (
        Fault.PLAYABLE_DIFFERS,
        lambda w, v: change(w, "videos", playable=False),
    ),
    "a session is complete and its video is not": (Fault.UPLOAD_UNRECORDED, complete_silently),
    "a video waits for an upload that has ended": (Fault.VIDEO_STUCK, end_silently),
    "a generation waits for no task": (
        Fault.VIDEO_STUCK,
        lambda w, v: change(w, "generations", state=GenerationState.ENCODING),
    ),
    "a task of a published video is queued": (
        Fault.TASK_LEFT_OVER,
        lambda w, v: change(w, "tasks", state=TaskState.QUEUED),
    ),
    "a task of a published video is dead": (
        Fault.TASK_UNFINISHED,
        lambda w, v: change(w, "tasks", state=TaskState.DEAD),
    ),
    "a segment is of another attempt": (Fault.TASK_COMMITTED_TWICE, write_of_another_attempt),
    "a segment of sound is of an attempt that never was": (
        Fault.TASK_COMMITTED_TWICE,
        lambda w, v: write_of_another_attempt(w, v, TaskKind.AUDIO),
    ),
    "a publication is done and its generation is not": (
        Fault.TASK_UNFINISHED,
        lambda w, v: change(w, "generations", state=GenerationState.ENCODING),
    ),
    "a task is done and nobody knows when": (
        Fault.TASK_UNFINISHED,
        lambda w, v: change(w, "tasks", ended_at=None),
    ),
    "a task waits for a year": (Fault.VIDEO_STUCK, wait_for_days),
    "a video works on nothing": (
        Fault.VIDEO_STUCK,
        lambda w, v: change(w, "videos", state=VideoState.PROCESSING),
    ),
    "a playable video has published nothing": (
        Fault.PLAYABLE_DIFFERS,
        lambda w, v: change(w, "videos", published_generation_id=None),
    ),
    "a track is said to be longer": (
        Fault.TRACK_INCOMPLETE,
        lambda w, v: change(w, "tracks", segments_total=99),
    ),
    "a timeline is no timeline": (Fault.TIMELINE_MALFORMED, lambda w, v: w.outputs.put(newest(w, v), b"{}")),
    "a later timeline is shorter": (
        Fault.TIMELINE_CHANGED,
        lambda w, v: forge(w, v, 99, TimelineState.GROWING),
    ),
    "a timeline says other than the records": (Fault.TIMELINE_DIFFERS, publish_otherwise),
    "the records do not know a timeline": (
        Fault.TIMELINE_UNRECORDED,
        lambda w, v: change(w, "generations", timeline_version=0),
    ),
    "the frozen timeline is gone": (Fault.TIMELINE_MISSING, lambda w, v: w.outputs.delete([newest(w, v)])),
    "an object is nobody's": (
        Fault.ORPHAN,
        lambda w, v: w.outputs.put(keys.attempt_prefix(v, new_id(), 1) + "x", b"x"),
    ),
    "a source is nobody's": (Fault.ORPHAN, lambda w, v: w.sources.put(keys.source(v, new_id()), b"x")),
    "a video is unknown": (Fault.STRANGER, lambda w, v: w.outputs.put(f"{new_id()}/t.1/x", b"x")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_found(workshop: Workshop, ready: str, damage: str) -> None:
    """Each kind of damage has its code, and before it there was nothing to find."""
    assert found(workshop, deep=True) == []
    code, act = DAMAGES[damage]
    act(workshop, ready)
    assert code in codes(workshop)


@pytest.mark.parametrize(
    ("code", "act"),
    [
        (Fault.SOURCE_DAMAGED, damage_source),
        (
            Fault.OBJECT_DAMAGED,
            lambda w, v: w.outputs.put(first_segment(w, v), other_bytes(w, first_segment(w, v))),
        ),
    ],
)
def test_other_bytes_of_the_same_number_are_found_in_the_deep(
    workshop: Workshop, ready: str, code: Fault, act: Callable[[Workshop, str], object]
) -> None:
    """Sizes alone do not tell; digests do."""
    act(workshop, ready)
    assert found(workshop) == []
    assert codes(workshop, deep=True) == {code}


def test_every_fault_can_be_found_and_has_its_remedy() -> None:
    """No code is promised that no damage brings about."""
    assert {code for code, _ in DAMAGES.values()} == set(Fault) == set(REMEDIES)


def test_a_video_on_its_way_has_no_fault(workshop: Workshop) -> None:
    """At no moment between the upload and the collection, whatever is under way."""
    video_id = workshop.upload(Script("clip", subtitles=1).to_bytes())
    room = workshop.room(ScriptedMedia(step=lambda: looks.append(found(workshop, deep=True))))
    looks: list[list[Finding]] = []
    for number in count(1):
        task = next(iter(room.waiting()), None)
        if task is None:
            break
        room.do(task)
        room.publisher.settle()
        looks.append(found(workshop, deep=True))
        assert number < 100
    assert workshop.video(video_id).state is VideoState.READY
    assert len(looks) > 10
    assert [findings for findings in looks if findings] == []


def test_a_fault_of_one_moment_is_none(workshop: Workshop, ready: str) -> None:
    """What is gone at the second look was another's work under way."""
    stray = keys.attempt_prefix(ready, new_id(), 1) + "x"
    workshop.outputs.put(stray, b"x")
    looking = audit(workshop)
    looking._pause = lambda _: workshop.outputs.delete([stray])
    assert list(looking.run()) == []


def test_what_a_zombie_wrote_after_its_collection_is_swept(workshop: Workshop) -> None:
    """It is nobody's and on no list; told to repair, the audit removes it and nothing else."""
    video_id = workshop.upload(Script("clip").to_bytes())
    room = workshop.room(ScriptedMedia())
    run = room.claim(room.waiting()[0])
    assert run is not None
    with workshop.catalog.write() as tx:
        claims.release(tx, run.task.id, room.lease.worker_id, run.task.attempt)
        tx.execute(update(schema.garbage).values(not_before=0))
    room.runs.remove(run)
    assert room.collector.sweep() == 1
    workshop.outputs.put(run.task.prefix + "late", b"late")
    (finding,) = found(workshop, repair=True)
    assert (finding.where, finding.repaired) == (f"outputs {run.task.prefix}late", True)
    assert list(workshop.outputs.list("")) == []
    room.work()
    assert workshop.video(video_id).state is VideoState.READY
    assert found(workshop, deep=True) == []


def test_what_an_attempt_under_way_wrote_is_spared(workshop: Workshop) -> None:
    """It is not recorded yet, and may be at any moment."""
    video_id = workshop.upload(Script("clip").to_bytes())
    room = workshop.room(ScriptedMedia())
    run = room.claim(room.waiting()[0])
    assert run is not None
    workshop.outputs.put(run.task.prefix + "fresh", b"x")
    assert found(workshop, repair=True) == []
    with workshop.catalog.write() as tx:
        task = tasks.get(tx, run.task.id)
        claims.release(tx, task.id, room.lease.worker_id, task.attempt)
    assert found(workshop, repair=True) == []  # the collector's
    assert workshop.outputs.get(run.task.prefix + "fresh") == b"x"
    assert workshop.video(video_id).state is VideoState.UPLOADED


def test_strangers_are_told_and_never_removed(workshop: Workshop, ready: str) -> None:
    """A wrong database must not cost anybody a video."""
    stranger = f"{new_id()}/t.1/x"
    workshop.outputs.put(stranger, b"x")
    (finding,) = found(workshop, repair=True)
    assert (finding.code, finding.repaired) == (Fault.STRANGER, False)
    assert workshop.outputs.get(stranger) == b"x"


def test_what_a_bucket_keeps_of_an_upload_is_no_stranger(workshop: Workshop) -> None:
    """Acknowledged bytes lie beside the sources until they are whole: nobody is told to remove them by hand."""
    workshop.sources.put(f"{keys.STAGING}{open_upload(workshop)}/tail", b"x")
    assert found(workshop) == []


def test_staged_bytes_of_an_ended_upload_are_swept(workshop: Workshop) -> None:
    """Those of an open one stay."""
    sources = workshop.sources
    assert isinstance(sources, LocalStore)
    staging = FolderStaging(sources)
    kept, left = open_upload(workshop), open_upload(workshop)
    for each in (kept, left):
        staging.create(each)
    with workshop.catalog.write() as tx:
        uploads.end(tx, left, UploadState.CANCELLED, who="test")
        tx.execute(schema.garbage.delete())
    (finding,) = found(workshop, repair=True)
    assert (finding.code, finding.where, finding.repaired) == (Fault.ORPHAN, f"staging {left}", True)
    assert [each.name for each in staging.leftovers()] == [kept]
