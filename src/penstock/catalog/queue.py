"""The order of work: which queued tasks are announced next, so that a flood of one account never buries another.

Within an account tasks have turns, given when they are queued (``tasks.enqueue``): videos share what the account gets,
none waits for all of one before it, and none is passed by for ever.

A task row is its own outbox: ``announced_at`` says that a dispatcher was told. Lost and repeated announcements are
harmless; what counts is the claim.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select

from penstock.catalog import accounts, clock, schema, tasks
from penstock.catalog.dialect import now_ms
from penstock.catalog.records import Account, Task, load
from penstock.catalog.words import TaskKind, TaskState


def announceable(
    tx: Connection,
    limit: int,
    *,
    urgent: bool | None = None,
    tool_fingerprint: str | None = None,
    again_after_ms: int | None = None,
) -> list[Task]:
    """Up to ``limit`` waiting tasks in fair order: urgent ones, then the least-served account, then in turn.

    With ``tool_fingerprint`` only tasks that those tools may run. With ``again_after_ms`` also tasks announced longer
    ago than that and still not claimed: their message may be lost. Follow with :func:`mark_announced`.
    """
    now = clock.now(tx)
    waiting = _waiting(now, tool_fingerprint=tool_fingerprint, again_after_ms=again_after_ms)
    chosen: list[str] = []
    for lane in (True, False) if urgent is None else (urgent,):
        if len(chosen) < limit:
            chosen += _fairly(tx, waiting, TaskKind, urgent=lane, limit=limit - len(chosen), now=now)
    # Another relay may be choosing the same at this moment: what it has locked or announced is left to it.
    rows = tx.execute(
        select(schema.tasks)
        .where(schema.tasks.c.id.in_(chosen), waiting)
        .with_for_update(key_share=True, skip_locked=True)
    )
    found = {row.id: load(Task, row) for row in rows}
    return [found[task_id] for task_id in chosen if task_id in found]


def waiting(
    tx: Connection,
    limit: int,
    *,
    kinds: Collection[TaskKind],
    urgent: bool | None = None,
    tool_fingerprint: str | None = None,
) -> list[Task]:
    """Up to ``limit`` tasks of these kinds that may be claimed now, in the order of :func:`announceable`.

    For a dispatcher that claims from the records themselves: it asks when it has a free place, tells nobody and locks
    nothing, so that announcements play no part.
    """
    now = clock.now(tx)
    table = schema.tasks.c
    may = and_(
        table.state == TaskState.QUEUED,
        table.not_before <= now,
        *_for_tools(tool_fingerprint),
    )
    chosen: list[str] = []
    for lane in (True, False) if urgent is None else (urgent,):
        if len(chosen) < limit:
            chosen += _fairly(tx, may, kinds, urgent=lane, limit=limit - len(chosen), now=now)
    found = {row.id: load(Task, row) for row in tx.execute(select(schema.tasks).where(table.id.in_(chosen)))}
    return [found[task_id] for task_id in chosen if task_id in found]


def present(tx: Connection, *, tool_fingerprint: str | None = None) -> set[tuple[TaskKind, bool]]:
    """Kind and urgency of what :func:`waiting` would offer: most looks find little, and this is one question."""
    table = schema.tasks.c
    rows = tx.execute(
        select(table.kind, table.urgent)
        .where(table.state == TaskState.QUEUED, table.not_before <= now_ms(), *_for_tools(tool_fingerprint))
        .distinct()
    )
    return {(row.kind, row.urgent) for row in rows}


_t = schema.tasks.c
# Composed once: every look asks these, some of them for each line of work.
_NEXT_DUE = select(func.min(_t.not_before)).where(
    _t.state == TaskState.QUEUED, _t.not_before > bindparam("now")
)

_WANTING = select(schema.accounts).where(
    schema.accounts.c.id.in_(
        select(_t.account_id).where(_t.state == TaskState.QUEUED, _t.urgent == bindparam("urgent")).distinct()
    )
)
_UNDER_WAY = tuple(
    select(_t.account_id, func.sum(_t.work).label("work")).where(under_way).group_by(_t.account_id)
    for under_way in (
        _t.state == TaskState.CLAIMED,
        and_(_t.state == TaskState.QUEUED, _t.announced_at.is_not(None)),
    )
)


def next_due(tx: Connection) -> int | None:
    """Milliseconds until the next back-off has passed; None where no task waits for one."""
    now = clock.now(tx)
    earliest: int | None = tx.execute(_NEXT_DUE, {"now": now}).scalar_one()
    return None if earliest is None else earliest - now


def mark_announced(tx: Connection, task_ids: Iterable[str]) -> None:
    """Notes that a dispatcher is told of these tasks. One that is being changed at this moment is left out."""
    table = schema.tasks
    free = tx.execute(
        select(table.c.id)
        .where(table.c.id.in_(list(task_ids)), table.c.state == TaskState.QUEUED)
        .with_for_update(key_share=True, skip_locked=True)
    )
    tx.execute(table.update().where(table.c.id.in_(free.scalars().all())).values(announced_at=now_ms()))


def forget_announcements(tx: Connection) -> int:
    """Every waiting task counts as not announced: an in-process dispatcher starts empty."""
    table = schema.tasks
    return tx.execute(
        table.update()
        .where(table.c.state == TaskState.QUEUED, table.c.announced_at.is_not(None))
        .values(announced_at=None)
    ).rowcount


def announced(tx: Connection, *, urgent: bool | None = None) -> int:
    """How many tasks are announced and not yet claimed."""
    table = schema.tasks.c
    query = select(func.count()).where(table.state == TaskState.QUEUED, table.announced_at.is_not(None))
    if urgent is not None:
        query = query.where(table.urgent.is_(urgent))
    return tx.execute(query).scalar_one()


@dataclass(frozen=True, slots=True)
class Depth:
    """How many tasks of a kind are in a state, and the estimated seconds of work they hold."""

    kind: TaskKind
    state: TaskState
    count: int
    work_s: float


def depth(tx: Connection) -> list[Depth]:
    """The unfinished tasks and those that were given up (not the called off), for metrics and autoscaling."""
    table = schema.tasks.c
    found = []
    for state in (TaskState.QUEUED, TaskState.CLAIMED, TaskState.DEAD):  # each has its index
        query = select(table.kind, func.count().label("count"), func.sum(table.work).label("work_s"))
        query = query.where(table.state == state).group_by(table.kind)
        if state is TaskState.DEAD:
            query = query.where(table.error_code != tasks.CANCELLED)
        found += [Depth(state=state, **row._asdict()) for row in tx.execute(query)]
    return found


def waiting_work(tx: Connection) -> float:
    """Estimated seconds, on one slot, of all that is queued."""
    table = schema.tasks.c
    total = tx.execute(
        select(func.coalesce(func.sum(table.work), 0.0)).where(table.state == TaskState.QUEUED)
    )
    return float(total.scalar_one())


def _waiting(now: int, *, tool_fingerprint: str | None, again_after_ms: int | None) -> ColumnElement[bool]:
    table = schema.tasks.c
    unannounced: ColumnElement[bool] = table.announced_at.is_(None)
    if again_after_ms is not None:
        unannounced = or_(unannounced, table.announced_at <= now - again_after_ms)
    return and_(
        table.state == TaskState.QUEUED,
        table.not_before <= now,
        unannounced,
        *_for_tools(tool_fingerprint),
    )


def _for_tools(fingerprint: str | None) -> list[ColumnElement[bool]]:
    if fingerprint is None:
        return []
    table = schema.tasks.c
    return [or_(table.tool_fingerprint.is_(None), table.tool_fingerprint == fingerprint)]


def _fairly(
    tx: Connection,
    waiting: ColumnElement[bool],
    kinds: Iterable[TaskKind],
    *,
    urgent: bool,
    limit: int,
    now: int,
) -> list[str]:
    """Ids in fair order: again and again the next task of the account with the least work done, running and chosen.

    However much an account has waiting, no more than ``limit`` of its tasks of each kind are looked at.
    """
    table = schema.tasks.c
    least = [(load_s, account_id) for account_id, load_s in _loads(tx, now, urgent=urgent).items()]
    heapq.heapify(least)
    lines: dict[str, Iterator[Any]] = {}
    chosen: list[str] = []
    while least and len(chosen) < limit:
        load_s, account_id = heapq.heappop(least)
        if account_id not in lines:
            line: list[Any] = []
            for kind in kinds:  # one question each: of several kinds at once, all that waits would be sorted
                mine = (table.urgent.is_(urgent), table.account_id == account_id, table.kind == kind)
                first = select(table.id, table.work, table.turn).where(waiting, *mine)
                line += tx.execute(first.order_by(table.turn, table.id).limit(limit)).all()
            lines[account_id] = iter(sorted(line, key=lambda row: (row.turn, row.id)))
        task = next(lines[account_id], None)
        if task is not None:
            chosen.append(task.id)
            heapq.heappush(least, (load_s + task.work, account_id))
    return chosen


def _loads(tx: Connection, now: int, *, urgent: bool) -> dict[str, float]:
    """For each account with queued tasks: seconds of work done for it of late, and under way."""
    loads = {
        row.id: accounts.load_of(load(Account, row), now) for row in tx.execute(_WANTING, {"urgent": urgent})
    }
    for sums in _UNDER_WAY:
        for row in tx.execute(sums):
            if row.account_id in loads:
                loads[row.account_id] += row.work
    return loads
