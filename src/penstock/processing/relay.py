"""From the records to free places: which waiting task runs next, on this machine, at this moment.

Fairness is decided over all waiting tasks by ``catalog.queue``; here it is cut to lanes, memory and neighbours. It claims
nothing and keeps nothing: every look starts from the records, so whatever was announced, lost, repeated or reordered
changes nothing.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.catalog import queue
from penstock.catalog.records import Task
from penstock.catalog.words import TaskKind
from penstock.processing.runs import Runs
from penstock.processing.slots import Lane


@dataclass(frozen=True, slots=True)
class _Line:
    """Tasks that wait for the same places, in fair order."""

    kinds: Collection[TaskKind]
    urgent: bool | None
    lanes: tuple[Lane, ...]  # whose places they may take, first choice first

    def has_some(self, present: Collection[tuple[TaskKind, bool]]) -> bool:
        """Whether any task of this line is among what is present, by kind and urgency."""
        return any(kind in self.kinds and self.urgent in {None, urgent} for kind, urgent in present)


_LATER = _Line((TaskKind.TRANSCODE,), False, (Lane.ENCODE,))
_BESIDE = _Line((TaskKind.POSTER, TaskKind.CAPTIONS), None, (Lane.LIGHT,))
_LINES = (
    _Line((TaskKind.INSPECT, TaskKind.TRANSCODE), True, (Lane.URGENT, Lane.ENCODE)),
    _Line((TaskKind.AUDIO,), None, (Lane.AUDIO,)),
    _Line((TaskKind.PUBLISH, TaskKind.SCAN), None, (Lane.LIGHT,)),
    _BESIDE,
    _LATER,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that may be claimed for a free place."""

    task: Task
    lane: Lane
    memory: int  # bytes it is expected to occupy


def candidates(
    tx: Connection, runs: Runs, *, fingerprint: str, losses_alone: int, abreast: int
) -> Iterator[Candidate]:
    """Tasks for the places that are free, each line in fair order, what early play waits for first.

    A task that has cost several workers runs with no neighbour: it is offered to an idle process, and a busy one takes
    nothing more until it is idle. While a first chunk is encoded, later ones begin only up to ``abreast`` encodes, and so
    do posters and captions, which nobody waits for: on two cores it has them to itself, and its video plays that much earlier.
    """
    free = dict(runs.free())
    busy = runs.now()
    occupied = sum(run.memory for run in busy)
    encodes = [run.task for run in busy if run.task.kind is TaskKind.TRANSCODE]
    present = queue.present(tx, tool_fingerprint=fingerprint)
    chosen = 0
    for line in _LINES:
        places = sum(free[lane] for lane in line.lanes)
        if line in {_LATER, _BESIDE} and any(task.urgent for task in encodes):
            places = min(places, abreast - len(encodes))
        if places <= 0 or not line.has_some(present):
            continue
        for task in queue.waiting(
            tx, places, kinds=line.kinds, urgent=line.urgent, tool_fingerprint=fingerprint
        ):
            lane = next((lane for lane in line.lanes if free[lane]), None)
            memory = int(task.payload.get("memory", 0))
            # What does not fit keeps its turn, or smaller ones behind it would starve it.
            if lane is None or (occupied and occupied + memory > runs.memory_budget):
                break
            if task.losses >= losses_alone:
                if not busy and not chosen:
                    yield Candidate(task, lane, memory)
                return
            free[lane] -= 1
            occupied, chosen = occupied + memory, chosen + 1
            encodes += [task] if task.kind is TaskKind.TRANSCODE else []
            yield Candidate(task, lane, memory)
