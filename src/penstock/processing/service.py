"""The processing process: its parts put together, started in order, and ended in bounded time.

It takes everything from outside (records, stores, tools) and decides nothing about videos.
"""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from penstock.catalog import Catalog, claims, queue
from penstock.catalog.words import TaskKind, TaskState
from penstock.processing import failures, metrics, slots
from penstock.processing.attempt import Parts
from penstock.processing.collector import Collector
from penstock.processing.config import ProcessingConfig
from penstock.processing.dispatch.doorbell import Doorbell, Listener
from penstock.processing.dispatch.local import LocalDispatch
from penstock.processing.endpoint import Endpoint
from penstock.processing.lease import Lease, SlotLock
from penstock.processing.liveness import Liveness, SingleMachine
from penstock.processing.media import Media
from penstock.processing.periodic import Periodic
from penstock.processing.publisher import Publisher
from penstock.processing.reaper import Reaper
from penstock.processing.room import Room
from penstock.processing.runs import Runs, StopReason
from penstock.processing.scratch import Scratch
from penstock.processing.tooling import Tooling
from penstock.processing.worker import Worker
from penstock.storage.disk_cache import DiskCache
from penstock.storage.staging import Staging
from penstock.storage.store import ObjectStore
from penstock.video.errors import PenstockError, StaleClaim, TransientError

_log = structlog.get_logger()

_MISSED_HEARTBEATS = 2  # of a node that is held dead, before its claims are taken over
_REPORT_STEP = 0.01  # progress smaller than this is not worth a write
_UNFINISHED = (TaskState.QUEUED, TaskState.CLAIMED, TaskState.DEAD)


class ProcessingService:
    """One processing process. :meth:`run` blocks; :meth:`start` and :meth:`end` are for who has a loop of his own."""

    def __init__(
        self,
        config: ProcessingConfig,
        *,
        catalog: Catalog,
        sources: ObjectStore,
        outputs: ObjectStore,
        media: Media,
        version: str,
        staging: Staging | None = None,
        liveness: Liveness | None = None,
    ) -> None:
        """Takes a slot and registers: the work of earlier, dead boots of the slot is free from here on.

        ``liveness`` tells which other nodes are held dead; None: there are none.
        Raises ``ConfigurationError`` where no slot is free or the address cannot be listened on.
        """
        self._config = config
        self._catalog = catalog
        policy = failures.retry_policy(config)
        self._lock = SlotLock(config.run_folder)
        self._listener = Listener(config.run_folder, self._lock.slot)
        self.runs = Runs(slots.places(config), slots.memory_budget(config))
        scratch = Scratch(config.scratch_folder, self._lock.slot)
        announce = Doorbell(config.run_folder).ring
        self._publisher = Publisher(catalog, outputs, config)
        parts = Parts(
            config=config,
            catalog=catalog,
            sources=sources,
            outputs=outputs,
            fetched=DiskCache(config.scratch_folder / "sources", sources, config.source_cache),
            media=media,
            publisher=self._publisher,
            announce=announce,
        )
        slot, fingerprint = self._lock.slot, media.fingerprint
        self._lease = Lease(catalog, config, self.runs, slot=slot, fingerprint=fingerprint, version=version)
        tooling = Tooling(media.trial)
        self._room = Room(scratch, outputs, config.disk_reserve)
        self._dispatch = LocalDispatch(
            catalog,
            config,
            runs=self.runs,
            lease=self._lease,
            worker=Worker(parts, self.runs, scratch, tooling),
            room=self._room,
            tooling=tooling,
            listener=self._listener,
            policy=policy,
            fingerprint=fingerprint,
        )
        liveness = liveness or SingleMachine()
        silence = _MISSED_HEARTBEATS * config.heartbeat
        self._reaper = Reaper(
            catalog, self._publisher, policy, announce=announce, liveness=liveness, silence=silence
        )
        collector = Collector(catalog, config, sources=sources, outputs=outputs, staging=staging)
        self._periodic = self._in_time(collector, liveness)
        checks = {
            "catalog": catalog.ping,
            "outputs": _probe(outputs),
            "disk": self._room.check,
            "tools": tooling.check,
        }
        constants = {"service": "processing", "version": version, "node": config.node}
        self.endpoint = Endpoint(
            config.host, config.port or 0, constants=constants, checks=checks, facts=self._facts
        )

    @property
    def slot(self) -> int:
        """Which processing process of this machine it is."""
        return self._lock.slot

    def start(self) -> None:
        """Begins to work: what a dead predecessor left is taken over before anything new is claimed."""
        self._lease.start()
        self._reaper.sweep()
        self._publisher.start()
        self._dispatch.start()
        for each in self._periodic:
            each.start()
        self.endpoint.start()
        _log.info(
            "service_ready",
            port=self.endpoint.port,
            slots={str(lane): count for lane, count in self.runs.places.items()},
            memory_budget=self.runs.memory_budget,
        )

    def end(self) -> None:
        """Claims no more, ends the running tools, gives their claims back, and lets go of the slot; in bounded time."""
        begun = time.monotonic()
        deadline = begun + self._config.shutdown
        self._dispatch.end(self._config.shutdown / 2)
        released = len(self.runs.now())
        self.runs.stop_all(StopReason.SHUTDOWN)
        idle = self.runs.wait_idle(deadline - time.monotonic())
        for each in self._periodic:
            each.end(max(0.1, deadline - time.monotonic()))
        self._publisher.end(max(0.1, deadline - time.monotonic()))
        self.endpoint.close()
        try:
            self._lease.end()
        except PenstockError as error:
            _log.warning("lease_not_ended", code=error.code, detail=error.detail)
        self._listener.close()
        self._lock.release()
        _log.info(
            "service_stopped", released=released, clean=idle, seconds=round(time.monotonic() - begun, 3)
        )

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Works until SIGTERM or SIGINT; to be called in the main thread."""
        stop = threading.Event()
        former = {
            number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self.start()
            on_ready()
            stop.wait()
            _log.info("service_stopping")
            self.end()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _in_time(self, collector: Collector, liveness: Liveness) -> tuple[Periodic, ...]:
        """What is done again and again; a node's death hastens the sweep."""
        sweep = Periodic("sweep", self._config.sweep, self._sweep)
        liveness.on_death(sweep.hasten)
        return (
            Periodic("report", self._config.heartbeat, self._report),
            sweep,
            Periodic("collection", self._config.collect, collector.sweep),
        )

    def _sweep(self) -> None:
        """What a lost ring, a dead process or the passing of time left to do; and the figures of the whole queue."""
        self._lease.beat()  # or a jump of the clock would make this very process look dead to its own reaper
        self._reaper.sweep()
        self._publisher.sweep()
        with self._catalog.read() as tx:
            depth = queue.depth(tx)
            metrics.work_waiting.set(queue.waiting_work(tx))
        counts = {(item.kind, item.state): item.count for item in depth}
        for kind in TaskKind:
            for state in _UNFINISHED:
                metrics.tasks.labels(kind, state).set(counts.get((kind, state), 0))

    def _report(self) -> None:
        """Tells the records how far the runs have come: all of them in one transaction, since each costs a sync of the disk."""
        moved = [
            run
            for run in self.runs.now()
            if run.progress - run.reported >= _REPORT_STEP and not run.cancel.is_set()
        ]
        if not moved:
            return
        try:
            with self._catalog.write() as tx:
                # In one order, as every process that locks several generations does.
                for run in sorted(moved, key=lambda run: run.task.generation_id):
                    run.reported = run.progress
                    assert run.task.worker_id is not None
                    with suppress(StaleClaim):  # it has just ended, or the heartbeat will find out
                        claims.progress(tx, run.task.id, run.task.worker_id, run.task.attempt, run.reported)
        except TransientError:
            for run in moved:
                run.reported = 0.0
            raise

    def _facts(self) -> dict[str, Any]:
        """What ``/status`` tells besides."""
        free = self.runs.free()
        return {
            "worker": self._lease.worker_id,
            "lease_age": round(self._lease.age, 1),
            "slots": {
                str(lane): {"places": count, "free": free[lane]} for lane, count in self.runs.places.items()
            },
            "running": [
                {
                    "task_id": run.task.id,
                    "video_id": run.task.video_id,
                    "kind": str(run.task.kind),
                    "index": run.task.index,
                    "attempt": run.task.attempt,
                    "progress": round(run.progress, 3),
                    "seconds": round(time.monotonic() - run.began, 1),
                }
                for run in self.runs.now()
            ],
        }


def _probe(store: ObjectStore) -> Callable[[], None]:
    """Asks a store for the first of no objects."""

    def probe() -> None:
        next(iter(store.list("00000000000000000000000000/")), None)

    return probe
