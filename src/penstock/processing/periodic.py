"""Something done again and again in a thread of its own, whatever goes wrong with it once."""

import threading
from collections.abc import Callable

import structlog

from penstock.video.errors import PenstockError

_log = structlog.get_logger()


class Periodic:
    """Calls ``action`` every ``interval`` seconds, the first time at once."""

    def __init__(self, name: str, interval: float, action: Callable[[], object]) -> None:
        self._name = name
        self._interval = interval
        self._action = action
        self._ending = threading.Event()
        self._next = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def hasten(self) -> None:
        """The next call comes now, or right after the running one."""
        self._next.set()

    def end(self, timeout: float) -> None:
        """No further call; the running one gets ``timeout`` seconds to finish."""
        self._ending.set()
        self._next.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._next.clear()
            if self._ending.is_set():
                return
            try:
                self._action()
            except PenstockError as error:
                _log.warning(f"{self._name}_failed", code=error.code, detail=error.detail)
            except Exception:  # noqa: BLE001 - logged with its traceback; the next round may succeed
                _log.exception(f"{self._name}_failed")
            self._next.wait(self._interval)
