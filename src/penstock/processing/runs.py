"""The runs of this process: which claims it works on at this moment, and how to call them off.

A run belongs to one thread; everybody else only looks, or sets its ``cancel``. It knows no records.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from penstock.catalog.records import Task
from penstock.processing import metrics
from penstock.processing.slots import Lane


class StopReason(StrEnum):
    """Why a run was called off."""

    CLAIM_GONE = "claim_gone"  # deleted, failed with its video, or taken over: nothing of it is recorded
    SHUTDOWN = "shutdown"  # the claim goes back to the queue, uncounted


class Run:
    """One attempt at one task."""

    def __init__(self, task: Task, lane: Lane, *, memory: int = 0, alone: bool = False) -> None:
        """``memory`` is what it is expected to occupy, in bytes; ``alone``: nothing may run beside it."""
        self.task = task
        self.lane = lane
        self.memory = memory
        self.alone = alone
        self.began = time.monotonic()
        self.cancel = threading.Event()
        self.stopped: StopReason | None = None
        self.progress = 0.0  # 0..1, written by its own thread
        self.reported = 0.0  # what the records know of it

    @property
    def waited(self) -> float:
        """Seconds from when the task could first be claimed until it was, on the database's clock."""
        claimed = self.task.claimed_at or self.task.queued_at
        return max(0, claimed - max(self.task.queued_at, self.task.not_before)) / 1000

    def stop(self, reason: StopReason) -> None:
        """Ends the run's tools within a moment. The first reason stands."""
        if self.stopped is None:
            self.stopped = reason
            self.cancel.set()


class Runs:
    """All runs of the process. Safe to use from any thread."""

    def __init__(self, places: Mapping[Lane, int], memory_budget: int) -> None:
        self.places = places
        self.memory_budget = memory_budget
        self._runs: dict[str, Run] = {}
        self._changed = threading.Condition()
        for lane, count in places.items():
            metrics.slots_total.labels(lane).set(count)

    def add(self, run: Run) -> None:
        """From here on it takes its place, and heartbeats watch its claim."""
        with self._changed:
            self._runs[run.task.id] = run
            self._count()

    def remove(self, run: Run) -> None:
        """Its thread is done with it, whatever came of it."""
        with self._changed:
            if self._runs.get(run.task.id) is run:
                del self._runs[run.task.id]
                self._count()
            self._changed.notify_all()

    def now(self) -> list[Run]:
        """The runs at this moment."""
        with self._changed:
            return list(self._runs.values())

    def free(self) -> dict[Lane, int]:
        """Places left in each lane; none while a run wants to be alone."""
        with self._changed:
            if any(run.alone for run in self._runs.values()):
                return dict.fromkeys(self.places, 0)
            busy = Counter(run.lane for run in self._runs.values())
            return {lane: max(0, count - busy[lane]) for lane, count in self.places.items()}

    def stop_all(self, reason: StopReason) -> None:
        """Calls every run off."""
        for run in self.now():
            run.stop(reason)

    def _count(self) -> None:
        busy = Counter(run.lane for run in self._runs.values())
        for lane in self.places:
            metrics.slots_busy.labels(lane).set(busy[lane])

    def wait_idle(self, timeout: float) -> bool:
        """Whether no run is left within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._runs, timeout)
