"""Objects that no record needs any more, as a list for the collector of processing.

An entry only permits: the collector asks :func:`segments.referenced` before it deletes, and spares timelines (their
tombstones) below a deleted video's prefix until the longest token has expired.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from penstock.catalog import schema
from penstock.catalog.dialect import insert, now_ms
from penstock.catalog.records import Garbage, load
from penstock.video.identity import new_id


def add(
    tx: Connection, store: str, prefix: str, *, reason: str, video_id: str | None = None, delay_ms: int = 0
) -> None:
    """Lists ``prefix`` (or a whole key) of ``store`` (``sources``, ``outputs``, ``staging``).

    Repeating it makes another entry of it, due when the first was: whoever is serving that one may have spared what may go
    only now, and must not strike this one off.
    """
    entry_id = new_id()
    tx.execute(
        insert(tx, schema.garbage)
        .values(
            id=entry_id,
            store=store,
            prefix=prefix,
            reason=reason,
            video_id=video_id,
            not_before=now_ms() + delay_ms,
            created_at=now_ms(),
        )
        .on_conflict_do_update(index_elements=["store", "prefix"], set_={"id": entry_id})
    )


def due(tx: Connection, *, limit: int = 100) -> list[Garbage]:
    """Entries whose time has come, oldest first."""
    table = schema.garbage
    rows = tx.execute(
        select(table)
        .where(table.c.not_before <= now_ms())
        .order_by(table.c.not_before, table.c.id)
        .limit(limit)
    )
    return [load(Garbage, row) for row in rows]


def of_video(tx: Connection, video_id: str) -> list[Garbage]:
    """Entries of a video's objects in both stores, due or not."""
    table = schema.garbage.c
    rows = tx.execute(select(schema.garbage).where(table.video_id == video_id, table.store != "staging"))
    return [load(Garbage, row) for row in rows]


def is_listed(tx: Connection, store: str, prefix: str) -> bool:
    """Whether there is an entry of exactly this."""
    table = schema.garbage.c
    return bool(tx.execute(select(table.id).where(table.store == store, table.prefix == prefix)).first())


def postpone(tx: Connection, entry_id: str, delay_ms: int) -> None:
    """Asks to be told again later."""
    table = schema.garbage
    tx.execute(table.update().where(table.c.id == entry_id).values(not_before=now_ms() + delay_ms))


def collected(tx: Connection, entry_ids: Iterable[str]) -> None:
    """Takes entries off the list: their objects are gone."""
    tx.execute(schema.garbage.delete().where(schema.garbage.c.id.in_(list(entry_ids))))
