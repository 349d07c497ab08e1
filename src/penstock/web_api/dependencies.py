"""Asking what a service depends on, and saying in the log when an answer changes: not at each of the questions that come every few seconds.

Shared by the HTTP services and the small endpoint of processing, so it knows no framework.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import structlog

from penstock.video.errors import PenstockError

Check = Callable[
    [], None
]  # blocking, bounded by its adapter's own timeout; raises where the dependency cannot be used

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """How one dependency stands."""

    name: str
    status: Literal["ok", "down"]
    ms: float  # how long the check took
    code: str | None  # what is wrong, when it is down


class Dependencies:
    """The checks of one service, by the name of the dependency. Safe to ask from any thread."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._lock = threading.Lock()
        self._down: dict[str, str] = {}  # what was last said of those that are down

    def ask(self) -> list[Answer]:
        """Asks each now."""
        return [self._asked(name, check) for name, check in self._checks.items()]

    def _asked(self, name: str, check: Check) -> Answer:
        begun = time.perf_counter()
        error: Exception | None = None
        try:
            check()
        except Exception as raised:  # noqa: BLE001 - whatever a driver raises, the answer is that it is down
            error = raised
        elapsed = round((time.perf_counter() - begun) * 1000, 1)
        code = _code(error)
        if self._is_news(name, code):
            self._tell(name, code, error)
        return Answer(name, "ok" if error is None else "down", elapsed, code)

    def _is_news(self, name: str, code: str | None) -> bool:
        with self._lock:
            before = self._down.get(name)
            if code is None:
                self._down.pop(name, None)
            else:
                self._down[name] = code
            return code != before

    @staticmethod
    def _tell(name: str, code: str | None, error: Exception | None) -> None:
        if error is None:
            _log.info("dependency_up", dependency=name)
        elif isinstance(error, PenstockError):
            _log.warning("dependency_down", dependency=name, code=code, detail=error.detail)
        else:
            _log.warning("dependency_down", dependency=name, code=code, exc_info=error)


def _code(error: Exception | None) -> str | None:
    if error is None:
        return None
    return error.code if isinstance(error, PenstockError) else "unreachable"
