"""What accounts have in use and what open uploads may still bring: sums over records, for the rules of uploads to compare.

An open upload counts with all that it declared, from the transaction that opens it: so those that are sent at once cannot
together pass a limit that each of them keeps. What the limits are is decided elsewhere.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from penstock.catalog import schema
from penstock.catalog.dialect import now_ms
from penstock.catalog.words import UploadState
from penstock.video.lifecycle import VideoState


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one account: uploads that are open, and bytes of its sources and of what these declared."""

    uploads: int
    size: int


def hold(tx: Connection, account_id: str) -> None:
    """Until the commit, no other transaction that asks first opens or completes an upload of the account."""
    table = schema.accounts
    tx.execute(select(table.c.id).where(table.c.id == account_id).with_for_update(key_share=True))


def usage(tx: Connection, account_id: str, *, with_size: bool, apart_from: str | None = None) -> Usage:
    """What the account uses; without ``with_size``, which reads all of its videos, 0 stands for the bytes.

    ``apart_from`` is an upload that is not counted. One of unknown size counts with what is durable of it.
    """
    u, v = schema.uploads.c, schema.videos.c
    query = select(func.count(), func.coalesce(func.sum(func.coalesce(u.size, u.received)), 0)).where(
        u.state == UploadState.OPEN, u.owner_id == account_id
    )
    if apart_from is not None:
        query = query.where(u.id != apart_from)
    count, declared = tx.execute(query).one()
    if not with_size:
        return Usage(count, 0)
    kept = select(func.coalesce(func.sum(v.source_size), 0)).where(
        v.owner_id == account_id, v.state != VideoState.DELETED, v.source_dropped_at.is_(None)
    )
    return Usage(count, int(declared) + int(tx.execute(kept).scalar_one()))


def outstanding(tx: Connection, *, heard_within_ms: int) -> int:
    """Bytes that open uploads declared and that are not durable yet, of those with a sign of life in that time.

    One that is silent for longer keeps its session, and is asked again whether there is room when it goes on.
    """
    u, p = schema.uploads.c, schema.upload_parts.c
    lively = (
        u.state == UploadState.OPEN,
        u.size.is_not(None),
        u.updated_at > now_ms() - heard_within_ms,
    )
    missing = tx.execute(select(func.coalesce(func.sum(u.size - u.received), 0)).where(*lively)).scalar_one()
    parts = tx.execute(
        select(func.coalesce(func.sum(p.size), 0))
        .join_from(schema.uploads, schema.upload_parts, p.upload_id == u.id)
        .where(*lively)
    ).scalar_one()
    return max(0, int(missing) - int(parts))
