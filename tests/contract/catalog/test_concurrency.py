"""What transactions that overlap do to each other, with real threads on connections of their own."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
import pytest
from sqlalchemy import Connection

from penstock.catalog import (
    Catalog,
    accounts,
    claims,
    events,
    generations,
    idempotency,
    queue,
    schema,
    tasks,
    uploads,
    videos,
    workers,
)
from penstock.catalog.claims import Claim, Outcome
from penstock.catalog.records import NewTask, Task
from penstock.catalog.retries import RetryPolicy
from penstock.catalog.words import TaskKind, TaskState, Transport
from penstock.video.errors import Conflict, IllegalTransition, PenstockError, StaleClaim
from penstock.video.lifecycle import VideoState
from tests.contract.catalog import scenes
from tests.servers.databases import Database

T = TypeVar("T")

PUBLISH = NewTask(kind=TaskKind.PUBLISH)


def together(*acts: Callable[[], T]) -> list[T | PenstockError]:
    """Starts all acts at the same moment and returns what each gave, or the error it met."""
    barrier = threading.Barrier(len(acts))

    def one(act: Callable[[], T]) -> T | PenstockError:
        barrier.wait()
        try:
            return act()
        except PenstockError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


def written(catalog: Catalog, act: Callable[[Connection], T]) -> Callable[[], T]:
    """The act in a transaction of its own."""

    def run() -> T:
        with catalog.write() as tx:
            return act(tx)

    return run


def commit_and_follow_up(tx: Connection, task: Task) -> bool:
    """What the last step of every task does: finish, and publish if nothing is outstanding. True if it queued that."""
    assert task.worker_id is not None
    claims.commit(tx, task.id, task.worker_id, task.attempt)
    if tasks.outstanding(tx, task.generation_id):
        return False
    return bool(tasks.enqueue(tx, task.generation_id, [PUBLISH]))


def test_two_last_commits_never_miss_each_other(database: Database) -> None:
    """Whichever of two last chunks comes second sees the first, and exactly one of them queues the publication."""
    catalogs = database.open(), database.open()
    for _ in range(12):
        scene = scenes.encoding(catalogs[0])
        last = [scenes.take(catalogs[0], chunk.id, scene.worker) for chunk in scene.chunks]
        queued = together(
            *(
                written(catalog, lambda tx, task=task: commit_and_follow_up(tx, task))  # type: ignore[misc]
                for catalog, task in zip(catalogs, last, strict=True)
            )
        )
        assert sorted(queued) == [False, True]  # type: ignore[type-var]


def test_the_second_commit_waits_for_the_first(database: Database) -> None:
    """While one commit of a generation is open, another does not look: it waits, and then sees all of it."""
    catalogs = database.open(), database.open()
    scene = scenes.encoding(catalogs[0])
    first, second = (scenes.take(catalogs[0], chunk.id, scene.worker) for chunk in scene.chunks)
    with ThreadPoolExecutor(1) as pool:
        with catalogs[0].write() as tx:
            assert not commit_and_follow_up(tx, first)
            other = pool.submit(written(catalogs[1], lambda tx: commit_and_follow_up(tx, second)))
            if database.kind == "postgresql":
                _await_lock_waiter(database.url)
            assert not other.done()
        assert other.result()


def test_no_commit_looks_before_it_holds_the_generation(database: Database) -> None:
    """Even one that has changed nothing yet keeps every other of its generation from deriving anything."""
    catalogs = database.open(), database.open()
    scene = scenes.encoding(catalogs[0])
    first, second = (scenes.take(catalogs[0], chunk.id, scene.worker) for chunk in scene.chunks)
    with ThreadPoolExecutor(1) as pool:
        with catalogs[0].write() as tx:
            claims.hold(tx, first.id, scene.worker.id, first.attempt)
            hold = written(
                catalogs[1], lambda tx: claims.hold(tx, second.id, scene.worker.id, second.attempt)
            )
            other = pool.submit(hold)
            if database.kind == "postgresql":
                _await_lock_waiter(database.url)
            assert not other.done()
        assert other.result()[0].id == second.id


def _await_lock_waiter(url: str) -> None:
    """Returns once some connection of this database waits for a lock."""
    deadline = time.monotonic() + 30
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(url, autocommit=True) as watcher:
        while True:
            row = watcher.execute(query).fetchone()
            if row is not None and row[0]:
                return
            assert time.monotonic() < deadline, "nobody waits for the generation's lock"


def test_a_task_is_claimed_once(database: Database) -> None:
    """Of several workers that want the same task at the same moment one gets it."""
    catalogs = [database.open() for _ in range(4)]
    for _ in range(5):
        scene = scenes.encoding(catalogs[0], chunks=1)
        rivals = [scenes.worker(catalogs[0], f"rival-{n}-{scene.video.id}") for n in range(4)]

        def attempt(
            catalog: Catalog, worker_id: str, task_id: str = scene.chunks[0].id
        ) -> Callable[[], Claim]:
            return written(catalog, lambda tx: claims.claim(tx, task_id, worker_id))

        got = together(*(attempt(catalog, rival.id) for catalog, rival in zip(catalogs, rivals, strict=True)))
        outcomes = sorted(claim.outcome for claim in got if isinstance(claim, Claim))
        assert outcomes == [Outcome.BUSY, Outcome.BUSY, Outcome.BUSY, Outcome.TAKEN]


def test_the_same_bytes_completed_at_once_make_one_video(database: Database) -> None:
    """Two uploads of one source that end together agree on which video stands for it."""
    catalogs = database.open(), database.open()
    ann = scenes.owner(catalogs[0])
    for number in range(6):
        sessions = []
        for _ in range(2):
            video = scenes.pending(catalogs[0], ann)
            with catalogs[0].write() as tx:
                sessions.append(uploads.create(tx, video, transport=Transport.PUT, life_ms=scenes.HOUR_MS).id)
        digest = scenes.sha256(f"source {number}")
        done = together(
            *(
                written(
                    catalog,
                    lambda tx, session=session, digest=digest: uploads.complete(  # type: ignore[misc]
                        tx, session, size=1, sha256=digest, who="account:ann"
                    ),
                )
                for catalog, session in zip(catalogs, sessions, strict=True)
            )
        )
        completions = [item for item in done if isinstance(item, uploads.Completion)]
        assert sorted(item.duplicate for item in completions) == [False, True]
        assert len({item.video.id for item in completions}) == 1


def test_deleting_and_committing_at_once_leave_no_work_behind(database: Database) -> None:
    """A follow-up queued by a commit that came just before the deletion is called off with the rest."""
    catalogs = database.open(), database.open()
    for _ in range(10):
        scene = scenes.encoding(catalogs[0], chunks=1)
        task = scenes.take(catalogs[0], scene.chunks[0].id, scene.worker)
        deleted, committed = together(
            written(catalogs[0], lambda tx, scene=scene: videos.delete(tx, scene.video.id, who="test")),  # type: ignore[misc]
            written(catalogs[1], lambda tx, task=task: commit_and_follow_up(tx, task)),  # type: ignore[misc]
        )
        assert not isinstance(deleted, PenstockError)
        assert isinstance(committed, StaleClaim | bool)
        with catalogs[0].read() as tx:
            assert tasks.outstanding(tx, scene.generation.id, but=()) == 0
            assert videos.get(tx, scene.video.id).state is VideoState.DELETED


def test_a_retry_asked_for_twice_starts_once(database: Database) -> None:
    """The second of two simultaneous retries finds the video under way already."""
    catalogs = database.open(), database.open()
    scene = scenes.encoding(catalogs[0])
    with catalogs[0].write() as tx:
        generations.fail(tx, scene.generation.id, code="bad", message="Bad.", who="test")
    done = together(
        *(
            written(catalog, lambda tx: videos.retry(tx, scene.video.id, who="account:ann"))
            for catalog in catalogs
        )
    )
    assert [isinstance(item, IllegalTransition) for item in done].count(True) == 1
    with catalogs[0].read() as tx:
        history = [event.event for event in events.listing(tx, scene.video.id)]
    assert history.count("retried") == 1


def test_versions_taken_at_once_differ(database: Database) -> None:
    """No two publishers get the same number."""
    catalogs = [database.open() for _ in range(4)]
    scene = scenes.encoding(catalogs[0])

    def take(tx: Connection) -> int:
        return generations.take_version(tx, scene.generation.id).timeline_version

    numbers = [number for _ in range(3) for number in together(*(written(c, take) for c in catalogs))]
    assert sorted(numbers) == list(range(1, 13))  # type: ignore[type-var]


def test_relays_that_sweep_at_once_announce_each_task_once(database: Database) -> None:
    """What one has chosen and not yet committed is left out by another, and afterwards it is announced."""
    catalogs = [database.open() for _ in range(3)]
    scenes.encoding(catalogs[0], chunks=12)

    def sweep(tx: Connection) -> list[str]:
        chosen = [task.id for task in queue.announceable(tx, 4)]
        queue.mark_announced(tx, chosen)
        return chosen

    announced: list[str] = []
    for _ in range(12):
        for chosen in together(*(written(catalog, sweep) for catalog in catalogs)):
            assert not isinstance(chosen, PenstockError)
            announced += chosen
    assert len(announced) == len(set(announced)) == 12


def test_two_first_starts_make_one_administrator(database: Database) -> None:
    """Both processes go on with the same account."""
    catalogs = database.open(), database.open()
    made = together(
        *(written(c, lambda tx: accounts.ensure_administrator(tx, login="admin", name="A")) for c in catalogs)
    )
    pairs = [item for item in made if isinstance(item, tuple)]
    assert sorted(new for _, new in pairs) == [False, True]
    assert len({account.id for account, _ in pairs}) == 1


def test_a_repeated_request_never_runs_beside_the_first(database: Database) -> None:
    """Of two equal requests that arrive together one runs, the other is told to wait."""
    catalogs = database.open(), database.open()
    digest = scenes.sha256("request")
    for number in range(5):
        begun = together(
            *(
                written(c, lambda tx, key=f"k{number}": idempotency.begin(tx, "ann", key, digest))  # type: ignore[misc]
                for c in catalogs
            )
        )
        assert [isinstance(item, Conflict) for item in begun].count(True) == 1


def test_a_follower_misses_no_event(database: Database) -> None:
    """While several write, a reader that goes on from the last number it saw gets every line, in order."""
    writers = [database.open() for _ in range(3)]
    video = scenes.pending(writers[0], scenes.owner(writers[0]))
    reader = database.open()
    ending = threading.Event()
    seen: list[int] = []

    def follow() -> None:
        while True:
            last_look = ending.is_set()
            with reader.read() as tx:
                seen.extend(event.number for event in events.listing(tx, video.id, after=len(seen)))
            if last_look:
                return

    def write(catalog: Catalog) -> None:
        for _ in range(20):
            with catalog.write() as tx:
                events.append(tx, video.id, "step", who="test")

    with ThreadPoolExecutor(4) as pool:
        following = pool.submit(follow)
        for future in [pool.submit(write, catalog) for catalog in writers]:
            future.result()
        ending.set()
        following.result()
    assert seen == list(range(1, 62))


@pytest.mark.parametrize("threads", [4])
def test_workers_relays_and_people_at_once_lose_nothing(database: Database, threads: int) -> None:
    """Under claims, failures, lost workers and deletions nothing deadlocks, and each kept video is published once."""
    first = database.open()
    made = [scenes.encoding(first, chunks=6, login=f"owner-{n % 2}") for n in range(4)]
    doomed = made[-1]
    policy = RetryPolicy(max_failures=1_000, backoff_ms=0, dead_after_losses=1_000)
    deadline = time.monotonic() + 120

    def labour(number: int) -> int:
        catalog = database.open()
        steps = 0
        while time.monotonic() < deadline:
            with catalog.write() as tx:
                waiting = queue.announceable(tx, 2, again_after_ms=-1)
                queue.mark_announced(tx, [task.id for task in waiting])
            if not waiting:
                with catalog.write() as tx:
                    stray = claims.lost(tx)
                if not stray and not _unfinished(catalog):
                    return steps
                for task_id in stray:
                    with catalog.write() as tx:
                        claims.reap(tx, task_id, policy=policy)
            for task in waiting:
                steps += 1
                mine = scenes.worker(catalog, f"labourer-{number}", slot=steps)
                _work(catalog, task.id, mine.id, steps + number, policy)
        raise AssertionError("the work did not come to an end")

    def bother() -> None:
        catalog = database.open()
        with catalog.write() as tx:
            videos.delete(tx, doomed.video.id, who="account:ann")
        for scene in made[:-1]:
            with catalog.write() as tx:
                videos.describe(tx, scene.video.id, title="Renamed")
            with catalog.read() as tx:
                generations.listing(tx, scene.video.id)

    with ThreadPoolExecutor(threads + 1) as pool:
        labourers = [pool.submit(labour, number) for number in range(threads)]
        pool.submit(bother).result()
        assert sum(future.result() for future in labourers) >= 18
    with first.read() as tx:
        for scene in made[:-1]:
            chunks = tasks.listing(tx, generation_id=scene.generation.id, kinds=[TaskKind.TRANSCODE])
            assert {task.state for task in chunks} == {TaskState.DONE}
            assert len(tasks.listing(tx, generation_id=scene.generation.id, kinds=[TaskKind.PUBLISH])) == 1
        assert tasks.outstanding(tx, doomed.generation.id, but=()) == 0


def _unfinished(catalog: Catalog) -> Sequence[str]:
    with catalog.read() as tx:
        table = schema.tasks.c
        busy = table.state.in_((TaskState.QUEUED, TaskState.CLAIMED))
        return tx.execute(schema.tasks.select().with_only_columns(table.id).where(busy)).scalars().all()


def _work(catalog: Catalog, task_id: str, worker_id: str, chance: int, policy: RetryPolicy) -> None:
    """One attempt at a task: mostly it succeeds, sometimes it fails, sometimes its worker is never seen again."""
    with catalog.write() as tx:
        claim = claims.claim(tx, task_id, worker_id, policy=policy)
    if claim.task is None:
        return
    try:
        with catalog.write() as tx:
            if chance % 5 == 0:
                claims.fail(
                    tx,
                    task_id,
                    worker_id,
                    claim.task.attempt,
                    code="x",
                    message="x",
                    permanent=False,
                    policy=policy,
                )
            elif chance % 7 == 0:
                workers.leave(tx, worker_id)
            else:
                claims.progress(tx, task_id, worker_id, claim.task.attempt, 0.5)
                if claim.task.kind is TaskKind.PUBLISH:
                    claims.commit(tx, task_id, worker_id, claim.task.attempt)
                else:
                    commit_and_follow_up(tx, claim.task)
    except StaleClaim:
        return
