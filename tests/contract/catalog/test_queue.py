from itertools import pairwise

import pytest

from penstock.catalog import Catalog, accounts, claims, queue, schema, tasks, workers
from penstock.catalog.records import NewTask, Task, Worker
from penstock.catalog.words import TaskKind, TaskState
from penstock.video.errors import StaleClaim
from tests.contract.catalog import scenes


def announce(catalog: Catalog, limit: int, **options: object) -> list[Task]:
    """What the relay would tell the dispatcher of next."""
    with catalog.write() as tx:
        chosen = queue.announceable(tx, limit, **options)  # type: ignore[arg-type]
        queue.mark_announced(tx, [task.id for task in chosen])
    return chosen


def add(catalog: Catalog, scene: scenes.Encoding, *new: NewTask) -> None:
    """Queues tasks in the scene's generation."""
    with catalog.write() as tx:
        tasks.enqueue(tx, scene.generation.id, new)


def work_off(catalog: Catalog, worker: Worker, count: int) -> list[Task]:
    """So many tasks, claimed and finished one after the other, as a dispatcher with one place would."""
    done = []
    for _ in range(count):
        with catalog.read() as tx:
            (task,) = queue.waiting(tx, 1, kinds=[TaskKind.TRANSCODE])
        done.append(scenes.finish(catalog, scenes.take(catalog, task.id, worker)))
    return done


def test_urgent_tasks_come_first(catalog: Catalog) -> None:
    """First chunks and inspections go before everything that is waiting, whoever's they are."""
    bulk = scenes.encoding(catalog, chunks=5)
    done = scenes.uploaded(catalog, scenes.owner(catalog, "ben"))
    add(catalog, bulk, NewTask(kind=TaskKind.AUDIO, urgent=True))
    first = announce(catalog, 3)
    assert {(task.kind, task.video_id) for task in first[:2]} == {
        (TaskKind.AUDIO, bulk.video.id),
        (TaskKind.INSPECT, done.video.id),
    }
    assert first[2].kind is TaskKind.TRANSCODE


def test_the_lanes_can_be_asked_apart(catalog: Catalog) -> None:
    """A dispatcher with a reserved slot asks for urgent work alone."""
    bulk = scenes.encoding(catalog, chunks=2)
    add(catalog, bulk, NewTask(kind=TaskKind.AUDIO, urgent=True))
    assert [task.kind for task in announce(catalog, 9, urgent=True)] == [TaskKind.AUDIO]
    assert [task.kind for task in announce(catalog, 9, urgent=False)] == [TaskKind.TRANSCODE] * 2
    with catalog.read() as tx:
        assert (queue.announced(tx), queue.announced(tx, urgent=True), queue.announced(tx, urgent=False)) == (
            3,
            1,
            2,
        )


def test_a_flood_does_not_bury_a_newcomer(catalog: Catalog) -> None:
    """Between accounts the work alternates, however much one of them has waiting."""
    flood = [scenes.encoding(catalog, chunks=20, login="flood") for _ in range(3)]
    newcomer = scenes.encoding(catalog, chunks=3, login="newcomer")
    order = announce(catalog, 6)
    assert [task.account_id == newcomer.video.owner_id for task in order].count(True) == 3
    assert [task.index for task in order if task.video_id == newcomer.video.id] == [0, 1, 2]
    assert {task.video_id for task in order} == {newcomer.video.id, *(each.video.id for each in flood[:2])}


def test_work_done_and_under_way_counts_against_an_account(catalog: Catalog) -> None:
    """The account that has had less goes first."""
    rich, poor = scenes.encoding(catalog, login="rich"), scenes.encoding(catalog, login="poor")
    with catalog.write() as tx:
        accounts.served(tx, rich.video.owner_id, 15.0)
    assert [task.account_id for task in announce(catalog, 2)] == [poor.video.owner_id] * 2
    add(catalog, poor, NewTask(kind=TaskKind.TRANSCODE, index=7))
    # Twenty seconds of the poor account's work are announced by now, against fifteen that the rich one has had.
    assert announce(catalog, 1)[0].account_id == rich.video.owner_id


def test_work_long_done_is_forgotten(catalog: Catalog) -> None:
    """Half of an account's weight is gone after ten minutes."""
    account = scenes.owner(catalog)
    with catalog.write() as tx:
        accounts.served(tx, account.id, 100.0)
        account = accounts.get(tx, account.id)
    assert accounts.load_of(account, account.served_at) == pytest.approx(100)
    assert accounts.load_of(account, account.served_at + 600_000) == pytest.approx(50)
    assert accounts.load_of(account, account.served_at + 6_000_000) < 0.1


def test_within_a_video_chunks_go_out_in_the_order_of_watching(catalog: Catalog) -> None:
    """Which is the one they are queued in."""
    scene = scenes.encoding(catalog, chunks=0)
    add(catalog, scene, *[NewTask(kind=TaskKind.TRANSCODE, index=i) for i in range(20)])
    assert [task.index for task in announce(catalog, 20)] == list(range(20))


def test_a_long_video_does_not_hold_up_short_ones_of_its_owner(catalog: Catalog) -> None:
    """Twenty clips that come while an hour is encoded are done within their share, and the hour is not passed by."""
    hour = scenes.encoding(catalog, chunks=0)
    add(catalog, hour, *[NewTask(kind=TaskKind.TRANSCODE, index=i, work=10.0) for i in range(200)])
    work_off(catalog, hour.worker, 50)
    for _ in range(20):
        clip = scenes.encoding(catalog, chunks=0)
        add(catalog, clip, *[NewTask(kind=TaskKind.TRANSCODE, index=i, work=10.0) for i in range(2)])
    order = work_off(catalog, hour.worker, 60)
    assert [task.video_id for task in order].count(hour.video.id) == 20
    places = [n for n, task in enumerate(order) if task.video_id == hour.video.id]
    assert max(later - earlier for earlier, later in pairwise(places)) <= 21
    assert len({task.video_id for task in order}) == 21


def test_short_ones_that_never_end_do_not_pass_a_long_video_by(catalog: Catalog) -> None:
    """However many come, each of them waits its turn as well."""
    hour = scenes.encoding(catalog, chunks=0)
    add(catalog, hour, *[NewTask(kind=TaskKind.TRANSCODE, index=i, work=10.0) for i in range(100)])
    done = 0
    for _ in range(40):
        for _ in range(2):
            clip = scenes.encoding(catalog, chunks=0)
            add(catalog, clip, NewTask(kind=TaskKind.TRANSCODE, index=1, work=10.0))
        done += sum(task.video_id == hour.video.id for task in work_off(catalog, hour.worker, 2))
    assert done >= 10


def test_a_retried_video_takes_its_place_anew(catalog: Catalog) -> None:
    """Its turns of long ago would let it overtake everybody."""
    old = scenes.encoding(catalog, chunks=0)
    add(catalog, old, *[NewTask(kind=TaskKind.TRANSCODE, index=i, work=10.0) for i in range(5)])
    with catalog.write() as tx:
        tasks.cancel_all(tx, old.generation.id)
    other = scenes.encoding(catalog, chunks=0)
    add(catalog, other, *[NewTask(kind=TaskKind.TRANSCODE, index=i, work=10.0) for i in range(20)])
    work_off(catalog, other.worker, 10)
    with catalog.write() as tx:
        assert tasks.requeue(tx, old.generation.id) == 5
    order = [task.video_id for task in work_off(catalog, other.worker, 10)]
    assert order.count(old.video.id) == order.count(other.video.id) == 5


def test_what_is_announced_is_not_announced_again_too_soon(catalog: Catalog) -> None:
    """Only after a while, in case the message was lost; an emptied dispatcher may ask for all of it."""
    scene = scenes.encoding(catalog, chunks=2)
    assert len(announce(catalog, 9)) == 2
    assert announce(catalog, 9) == []
    assert announce(catalog, 9, again_after_ms=60_000) == []
    with catalog.write() as tx:
        tx.execute(schema.tasks.update().values(announced_at=schema.tasks.c.announced_at - 60_000))
    assert len(announce(catalog, 9, again_after_ms=60_000)) == 2
    with catalog.write() as tx:
        assert queue.forget_announcements(tx) == 2
    assert [task.id for task in announce(catalog, 9)] == [task.id for task in scene.chunks]


def test_what_waits_out_a_back_off_is_left_in_peace(catalog: Catalog) -> None:
    """A task whose time has not come is not announced; afterwards it is, though it was announced before."""
    scene = scenes.encoding(catalog, chunks=1)
    announce(catalog, 1)
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    with catalog.write() as tx:
        claims.fail(tx, task.id, scene.worker.id, task.attempt, code="x", message="x", permanent=False)
    assert announce(catalog, 9) == []
    with catalog.write() as tx:
        tx.execute(schema.tasks.update().values(not_before=0))
    assert [found.id for found in announce(catalog, 9)] == [task.id]


def test_foreign_tools_are_left_to_their_nodes(catalog: Catalog) -> None:
    """A relay may ask for what its own tools can run, and for what any tools can."""
    scene = scenes.encoding(catalog, chunks=1)
    add(catalog, scene, NewTask(kind=TaskKind.TRANSCODE, index=5, tool_fingerprint="a"))
    assert [task.index for task in announce(catalog, 9, tool_fingerprint="b")] == [0]
    assert [task.index for task in announce(catalog, 9, tool_fingerprint="a")] == [5]


def test_depth_counts_what_waits_runs_and_was_given_up(catalog: Catalog) -> None:
    """The figures for metrics and autoscaling come from the records."""
    scene = scenes.encoding(catalog, chunks=3, required=False)
    dying = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    scenes.take(catalog, scene.chunks[1].id, scene.worker)
    with catalog.write() as tx:
        claims.fail(tx, dying.id, scene.worker.id, dying.attempt, code="x", message="x", permanent=True)
        depth = {(row.kind, row.state): (row.count, row.work_s) for row in queue.depth(tx)}
        assert queue.waiting_work(tx) == 10.0
    assert depth == {
        (TaskKind.TRANSCODE, TaskState.DEAD): (1, 10.0),
        (TaskKind.TRANSCODE, TaskState.CLAIMED): (1, 10.0),
        (TaskKind.TRANSCODE, TaskState.QUEUED): (1, 10.0),
    }


def test_living_workers_are_counted_by_their_lease(catalog: Catalog) -> None:
    """Capacity is that of workers whose lease is in force; long-silent ones are forgotten."""
    first, second = scenes.worker(catalog, "a"), scenes.worker(catalog, "b")
    with catalog.read() as tx:
        assert [worker.id for worker in workers.live(tx)] == [first.id, second.id]
        assert workers.live_capacity(tx) == 4
    scenes.silence(catalog, second)
    with catalog.write() as tx:
        assert workers.live_capacity(tx) == 2
        assert workers.forget(tx, silent_for_ms=60_000) == 0
        assert workers.forget(tx, silent_for_ms=0) == 1
        assert workers.find(tx, second.id) is None
    with pytest.raises(StaleClaim), catalog.write() as tx:
        workers.renew(tx, second.id)
