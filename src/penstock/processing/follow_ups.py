"""What follows from a commit, derived under the generation's lock from all that was committed before.

Whatever ends a task, well or badly, calls :func:`derive` in the same transaction: the last one to end finds nothing
outstanding and queues the publication, and two that end together cannot miss each other.
"""

from sqlalchemy import Connection

from penstock.catalog import generations, tasks
from penstock.catalog.records import NewTask
from penstock.catalog.words import TaskKind
from penstock.video.lifecycle import GenerationState

_PUBLISH = NewTask(kind=TaskKind.PUBLISH)


def derive(tx: Connection, generation_id: str) -> None:
    """Queues ``publish`` once nothing else of an encoding generation is outstanding. Repeating it changes nothing.

    ``inspect`` queues the scan in its own commit, and the scan all chunks in its own: so nothing outstanding means that
    nothing is left to do, optional tasks that were given up included.
    """
    generation = generations.lock(tx, generation_id)
    if generation.state is GenerationState.ENCODING and not tasks.outstanding(tx, generation_id):
        tasks.enqueue(tx, generation_id, [_PUBLISH])
