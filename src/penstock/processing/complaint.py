"""Saying once that something which is tried again and again fails: not every two seconds, for as long as it lasts.

Whatever changes is said: another failure, and that it works again. It knows no more than names and errors.
"""

import structlog

from penstock.video.errors import PenstockError

_log = structlog.get_logger()


class Complaint:
    """Of one repeated action, by one thread."""

    def __init__(self, name: str) -> None:
        """``name`` begins the events: ``sweep_failed``, ``sweep_recovered``."""
        self._name = name
        self._last: str | None = None

    def failed(self, error: Exception) -> None:
        """The action has failed: a line where that is news, with a traceback where nobody foresaw it."""
        news = f"{error.code}: {error.detail}" if isinstance(error, PenstockError) else repr(error)
        if news == self._last:
            return
        self._last = news
        if isinstance(error, PenstockError):
            _log.warning(f"{self._name}_failed", code=error.code, detail=error.detail)
        else:
            _log.error(f"{self._name}_failed", exc_info=error)

    def succeeded(self) -> None:
        """The action has been done."""
        if self._last is not None:
            self._last = None
            _log.info(f"{self._name}_recovered")
