"""Whether anything of a video has changed that its status shows, without reading the status: a few numbers per video.

Two equal marks mean that nothing changed; two that differ mean that it is worth a look. What the numbers are is nobody's
business but this file's.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, Row, case, func, select

from penstock.catalog import schema
from penstock.catalog.words import TaskState

Mark = tuple[object, ...]


def of(
    tx: Connection, video_ids: Collection[str], *, with_tasks: Collection[str] = ()
) -> Mapping[str, tuple[Mark, Mark | None]]:
    """Marks by video: of itself and its current generation, and of all its tasks where asked for. One query, or two.

    A video that does not exist has none.
    """
    found: dict[str, tuple[Mark, Mark | None]] = {}
    tasks = _tasks(tx, with_tasks) if with_tasks else {}
    v, g = schema.videos.c, schema.generations.c
    query = (
        select(v.id, v.version, v.events, v.updated_at, g.id, g.version, g.progress, g.published_prefix_ms)
        .add_columns(g.timeline_version, g.updated_at)
        .join_from(schema.videos, schema.generations, g.id == v.current_generation_id, isouter=True)
        .where(v.id.in_(video_ids))
    )
    for row in tx.execute(query):
        found[row[0]] = (tuple(row[1:]), tasks.get(row[0]))
    return found


def _tasks(tx: Connection, video_ids: Collection[str]) -> Mapping[str, Mark]:
    t = schema.tasks.c
    query = (
        select(
            t.video_id,
            func.count(),
            func.sum(case((t.state == TaskState.CLAIMED, 1), else_=0)),
            func.count(t.ended_at),
            func.sum(t.attempt),
            func.sum(t.failures + t.losses),
            func.sum(t.progress),
        )
        .where(t.video_id.in_(video_ids))
        .group_by(t.video_id)
    )
    return {row[0]: _values(row) for row in tx.execute(query)}


def _values(row: Row[tuple[object, ...]]) -> Mark:
    return tuple(row[1:])
