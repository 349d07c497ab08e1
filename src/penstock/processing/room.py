"""Whether there is disk space to work in: below the reserve the queue pauses, says so, and goes on by itself."""

import structlog

from penstock.processing import metrics
from penstock.processing.scratch import Scratch
from penstock.storage.store import ObjectStore
from penstock.video.errors import StorageFull

_log = structlog.get_logger()

REASON = "disk_low"


class Room:
    """Admission by free space, of the scratch folder and of the outputs."""

    def __init__(self, scratch: Scratch, outputs: ObjectStore, reserve: int) -> None:
        """``reserve`` in bytes."""
        self._scratch = scratch
        self._outputs = outputs
        self._reserve = reserve
        self._paused = False
        metrics.paused.labels(REASON).set(0)

    def is_there(self) -> bool:
        """Whether a task may be started now."""
        known = [
            free for free in (self._scratch.free_bytes(), self._outputs.free_bytes()) if free is not None
        ]
        low = min(known, default=self._reserve) < self._reserve
        if low is not self._paused:
            self._paused = low
            metrics.paused.labels(REASON).set(low)
            log = _log.warning if low else _log.info
            log(
                "queue_paused" if low else "queue_resumed",
                reason=REASON,
                free=min(known),
                reserve=self._reserve,
            )
        return not low

    def check(self) -> None:
        """Raises ``StorageFull`` while the queue is paused: for who asks whether the service can work."""
        if not self.is_there():
            raise StorageFull(
                "Less disk space is free than the reserve asks for; processing waits until there is more."
            )
