"""What was written while the database's clock was ahead, once it is right again.

A clock that goes forward ends leases early, and the fence makes that harmless. One that is set back would leave leases,
waits and permissions to collect that last until it has caught up; they are brought back to where it stands now.
"""

from sqlalchemy import Connection

from penstock.catalog import schema
from penstock.catalog.dialect import now_ms
from penstock.catalog.words import TaskState

_TOLERANCE_MS = 1000  # a statement may have begun before another that is committed already
_LONGEST_MS = 26 * 3_600_000  # no garbage waits longer; a smaller jump only delays its collection


def amend(tx: Connection) -> int:
    """Leases count from now, waits are over, garbage waits from now. Returns how many rows it changed."""
    ahead = now_ms() + _TOLERANCE_MS
    w, t, g = schema.workers, schema.tasks, schema.garbage
    changes = (
        w.update()
        .where(w.c.renewed_at > ahead)
        .values(lease_until=w.c.lease_until - w.c.renewed_at + now_ms(), renewed_at=now_ms()),
        t.update()
        .where(t.c.state == TaskState.QUEUED, t.c.not_before > ahead, t.c.claimed_at > ahead)
        .values(not_before=now_ms()),
        g.update()
        .where(g.c.not_before > ahead + _LONGEST_MS, g.c.created_at > ahead)
        .values(not_before=g.c.not_before - g.c.created_at + now_ms(), created_at=now_ms()),
    )
    return sum(tx.execute(change).rowcount for change in changes)
