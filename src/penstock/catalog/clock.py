"""The database's clock, for who needs the number itself."""

from sqlalchemy import Connection, select

from penstock.catalog.dialect import now_ms

_NOW = select(now_ms())


def now(tx: Connection) -> int:
    """UTC milliseconds since the Unix epoch by the database's clock."""
    return tx.execute(_NOW).scalar_one()
