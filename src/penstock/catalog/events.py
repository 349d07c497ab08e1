"""The history of a video: numbered from 1 without gaps, in the order of commits."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from penstock.catalog import clock, history, schema
from penstock.catalog.records import Event, load
from penstock.video.errors import NotFound


def append(
    tx: Connection,
    video_id: str,
    event: str,
    *,
    who: str,
    from_state: str | None = None,
    to_state: str | None = None,
    why: str | None = None,
    generation_id: str | None = None,
    task_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Writes the next line. ``who`` is ``account:ID``, ``worker:ID`` or the name of a part of the system.

    The number comes from the video's row, which stays locked until the commit: so a reader that has seen line N never
    misses an earlier one.
    """
    number = tx.execute(
        schema.videos.update()
        .where(schema.videos.c.id == video_id)
        .values(events=schema.videos.c.events + 1)
        .returning(schema.videos.c.events)
    ).scalar_one_or_none()
    if number is None:
        raise NotFound("There is no such video.", code="video_not_found")
    record = Event(
        video_id=video_id,
        number=number,
        at=clock.now(tx),
        who=who,
        event=event,
        from_state=from_state,
        to_state=to_state,
        why=why,
        generation_id=generation_id,
        task_id=task_id,
        data=dict(data) if data else None,
    )
    tx.execute(
        schema.events.insert().values(
            video_id=video_id,
            number=number,
            at=record.at,
            who=who,
            event=event,
            from_state=from_state,
            to_state=to_state,
            why=why,
            generation_id=generation_id,
            task_id=task_id,
            data=record.data,
        )
    )
    history.add(tx, record)
    return record


def listing(tx: Connection, video_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
    """The lines numbered above ``after``, in order: what a follower that has seen ``after`` still lacks."""
    table = schema.events
    rows = tx.execute(
        select(table)
        .where(table.c.video_id == video_id, table.c.number > after)
        .order_by(table.c.number)
        .limit(limit)
    )
    return [load(Event, row) for row in rows]
