"""What is not done over all videos, for a person who looks: given up, under way, waiting. The order of work is ``queue``'s."""

from collections.abc import Collection

from sqlalchemy import Connection, func, or_, select

from penstock.catalog import schema, tasks
from penstock.catalog.records import Task, load
from penstock.catalog.words import TaskState
from penstock.video.lifecycle import VideoState

UNDONE = (TaskState.DEAD, TaskState.CLAIMED, TaskState.QUEUED)
"""In the order in which they want attention."""


def listing(tx: Connection, *, states: Collection[TaskState] = UNDONE, limit: int = 100) -> list[Task]:
    """Up to ``limit`` tasks of the newest generation of each video, by state in the order given, then newest first.

    What was called off is not among them, and nothing of a deleted video.
    """
    table, videos, generations = schema.tasks, schema.videos, schema.generations
    each = generations.alias()
    newest = select(func.max(each.c.number)).where(each.c.video_id == table.c.video_id).scalar_subquery()
    found: list[Task] = []
    for state in states:
        query = (
            select(table)
            .join(videos, videos.c.id == table.c.video_id)
            .join(generations, generations.c.id == table.c.generation_id)
            .where(
                table.c.state == state,
                or_(table.c.error_code.is_(None), table.c.error_code != tasks.CANCELLED),
                videos.c.state != VideoState.DELETED,
                generations.c.number == newest,
            )
            .order_by(table.c.id.desc())
            .limit(limit - len(found))
        )
        found += [load(Task, row) for row in tx.execute(query)]
    return found
