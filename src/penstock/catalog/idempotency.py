"""Answers to requests that carry an ``Idempotency-Key``: the same request gets the stored answer, once there is one."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from penstock.catalog import clock, schema, texts
from penstock.catalog.dialect import insert, now_ms
from penstock.catalog.records import Answer, load
from penstock.catalog.words import AnswerState
from penstock.video.errors import Conflict, InvalidRequest
from penstock.video.identity import new_id

ANSWER_LIFE_MS = 86_400_000
"""How long an answer is kept: a client that repeats a request does so within a day."""

RUNNING_LIFE_MS = 10_000
"""How long a request holds its key without a sign of life, as its process may have died. One that lost it all the same
cannot store its answer, so nothing is done twice."""


@dataclass(frozen=True, slots=True)
class Begun:
    """``answer`` is what to give again; without one the request is the first, and ``holder`` lets it finish."""

    holder: str
    answer: Answer | None = None


def begin(
    tx: Connection, owner_id: str, key: str, request_digest: str, *, running_ms: int = RUNNING_LIFE_MS
) -> Begun:
    """Starts a request, or finds that it was answered.

    Raises :class:`InvalidRequest` (``idempotency_key_reused``) for another request under the same key and
    :class:`Conflict` (``request_in_progress``) while the first is running.
    """
    texts.checked("Idempotency-Key", key, limit=255)
    table = schema.idempotency
    mine = (table.c.owner_id == owner_id, table.c.key == key)
    now, holder = clock.now(tx), new_id()
    fresh = {
        "owner_id": owner_id,
        "key": key,
        "request_digest": request_digest,
        "state": AnswerState.RUNNING,
        "holder": holder,
        "status": None,
        "body": None,
        "created_at": now,
        "expires_at": now + running_ms,
    }
    added = insert(tx, table).values(fresh).on_conflict_do_nothing().returning(table.c.holder)
    if tx.execute(added).one_or_none() is not None:  # psycopg gives no row count for an insert
        return Begun(holder)
    stored = load(Answer, tx.execute(select(table).where(*mine).with_for_update()).one())
    if stored.expires_at <= now:
        tx.execute(table.update().where(*mine).values(fresh))
        return Begun(holder)
    if stored.request_digest != request_digest:
        raise InvalidRequest(
            "This Idempotency-Key was used for another request; use a new one.", code="idempotency_key_reused"
        )
    if stored.state is AnswerState.RUNNING:
        raise Conflict(
            "The first request with this Idempotency-Key is still running; repeat it later.",
            code="request_in_progress",
            retry_after=1,
        )
    return Begun(stored.holder, stored)


def prolong(
    tx: Connection, owner_id: str, key: str, holder: str, *, running_ms: int = RUNNING_LIFE_MS
) -> bool:
    """A running request's sign of life; False where its key was lost to another."""
    return _mine(tx, owner_id, key, holder, expires_at=now_ms() + running_ms)


def finish(
    tx: Connection,
    owner_id: str,
    key: str,
    holder: str,
    *,
    status: int,
    body: Any,
    life_ms: int = ANSWER_LIFE_MS,
) -> bool:
    """Stores the answer, best in the transaction that did the work; False where the key was lost to another."""
    return _mine(
        tx,
        owner_id,
        key,
        holder,
        state=AnswerState.DONE,
        status=status,
        body=body,
        expires_at=now_ms() + life_ms,
    )


def abandon(tx: Connection, owner_id: str, key: str, holder: str) -> None:
    """Lets the key go without an answer: the request failed in a way that may be repeated."""
    table = schema.idempotency
    tx.execute(
        table.delete().where(
            table.c.owner_id == owner_id,
            table.c.key == key,
            table.c.holder == holder,
            table.c.state == AnswerState.RUNNING,
        )
    )


def expire(tx: Connection) -> int:
    """Forgets what has expired."""
    table = schema.idempotency
    return tx.execute(table.delete().where(table.c.expires_at <= now_ms())).rowcount


def _mine(tx: Connection, owner_id: str, key: str, holder: str, **values: Any) -> bool:
    table = schema.idempotency
    return bool(
        tx.execute(
            table.update()
            .where(
                table.c.owner_id == owner_id,
                table.c.key == key,
                table.c.holder == holder,
                table.c.state == AnswerState.RUNNING,
            )
            .values(**values)
        ).rowcount
    )
