"""Whether this machine's media tools can be started: while they cannot, the queue pauses here, says so, and goes on by itself.

It is the machine's fault and no video's: claims go back uncounted, for other machines or for later. What tells the two apart is a
trial, which starts the tools on nothing. It knows no tasks.
"""

import threading
import time
from collections.abc import Callable

import structlog

from penstock.processing import metrics
from penstock.video.errors import PenstockError, ToolError

_log = structlog.get_logger()

REASON = "tools_unusable"

_SOONEST, _LATEST = 2.0, 60.0  # seconds until the next trial; doubled with each that fails


class Tooling:
    """Admission by the tools. Safe to use from any thread."""

    def __init__(self, trial: Callable[[], None]) -> None:
        """``trial`` starts the tools; it raises a ``PenstockError`` where they do not run."""
        self._trial = trial
        self._lock = threading.Lock()
        self._broken: PenstockError | None = None
        self._wait = 0.0
        self._next = 0.0
        metrics.paused.labels(REASON).set(0)

    def is_usable(self) -> bool:
        """Whether a task may be started now; where the tools were broken and it is time, after another trial."""
        with self._lock:
            if self._broken is not None and time.monotonic() >= self._next:
                self._try()
            return self._broken is None

    def is_to_blame(self) -> bool:
        """Whether it is the tools' fault that a media process could not be started: they are tried at once."""
        with self._lock:
            if self._broken is None:
                self._try()
            return self._broken is not None

    def check(self) -> None:
        """Raises ``ToolError`` while the queue is paused: for who asks whether the service can work."""
        with self._lock:
            if self._broken is not None:
                raise ToolError("The media tools cannot be started; processing waits until they can.")

    def _try(self) -> None:
        try:
            self._trial()
        except PenstockError as error:
            self._wait = min(max(2 * self._wait, _SOONEST), _LATEST)
            self._next = time.monotonic() + self._wait
            if self._broken is None:
                metrics.paused.labels(REASON).set(1)
                _log.error("queue_paused", reason=REASON, code=error.code, detail=error.detail)
            self._broken = error
        else:
            self._wait = 0.0
            if self._broken is not None:
                self._broken = None
                metrics.paused.labels(REASON).set(0)
                _log.info("queue_resumed", reason=REASON)
