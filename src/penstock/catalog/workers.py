"""Processing processes and their leases, judged by the database's clock alone."""

from sqlalchemy import Connection, bindparam, func, select

from penstock.catalog import schema
from penstock.catalog.dialect import now_ms
from penstock.catalog.records import Worker, load
from penstock.catalog.words import TaskState
from penstock.video.errors import StaleClaim
from penstock.video.identity import new_id

LEASE_MS = 10_000
"""How long a silent worker keeps its claims. Renewed every 2 s: four may be missed before the work goes to another."""


# Asked by every heartbeat and every claim: composed once, because composing takes longer than answering.
_BY_ID = select(schema.workers).where(schema.workers.c.id == bindparam("worker"))
_CLAIMED = select(schema.tasks.c.id, schema.tasks.c.attempt).where(
    schema.tasks.c.worker_id == bindparam("worker"), schema.tasks.c.state == TaskState.CLAIMED
)
_RENEWAL = (
    schema.workers.update()
    .where(schema.workers.c.id == bindparam("worker"))
    .values(renewed_at=now_ms(), lease_until=now_ms() + bindparam("lease"))
)


def register(
    tx: Connection,
    *,
    node_id: str,
    slot: int,
    capacity: int,
    version: str,
    tool_fingerprint: str | None = None,
    lease_ms: int = LEASE_MS,
) -> Worker:
    """A new worker in a slot whose file lock the caller holds: every earlier boot of the slot is thereby known dead."""
    table = schema.workers
    boot = tx.execute(
        select(func.coalesce(func.max(table.c.boot), 0)).where(
            table.c.node_id == node_id, table.c.slot == slot
        )
    ).scalar_one()
    worker_id = new_id()
    tx.execute(
        table.insert().values(
            id=worker_id,
            node_id=node_id,
            slot=slot,
            boot=boot + 1,
            capacity=capacity,
            tool_fingerprint=tool_fingerprint,
            version=version,
            started_at=now_ms(),
            renewed_at=now_ms(),
            lease_until=now_ms() + lease_ms,
        )
    )
    worker = find(tx, worker_id)
    assert worker is not None
    return worker


def find(tx: Connection, worker_id: str) -> Worker | None:
    """The worker, or None."""
    row = tx.execute(_BY_ID, {"worker": worker_id}).one_or_none()
    return None if row is None else load(Worker, row)


def renew(tx: Connection, worker_id: str, *, lease_ms: int = LEASE_MS) -> dict[str, int]:
    """Prolongs the lease and returns the claims that are still the worker's: task id to attempt.

    A run whose task is not among them was called off or taken over and must stop. Raises :class:`StaleClaim` where the
    worker is no longer known: it must stop everything and register anew.
    """
    if not tx.execute(_RENEWAL, {"worker": worker_id, "lease": lease_ms}).rowcount:
        raise StaleClaim("The worker was given up; register again.", code="worker_unknown")
    return claimed(tx, worker_id)


def claimed(tx: Connection, worker_id: str) -> dict[str, int]:
    """The worker's claims that are in force: task id to attempt."""
    return {row.id: row.attempt for row in tx.execute(_CLAIMED, {"worker": worker_id})}


def leave(tx: Connection, worker_id: str) -> None:
    """Ends a worker on purpose; what it has not released counts as lost."""
    tx.execute(schema.workers.delete().where(schema.workers.c.id == worker_id))


def forget(tx: Connection, *, silent_for_ms: int = 86_400_000) -> int:
    """Removes workers whose lease expired long ago. Their claims count as lost with or without the row."""
    table = schema.workers
    return tx.execute(table.delete().where(table.c.lease_until <= now_ms() - silent_for_ms)).rowcount


def live(tx: Connection) -> list[Worker]:
    """Workers whose lease is in force, oldest first."""
    table = schema.workers
    rows = tx.execute(select(table).where(table.c.lease_until > now_ms()).order_by(table.c.id))
    return [load(Worker, row) for row in rows]


def live_capacity(tx: Connection) -> int:
    """How many tasks all living workers run at once."""
    table = schema.workers
    total = tx.execute(
        select(func.coalesce(func.sum(table.c.capacity), 0)).where(table.c.lease_until > now_ms())
    )
    return int(total.scalar_one())
