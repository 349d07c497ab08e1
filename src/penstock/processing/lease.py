"""This process among the others: its slot, its row among the workers, and the lease that says it is alive.

The heartbeat has a thread and a connection of its own, and does nothing but renew: however busy the encodes and however
slow a commit, it keeps the claims. What it learns on the way is which claims are gone; their runs are called off.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from penstock.catalog import Catalog, claims, workers
from penstock.processing import metrics
from penstock.processing.complaint import Complaint
from penstock.processing.config import ProcessingConfig
from penstock.processing.runs import Run, Runs, StopReason
from penstock.video.errors import ConfigurationError, PenstockError, StaleClaim

_log = structlog.get_logger()

_MOST_SLOTS = 64  # processing processes on one machine; one is usual


class SlotLock:
    """The lowest free slot of this machine, held by a file lock: it is free again when the process ends, however it ends."""

    def __init__(self, run_folder: Path) -> None:
        """Raises ``ConfigurationError`` where every slot is taken."""
        run_folder.mkdir(parents=True, exist_ok=True)
        for slot in range(_MOST_SLOTS):
            # Close-on-exec: a media process that outlives this one for a moment must not hold the slot.
            descriptor = os.open(
                run_folder / f"worker-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                self.slot, self._descriptor = slot, descriptor
                return
        raise ConfigurationError(
            f"{_MOST_SLOTS} processing processes run on this data folder already; stop some."
        )

    def release(self) -> None:
        """Lets another process have the slot."""
        os.close(self._descriptor)


class Lease:
    """The worker's row and its renewal."""

    def __init__(
        self,
        catalog: Catalog,
        config: ProcessingConfig,
        runs: Runs,
        *,
        slot: int,
        fingerprint: str,
        version: str,
    ) -> None:
        """Registers at once: every earlier boot of the slot is known dead from here on."""
        self._catalog = catalog
        self._config = config
        self._runs = runs
        self._slot = slot
        self._fingerprint = fingerprint
        self._version = version
        self._orphans: dict[tuple[str, int], float] = {}
        self._renewed = time.monotonic()
        self._ending = threading.Event()
        self.worker_id = self._register()
        self._thread = threading.Thread(target=self._renew_for_ever, name="heartbeat", daemon=True)
        metrics.heartbeat_age.set_function(lambda: time.monotonic() - self._renewed)

    @property
    def age(self) -> float:
        """Seconds since the last renewal."""
        return time.monotonic() - self._renewed

    def start(self) -> None:
        """Begins to renew every heartbeat."""
        self._thread.start()

    def end(self) -> None:
        """Stops renewing and leaves; what was not released counts as lost."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._config.heartbeat)
        with self._catalog.write() as tx:
            workers.leave(tx, self.worker_id)

    def check(self) -> None:
        """Calls off runs whose claim is gone, without renewing: somebody rang, perhaps to delete."""
        watched = self._runs.now()
        if watched:
            with self._catalog.read() as tx:
                claimed = workers.claimed(tx, self.worker_id)
            self._call_off(watched, claimed)

    def beat(self) -> None:
        """One renewal. Runs whose claim is not this worker's any more are called off."""
        watched = self._runs.now()  # before the renewal: a claim made meanwhile may not be in its answer
        try:
            with self._catalog.write() as tx:
                claimed = workers.renew(tx, self.worker_id, lease_ms=self._config.lease_ms)
        except StaleClaim:
            # The row is gone: this machine was asleep for a day. Whatever runs here has been taken over.
            self._runs.stop_all(StopReason.CLAIM_GONE)
            self.worker_id = self._register()
            return
        self._renewed = time.monotonic()
        self._call_off(watched, claimed)
        self._release_orphans(claimed)

    def _call_off(self, watched: Iterable[Run], claimed: Mapping[str, int]) -> None:
        for run in watched:
            if claimed.get(run.task.id) != run.task.attempt:
                run.stop(StopReason.CLAIM_GONE)

    def _release_orphans(self, claimed: Mapping[str, int]) -> None:
        """Gives back claims that nobody here has worked on for a whole lease.

        They arise where a claim was committed but the connection broke before this process was told.
        """
        running = {(run.task.id, run.task.attempt) for run in self._runs.now()}
        now = time.monotonic()
        self._orphans = {
            claim: self._orphans.get(claim, now) for claim in claimed.items() if claim not in running
        }
        for (task_id, attempt), since in self._orphans.items():
            if now - since >= self._config.lease:
                _log.warning("orphaned_claim_released", task_id=task_id, attempt=attempt)
                with suppress(StaleClaim), self._catalog.write() as tx:
                    claims.release(tx, task_id, self.worker_id, attempt)

    def _register(self) -> str:
        with self._catalog.write() as tx:
            worker = workers.register(
                tx,
                node_id=self._config.node,
                slot=self._slot,
                capacity=sum(self._runs.places.values()),
                version=self._version,
                tool_fingerprint=self._fingerprint,
                lease_ms=self._config.lease_ms,
            )
        _log.info(
            "worker_registered",
            worker_id=worker.id,
            slot=worker.slot,
            boot=worker.boot,
            capacity=worker.capacity,
        )
        return worker.id

    def _renew_for_ever(self) -> None:
        complaint = Complaint("heartbeat")
        while not self._ending.wait(self._config.heartbeat):
            try:
                self.beat()
            except PenstockError as error:
                # The lease runs on for some heartbeats; if it expires, commits are refused and nothing is done twice.
                complaint.failed(error)
            else:
                complaint.succeeded()
