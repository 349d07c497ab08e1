"""Two that meet, at the very step where it matters: barriers at fault points instead of luck."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import update

from penstock import faults
from penstock.audit.findings import Fault
from penstock.catalog import Catalog, schema, uploads, videos
from penstock.catalog.words import TaskKind, TaskState, Transport, Visibility
from penstock.faults import Point
from penstock.processing.config import ProcessingConfig
from penstock.video.errors import IllegalTransition, ToolFailed
from penstock.video.lifecycle import VideoState
from tests.servers.databases import catalog, database, postgresql, postgresql_template
from tests.simulation import invariants
from tests.simulation.scripted import Moment, Script, ScriptedMedia
from tests.simulation.workshop import HOUR_MS, Room, Workshop, await_that, silence

__all__ = ["catalog", "database", "postgresql", "postgresql_template"]

DAY_MS = 86_400_000


@pytest.fixture
def workshop(tmp_path: Path, catalog: Catalog) -> Workshop:
    """A machine; no lease ends by itself."""
    config = ProcessingConfig(
        node="node-1",
        run_folder=tmp_path,
        scratch_folder=tmp_path,
        retry_base=0.0,
        publish_interval=0.0,
        lease=3600.0,
    )
    return Workshop(tmp_path, catalog, config=config)


@pytest.fixture
def video_id(workshop: Workshop) -> str:
    """Of a video whose upload was acknowledged."""
    return workshop.upload(Script("clip").to_bytes())


class Gate:
    """Holds the first thread but the test's own that comes to a point, until it is opened."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self.reached, self._opened = threading.Event(), threading.Event()
        faults.arm(self._come)

    def open(self) -> None:
        """Lets it go on."""
        self._opened.set()

    def _come(self, point: Point) -> None:
        mine = threading.current_thread() is threading.main_thread()
        if point is self._point and not mine and not self.reached.is_set():
            self.reached.set()
            assert self._opened.wait(120)


class Beside:
    """Something that is done in a thread of its own, held at a point; leaving the block lets it finish."""

    def __init__(self, act: Callable[[], Any], point: Point) -> None:
        self._gate = Gate(point)
        self._thread = threading.Thread(target=self._run, args=(act,), name="beside", daemon=True)
        self.error: BaseException | None = None

    def _run(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._gate.reached.wait(120), self.error
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.open()
        self._thread.join(120)
        assert not self._thread.is_alive()


def until(room: Room, kind: TaskKind) -> None:
    """All that is waiting before a task of this kind."""
    room.work(lambda task: task.kind is kind)


def next_of(room: Room, kind: TaskKind) -> Any:
    """The next waiting task of a kind."""
    return next(task for task in room.waiting() if task.kind is kind)


def finish(workshop: Workshop, room: Room, video_id: str) -> None:
    """What is left is done, the video is ready, and after collection nothing is wrong with anything."""
    room.reaper.sweep()
    room.work()
    room.publisher.sweep()
    invariants.check_ready(workshop, video_id)
    collect(workshop, room)


def sweep(workshop: Workshop) -> None:
    """What a zombie wrote too late is nobody's: removed by who looks for it, and nothing else is wrong."""
    assert all(finding.code is Fault.ORPHAN for finding in invariants.faults(workshop, repair=True))
    invariants.check_sound(workshop)


def collect(workshop: Workshop, room: Room) -> None:
    """As if every wait were over."""
    with workshop.catalog.write() as tx:
        tx.execute(update(schema.garbage).values(not_before=0))
    while room.collector.sweep():
        pass
    invariants.check_collected(workshop)


@pytest.mark.parametrize(
    "point", [Point.ENCODE_BEGUN, Point.ENCODE_STORED, Point.ENCODE_ENDED, Point.OBJECT_SYNCED]
)
def test_a_zombie_that_wakes_after_the_takeover_changes_nothing(
    workshop: Workshop, video_id: str, point: Point
) -> None:
    """Its work was done by another meanwhile, and collected; what it still writes is nobody's, and is swept."""
    zombie, other = workshop.room(ScriptedMedia(), slot=0), workshop.room(ScriptedMedia(), slot=1)
    until(zombie, TaskKind.TRANSCODE)
    run = zombie.claim(next_of(zombie, TaskKind.TRANSCODE))
    assert run is not None
    with Beside(lambda: zombie.worker.execute(run), point):
        silence(workshop.catalog, zombie.lease.worker_id)
        other.reaper.sweep()
        other.work()
        invariants.check_ready(workshop, video_id)
        collect(workshop, other)
    other.work()
    assert {task.state for task in workshop.tasks(video_id)} == {TaskState.DONE}
    assert sum(task.losses for task in workshop.tasks(video_id)) == 1
    sweep(workshop)
    invariants.check_ready(workshop, video_id)
    collect(workshop, other)


@pytest.mark.parametrize("point", [Point.ENCODE_STORED, Point.ENCODE_ENDED, Point.COMMIT_DONE])
def test_a_deletion_during_an_encode_wins(workshop: Workshop, video_id: str, point: Point) -> None:
    """Whatever the encode had done by then, nothing of it is queued, published or left."""
    room = workshop.room(ScriptedMedia())
    until(room, TaskKind.TRANSCODE)
    run = room.claim(next_of(room, TaskKind.TRANSCODE))
    assert run is not None
    with Beside(lambda: room.worker.execute(run), point):
        workshop.delete(video_id)
    room.work()
    room.publisher.sweep()
    assert workshop.video(video_id).state is VideoState.DELETED
    assert {task.state for task in workshop.tasks(video_id)} <= {TaskState.DONE, TaskState.DEAD}
    with workshop.catalog.write() as tx:  # as if the last token had expired
        tx.execute(update(schema.generations).values(updated_at=0))
    collect(workshop, room)
    assert list(workshop.outputs.list("")) == list(workshop.sources.list("")) == []


def test_a_retry_during_a_deletion_comes_too_late(workshop: Workshop) -> None:
    """It waits for the deletion and is refused; what came first counts, and nothing is queued."""
    video_id = workshop.upload(Script("clip", refused="media_unreadable").to_bytes())
    room = workshop.room(ScriptedMedia())
    room.work()
    assert workshop.video(video_id).state is VideoState.FAILED

    refused: list[IllegalTransition] = []

    def retry() -> None:
        try:
            with workshop.catalog.write() as tx:
                videos.retry(tx, video_id, who="test")
        except IllegalTransition as error:
            refused.append(error)

    with Beside(lambda: workshop.delete(video_id), Point.RECORD_WRITTEN) as deletion:
        late = threading.Thread(target=retry)
        late.start()
    late.join(120)
    assert deletion.error is None
    assert len(refused) == 1
    assert workshop.video(video_id).state is VideoState.DELETED
    assert room.waiting() == []
    collect(workshop, room)


def test_the_collector_beside_a_commit_takes_nothing_that_is_committed(
    workshop: Workshop, video_id: str
) -> None:
    """Sound is committed bit by bit: while an ended attempt's leavings are listed, another's commit goes on."""
    room, other = workshop.room(ScriptedMedia(), slot=0), workshop.room(ScriptedMedia(), slot=1)
    until(room, TaskKind.AUDIO)
    run = room.claim(next_of(room, TaskKind.AUDIO))
    assert run is not None
    with Beside(lambda: room.worker.execute(run), Point.COMMIT_RUNG):  # its first segments are recorded
        silence(workshop.catalog, room.lease.worker_id)
        other.reaper.sweep()
        with workshop.catalog.write() as tx:
            tx.execute(update(schema.garbage).values(not_before=0))
        other.collector.sweep()
        invariants.check_sound(workshop)
    sweep(workshop)  # it went on storing after its attempt was collected
    finish(workshop, other, video_id)


def test_announcements_that_are_doubled_and_late_change_nothing(workshop: Workshop, video_id: str) -> None:
    """Every task is offered again and again, in any order, to two processes: each is done once."""
    rooms = [workshop.room(ScriptedMedia(), slot=slot) for slot in range(2)]
    for _ in range(100):
        waiting = rooms[0].waiting()
        if not waiting:
            break
        for task in [*reversed(waiting), *waiting]:
            for room in rooms:
                room.do(task)
        for room in rooms:
            room.publisher.settle()
    assert {task.attempt for task in workshop.tasks(video_id)} == {1}
    finish(workshop, rooms[0], video_id)


def test_two_uploads_of_one_digest_make_one_video(workshop: Workshop) -> None:
    """The second waits for the first, is answered with its video, and its own bytes are collected."""
    account, script = workshop.account(), Script("clip").to_bytes()
    sessions = []
    for _ in range(2):
        with workshop.catalog.write() as tx:
            video = videos.create(
                tx, owner_id=account.id, title="t", filename="f", visibility=Visibility.PUBLIC, who="test"
            )
            sessions.append(uploads.create(tx, video, transport=Transport.PUT, life_ms=HOUR_MS))
        workshop.sources.put(sessions[-1].source_key, script)
    done: list[uploads.Completion] = []

    def complete(session: int) -> None:
        with workshop.catalog.write() as tx:
            upload = sessions[session]
            done.append(uploads.complete(tx, upload.id, size=len(script), sha256="a" * 64, who="test"))

    with Beside(lambda: complete(0), Point.RECORD_WRITTEN) as first:
        second = threading.Thread(target=complete, args=(1,))
        second.start()
    second.join(120)
    assert first.error is None
    assert len({each.video.id for each in done}) == 1
    assert sorted(each.duplicate for each in done) == [False, True]
    with workshop.catalog.write() as tx:  # nobody hashed these bytes
        tx.execute(update(schema.videos).values(source_sha256=None))
    finish(workshop, workshop.room(ScriptedMedia()), done[0].video.id)


# -- clocks: what was written under another clock is what the present one is held against


def move(workshop: Workshop, days: int) -> None:
    """The database's clock jumps: forward, all that was written is older; back, it lies ahead."""
    shift = days * DAY_MS
    times = {
        "workers": ("started_at", "renewed_at", "lease_until"),
        "tasks": ("created_at", "queued_at", "claimed_at", "ended_at"),
        "garbage": ("not_before", "created_at"),
        "generations": ("created_at", "updated_at", "published_at", "first_published_at"),
        "accounts": ("served_at",),
    }
    with workshop.catalog.write() as tx:
        for name, columns in times.items():
            table = schema.metadata.tables[name]
            tx.execute(update(table).values({column: table.c[column] - shift for column in columns}))
        waiting = schema.tasks.c.not_before > 0
        tx.execute(update(schema.tasks).where(waiting).values(not_before=schema.tasks.c.not_before - shift))


def test_a_clock_that_jumps_forward_loses_nothing(workshop: Workshop, video_id: str) -> None:
    """Every lease has run out: the work goes to whoever looks first, and the others are refused."""
    room, other = workshop.room(ScriptedMedia(), slot=0), workshop.room(ScriptedMedia(), slot=1)
    until(room, TaskKind.TRANSCODE)
    run = room.claim(next_of(room, TaskKind.TRANSCODE))
    assert run is not None
    with Beside(lambda: room.worker.execute(run), Point.ENCODE_ENDED):
        move(workshop, 1)
        other.lease.beat()
        other.reaper.sweep()
        other.work()
    assert sum(task.losses for task in workshop.tasks(video_id)) == 1
    finish(workshop, other, video_id)


def test_a_clock_that_is_set_back_holds_nothing_up(workshop: Workshop, video_id: str) -> None:
    """A dead worker's lease and the wait between two tries end as if the clock had always been right."""
    healed = threading.Event()

    def breaking(moment: Moment) -> None:
        if moment.operation == "chunk" and not healed.is_set():
            raise ToolFailed("It broke.")

    workshop.config = replace(workshop.config, lease=2.0, retry_base=600.0)
    dead = workshop.room(ScriptedMedia(begun=breaking), slot=0)
    until(dead, TaskKind.TRANSCODE)
    assert dead.do(next_of(dead, TaskKind.TRANSCODE))  # its next try is ten minutes away
    assert dead.claim(dead.waiting()[0]) is not None  # and this claim is never heard of again
    move(workshop, -1)
    healed.set()
    workshop.config = replace(workshop.config, lease=3600.0)
    other = workshop.room(ScriptedMedia(), slot=1)

    def is_ready() -> bool:
        other.reaper.sweep()
        other.work()
        other.publisher.settle()
        return workshop.video(video_id).state is VideoState.READY

    await_that(is_ready, what="the video is ready")
    finish(workshop, other, video_id)
