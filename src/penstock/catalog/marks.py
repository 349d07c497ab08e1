"""Whether anything of a video has changed that its status shows, without reading the status: a few numbers per video.

Two equal marks mean that nothing changed; two that differ mean that it is worth a look. What the numbers are is nobody's
business but this file's.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, Row, bindparam, case, func, select

from penstock.catalog import schema
from penstock.catalog.words import TaskState

Mark = tuple[object, ...]


_v, _g, _t = schema.videos.c, schema.generations.c, schema.tasks.c
# Written once: followers ask every second, and composing a question takes longer than answering it.
_VIDEOS = (
    select(_v.id, _v.version, _v.events, _v.updated_at, _g.id, _g.version, _g.progress)
    .add_columns(_g.published_prefix_ms, _g.timeline_version, _g.updated_at)
    .join_from(schema.videos, schema.generations, _g.id == _v.current_generation_id, isouter=True)
    .where(_v.id.in_(bindparam("ids", expanding=True)))
)
_TASKS = (
    select(
        _t.video_id,
        func.count(),
        func.sum(case((_t.state == TaskState.CLAIMED, 1), else_=0)),
        func.count(_t.ended_at),
        func.sum(_t.attempt),
        func.sum(_t.failures + _t.losses),
        func.sum(_t.progress),
    )
    .where(_t.video_id.in_(bindparam("ids", expanding=True)))
    .group_by(_t.video_id)
)


def of(
    tx: Connection, video_ids: Collection[str], *, with_tasks: Collection[str] = ()
) -> Mapping[str, tuple[Mark, Mark | None]]:
    """Marks by video: of itself and its current generation, and of all its tasks where asked for. One query, or two.

    A video that does not exist has none.
    """
    rows = tx.execute(_TASKS, {"ids": list(with_tasks)}) if with_tasks else ()
    tasks = {row[0]: _values(row) for row in rows}
    return {
        row[0]: (_values(row), tasks.get(row[0])) for row in tx.execute(_VIDEOS, {"ids": list(video_ids)})
    }


def _values(row: Row[tuple[object, ...]]) -> Mark:
    return tuple(row[1:])
