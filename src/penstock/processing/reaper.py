"""What nobody will finish is taken up again: claims of vanished workers, uploads gone silent, plans without tools.

Records that only time can end, of workers long gone and of answered requests, are forgotten here too.

Runs in every processing process. Each step looks again under its lock, so two reapers at once do no harm.
"""

import time
from collections.abc import Callable
from operator import attrgetter

import structlog

from penstock import faults
from penstock.catalog import Catalog, claims, generations, idempotency, skew, uploads, workers
from penstock.catalog.retries import RetryPolicy
from penstock.catalog.words import TaskState, UploadState
from penstock.faults import Point
from penstock.processing import follow_ups, metrics
from penstock.processing.liveness import Liveness, SingleMachine
from penstock.processing.publisher import Publisher

_log = structlog.get_logger()

_WHO = "reaper"
# A plan whose tools no living worker has is given up only after a while: nodes that are being updated come back.
_STRANDED_FOR = 30.0  # seconds
_TOGETHER = (
    50  # uploads ended in one transaction: each is made durable, and holds up whoever else would write
)


class Reaper:
    """One look at the records by :meth:`sweep`."""

    def __init__(
        self,
        catalog: Catalog,
        publisher: Publisher,
        policy: RetryPolicy,
        *,
        announce: Callable[[], None],
        liveness: Liveness | None = None,
        silence: float = 4.0,
    ) -> None:
        """``liveness``: who is held dead; None: nobody is. ``silence``: seconds without a heartbeat after which that counts."""
        self._catalog = catalog
        self._publisher = publisher
        self._policy = policy
        self._announce = announce
        self._liveness = liveness or SingleMachine()
        self._silence_ms = round(silence * 1000)
        self._stranded: dict[str, float] = {}  # generation: since when, on the monotonic clock

    def sweep(self) -> int:
        """Returns how many records it changed."""
        with self._catalog.write() as tx:
            amended = skew.amend(tx)
            workers.forget(tx)
            idempotency.expire(tx)
        if amended:
            _log.warning("clock_set_back", amended=amended)
        changed = amended + self._take_over() + self._expire_uploads() + self._plan_anew()
        if changed:
            self._announce()
        return changed

    def _take_over(self) -> int:
        dead = claims.DeadNodes(self._liveness.dead(), self._silence_ms)
        with self._catalog.read() as tx:
            lost = claims.lost(tx, dead=dead)
        count = 0
        for task_id in lost:
            with self._catalog.write() as tx:
                task = claims.reap(tx, task_id, dead=dead, policy=self._policy)
                if task is not None and task.state is TaskState.DEAD:
                    follow_ups.derive(tx, task.generation_id)
                faults.reach(Point.TAKEOVER_WRITTEN)
            faults.reach(Point.TAKEOVER_RECORDED)
            if task is not None:
                count += 1
                metrics.losses.inc()
                self._publisher.request(task.generation_id)
        return count

    def _expire_uploads(self) -> int:
        with self._catalog.read() as tx:
            expired = uploads.expired(tx)
        ended = 0
        for first in range(0, len(expired), _TOGETHER):
            # In the order of their videos, which are locked: two reapers at once must not wait for each other.
            some = sorted(expired[first : first + _TOGETHER], key=attrgetter("video_id"))
            with self._catalog.write() as tx:
                for upload in some:
                    ended += uploads.end(
                        tx, upload.id, UploadState.EXPIRED, who=_WHO, why="nothing arrived for too long"
                    )
        return ended

    def _plan_anew(self) -> int:
        """Generations that count on tools which are gone from every node begin again with the tools there are."""
        now = time.monotonic()
        with self._catalog.read() as tx:
            stranded = {generation.id for generation in generations.stranded(tx)}
        self._stranded = {generation_id: self._stranded.get(generation_id, now) for generation_id in stranded}
        count = 0
        for generation_id, since in self._stranded.items():
            if now - since >= _STRANDED_FOR:
                with self._catalog.write() as tx:
                    generations.replan(
                        tx, generation_id, who=_WHO, why="no node has the tools of its plan any more"
                    )
                self._publisher.request(generation_id)
                count += 1
        return count
