"""Dispatch on one machine: free places are filled from the records, as soon as somebody rings.

There is no queue beside the records, so there is none to lose. A ring, a freed place and a back-off that has passed all
lead to the same look; a sweep finds what a lost ring announced.
"""

import threading

import structlog

from penstock import faults
from penstock.catalog import Catalog, claims, queue
from penstock.catalog.claims import Outcome
from penstock.catalog.retries import RetryPolicy
from penstock.faults import Point
from penstock.processing import metrics, relay, slots
from penstock.processing.complaint import Complaint
from penstock.processing.config import ProcessingConfig
from penstock.processing.dispatch.doorbell import Listener
from penstock.processing.lease import Lease
from penstock.processing.relay import Candidate
from penstock.processing.room import Room
from penstock.processing.runs import Run, Runs
from penstock.processing.tooling import Tooling
from penstock.processing.worker import Worker
from penstock.video.errors import Conflict, PenstockError

_log = structlog.get_logger()

_PAUSED = 2.0  # seconds between two looks while the disk is too full to work, or no tool can be started


class LocalDispatch:
    """Claims for this process and starts its runs."""

    def __init__(
        self,
        catalog: Catalog,
        config: ProcessingConfig,
        *,
        runs: Runs,
        lease: Lease,
        worker: Worker,
        room: Room,
        tooling: Tooling,
        listener: Listener,
        policy: RetryPolicy,
        fingerprint: str,
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._runs = runs
        self._lease = lease
        self._worker = worker
        self._room = room
        self._tooling = tooling
        self._listener = listener
        self._policy = policy
        self._fingerprint = fingerprint
        self._abreast = slots.abreast()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)

    def start(self) -> None:
        """Begins to claim."""
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Claims nothing any more; what runs goes on. A claim being made gets ``timeout`` seconds to finish."""
        self._ending.set()
        self._listener.ring()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def fill(self) -> float:
        """Fills the free places. Returns the seconds until another look makes sense without a ring."""
        if not self._room.is_there() or not self._tooling.is_usable():
            return _PAUSED
        due: int | None = None
        hurried = True
        while not self._ending.is_set():
            with self._catalog.read() as tx:
                # Asked first: what becomes due between the two questions is then offered now or waited for.
                due = queue.next_due(tx)
                found = relay.candidates(
                    tx,
                    self._runs,
                    fingerprint=self._fingerprint,
                    losses_alone=self._policy.alone_after_losses,
                    abreast=self._abreast,
                )
                first = next(found, None)
                # What somebody waits for is claimed before anybody looks for more: finding the others takes longer than
                # claiming, and their tools would start beside its own.
                alone = hurried and first is not None and first.task.urgent
                chosen = [] if first is None else [first] if alone else [first, *found]
            claimed = [candidate for candidate in chosen if self._claim(candidate)]
            if not claimed and not alone:
                break
            hurried = bool(claimed)  # else another was faster: now for what is left
        return self._config.sweep if due is None else min(self._config.sweep, due / 1000)

    def _claim(self, candidate: Candidate) -> bool:
        """Whether the task is this process's now; then it runs."""
        try:
            with self._catalog.write() as tx:
                claim = claims.claim(tx, candidate.task.id, self._lease.worker_id, policy=self._policy)
                faults.reach(Point.CLAIM_TAKING)
        except Conflict:  # the lease ran out: this process was stopped for a while
            self._lease.beat()
            return False
        if claim.outcome is not Outcome.TAKEN or claim.task is None:
            return False  # another process was faster, or it was called off
        faults.reach(Point.CLAIM_TAKEN)
        task = claim.task
        run = Run(task, candidate.lane, memory=candidate.memory, alone=claim.alone)
        metrics.dispatch_seconds.labels(task.kind).observe(run.waited)
        self._runs.add(run)
        self._worker.start(run)
        return True

    def _run(self) -> None:
        patience = 0.0
        complaint = Complaint("dispatch")
        while not self._ending.is_set():
            if self._listener.wait(patience):
                self._look_at_claims()
            try:
                patience = self.fill()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
                complaint.failed(error)
                patience = self._config.heartbeat
            else:
                complaint.succeeded()

    def _look_at_claims(self) -> None:
        """Whoever rang may have deleted what runs here: its tools end now, not at the next heartbeat."""
        try:
            self._lease.check()
        except PenstockError as error:
            _log.warning("claims_not_checked", code=error.code, detail=error.detail)
