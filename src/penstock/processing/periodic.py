"""Something done again and again in a thread of its own, whatever goes wrong with it once."""

import threading
from collections.abc import Callable

from penstock.processing.complaint import Complaint


class Periodic:
    """Calls ``action`` every ``interval`` seconds, the first time at once."""

    def __init__(self, name: str, interval: float, action: Callable[[], object]) -> None:
        self._complaint = Complaint(name)
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
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round may succeed
                self._complaint.failed(error)
            else:
                self._complaint.succeeded()
            self._next.wait(self._interval)
