"""Task records: queueing, finding, cancelling and queueing again. Claims are in ``claims``, the order of work in ``queue``.

Every function that changes a task expects its generation to be locked, or locks it.
"""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, bindparam, func, select

from penstock.catalog import clock, garbage, schema
from penstock.catalog.dialect import insert, now_ms
from penstock.catalog.records import NewTask, Task, load
from penstock.catalog.words import TaskKind, TaskState
from penstock.video import keys
from penstock.video.errors import NotFound
from penstock.video.identity import new_id

CANCELLED = "cancelled"  # the error code of a task that was called off

INSPECT = NewTask(kind=TaskKind.INSPECT, urgent=True)
"""The first task of every generation."""

_DISCARD_AFTER_MS = (
    600_000  # an attempt that lost its claim may still be writing; its run ends long before this
)


def enqueue(tx: Connection, generation_id: str, new: Sequence[NewTask]) -> list[str]:
    """Queues tasks of a generation and returns the ids of those that did not exist; the others stay as they are.

    They get their turns in the order given: the first takes its place where the account's line stands now, so a video
    that came later waits for no more than its share of those before it, however long they are.
    """
    if not new:
        return []
    g, v = schema.generations.c, schema.videos.c
    parent = tx.execute(
        select(g.video_id, v.owner_id, g.traceparent)
        .join(schema.videos, v.id == g.video_id)
        .where(g.id == generation_id)
    ).one_or_none()
    if parent is None:
        raise NotFound("There is no such generation.", code="generation_not_found")
    now = clock.now(tx)
    places = {
        urgent: _line_stands_at(tx, parent.owner_id, urgent=urgent) for urgent in {t.urgent for t in new}
    }
    turns = []
    for task in new:
        places[task.urgent] += task.work  # first: or videos that keep coming would pass by one that waits
        turns.append(places[task.urgent])
    rows = [
        {
            "id": new_id(),
            "video_id": parent.video_id,
            "generation_id": generation_id,
            "account_id": parent.owner_id,
            "kind": task.kind,
            "index": task.index,
            "state": TaskState.QUEUED,
            "required": task.required,
            "urgent": task.urgent,
            "turn": turn,
            "work": task.work,
            "tool_fingerprint": task.tool_fingerprint,
            "payload": dict(task.payload or {}),
            "traceparent": task.traceparent or parent.traceparent,
            "created_at": now,
            "queued_at": now,
        }
        for task, turn in zip(new, turns, strict=True)
    ]
    added = tx.execute(insert(tx, schema.tasks).on_conflict_do_nothing().returning(schema.tasks.c.id), rows)
    return list(added.scalars())


def _line_stands_at(tx: Connection, account_id: str, *, urgent: bool) -> float:
    """How far an account's line has come: the turn that was taken last of those under way, else the next one."""
    table = schema.tasks.c
    mine = (table.account_id == account_id, table.urgent.is_(urgent))
    taken = select(func.max(table.turn)).where(table.state == TaskState.CLAIMED, *mine)
    following = select(func.min(table.turn)).where(table.state == TaskState.QUEUED, *mine)
    place: float = tx.execute(
        select(func.coalesce(taken.scalar_subquery(), following.scalar_subquery(), 0.0))
    ).scalar_one()
    return place


def get(tx: Connection, task_id: str) -> Task:
    """The task. Raises :class:`NotFound`."""
    task = find(tx, task_id)
    if task is None:
        raise NotFound("There is no such task.", code="task_not_found")
    return task


def find(tx: Connection, task_id: str) -> Task | None:
    """The task, or None."""
    row = tx.execute(_BY_ID, {"task": task_id}).one_or_none()
    return None if row is None else load(Task, row)


_BY_ID = select(schema.tasks).where(schema.tasks.c.id == bindparam("task"))  # asked most often: composed once


def listing(
    tx: Connection,
    *,
    video_id: str | None = None,
    generation_id: str | None = None,
    kinds: Collection[TaskKind] | None = None,
    state: TaskState | None = None,
) -> list[Task]:
    """Tasks of a video or a generation, in the order of kind and index."""
    table = schema.tasks.c
    query = select(schema.tasks).order_by(table.generation_id, table.kind, table.index)
    if video_id is not None:
        query = query.where(table.video_id == video_id)
    if generation_id is not None:
        query = query.where(table.generation_id == generation_id)
    if kinds is not None:
        query = query.where(table.kind.in_(kinds))
    if state is not None:
        query = query.where(table.state == state)
    return [load(Task, row) for row in tx.execute(query)]


def outstanding(
    tx: Connection, generation_id: str, *, but: Collection[TaskKind] = (TaskKind.PUBLISH,)
) -> int:
    """Tasks of a generation that are neither done nor given up, not counting the kinds in ``but``."""
    table = schema.tasks.c
    return tx.execute(
        select(func.count()).where(
            table.generation_id == generation_id,
            table.state.in_((TaskState.QUEUED, TaskState.CLAIMED)),
            table.kind.not_in(but),
        )
    ).scalar_one()


def requeue(
    tx: Connection, generation_id: str, *, kinds: Iterable[TaskKind] | None = None, finished: bool = False
) -> int:
    """Queues the dead tasks of a generation again (``finished``: the done ones too), with fresh budgets.

    Attempts keep rising, so that whatever an old attempt still writes can never be taken for the new one's.
    """
    table = schema.tasks
    ended = (TaskState.DEAD, TaskState.DONE) if finished else (TaskState.DEAD,)
    chosen = [table.c.generation_id == generation_id, table.c.state.in_(ended)]
    if kinds is not None:
        chosen.append(table.c.kind.in_(list(kinds)))
    count = 0
    for urgent in (True, False):
        line = [*chosen, table.c.urgent.is_(urgent)]
        query = select(func.min(table.c.turn), func.min(table.c.account_id)).where(*line)
        first, account_id = tx.execute(query).one()
        if account_id is not None:  # with its turns of then it would overtake everybody now
            later = _line_stands_at(tx, account_id, urgent=urgent) - first
            count += tx.execute(
                table.update().where(*line).values(turn=table.c.turn + later, **_AFRESH)
            ).rowcount
    return count


_AFRESH = {
    "state": TaskState.QUEUED,
    "not_before": 0,
    "announced_at": None,
    "failures": 0,
    "losses": 0,
    "progress": 0.0,
    "result": None,
    "worker_id": None,
    "message_id": None,
    "error_code": None,
    "error_message": None,
    "queued_at": now_ms(),
    "claimed_at": None,
    "ended_at": None,
}


def hasten(tx: Connection, generation_id: str, kind: TaskKind, index: int) -> None:
    """What a waiting task waited for is there: it may be claimed now."""
    table = schema.tasks
    tx.execute(
        table.update()
        .where(
            table.c.generation_id == generation_id,
            table.c.kind == kind,
            table.c.index == index,
            table.c.state == TaskState.QUEUED,
        )
        .values(not_before=0)
    )


def cancel_all(tx: Connection, generation_id: str, *, keep: str | None = None) -> int:
    """Calls off every unfinished task of a generation but ``keep``; running ones find out at their next heartbeat."""
    table = schema.tasks
    unfinished = table.c.state.in_((TaskState.QUEUED, TaskState.CLAIMED))
    mine = (table.c.generation_id == generation_id, unfinished, *([table.c.id != keep] if keep else []))
    for row in tx.execute(select(table).where(*mine, table.c.state == TaskState.CLAIMED)).all():
        discard_attempt(tx, load(Task, row))
    return tx.execute(
        table.update()
        .where(*mine)
        .values(
            state=TaskState.DEAD,
            error_code=CANCELLED,
            error_message="The work was called off.",
            worker_id=None,
            ended_at=now_ms(),
        )
    ).rowcount


def discard_attempt(tx: Connection, task: Task) -> None:
    """Gives what the present attempt wrote to the collector, who spares what a committed record refers to."""
    prefix = keys.attempt_prefix(task.video_id, task.id, task.attempt)
    garbage.add(
        tx, "outputs", prefix, reason="attempt_ended", video_id=task.video_id, delay_ms=_DISCARD_AFTER_MS
    )


def describe(task: Task) -> dict[str, object]:
    """A task's name for the history of its video."""
    return {"kind": str(task.kind), "index": task.index, "attempt": task.attempt}
