"""What the catalog needs to be told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogConfig:
    """How to reach the database and how long to wait for it."""

    url: str
    """``sqlite:///ABSOLUTE/PATH`` (one machine, on a local disk) or ``postgresql://USER:PASSWORD@HOST/NAME`` (many machines)."""

    busy_timeout_ms: int = 10_000
    """Milliseconds a statement waits for a lock before it gives up as ``catalog_unavailable``.

    Writes take single-digit milliseconds, so ten seconds means a stuck or stopped process, or a disk that hangs. Longer
    hides that from callers; shorter turns a slow disk into errors.
    """

    pool_size: int = 8
    """Connections kept open by one process. A thread holds one for the few milliseconds of a transaction."""

    max_overflow: int = 24
    """Connections opened beyond ``pool_size`` under a burst and closed after it.

    Their sum covers the threads of one HTTP process (40 by default in anyio) with a short wait at worst; PostgreSQL's
    ``max_connections`` must cover the sum over all processes.
    """

    connect_timeout_s: int = 5
    """Seconds to wait for PostgreSQL to accept a connection, and for a free connection of the pool."""
