"""Tells a rung switch from two requests: which rung each viewing fetched last.

Each node sees the requests that reach it, so where several serve one viewing the lines of all of them, by session, tell
the whole story. It holds no request and logs nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Fetched:
    """One video segment that a viewing fetched; ``at`` is in seconds of a clock that never goes back."""

    rung: str
    height: int
    number: int
    at: float


@dataclass(frozen=True, slots=True)
class Switch:
    """Two consecutive video segments of one viewing that come from different rungs."""

    before: Fetched
    after: Fetched

    @property
    def direction(self) -> str:
        """``up`` or ``down``."""
        return "up" if self.after.height > self.before.height else "down"


class Viewings:
    """The last fetched segment of the most recent viewings."""

    def __init__(self, remembered: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """At most ``remembered`` viewings; the one that was quiet for the longest is forgotten first."""
        self._remembered = remembered
        self._clock = clock
        self._last: OrderedDict[tuple[str, str], Fetched] = OrderedDict()

    def fetched(self, viewing: tuple[str, str], rung: str, height: int, number: int) -> Switch | None:
        """Notes a segment. ``viewing`` is the token's session and the player's own, where it tells one."""
        now, before = self._clock(), self._last.get(viewing)
        if before is not None and before.rung == rung:
            before.number, before.at = number, now
            self._last.move_to_end(viewing)
            return None
        after = self._last[viewing] = Fetched(rung, height, number, now)
        self._last.move_to_end(viewing)
        if len(self._last) > self._remembered:
            self._last.popitem(last=False)
        return None if before is None else Switch(before, after)
