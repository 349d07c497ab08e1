"""What happened, for those who follow: numbered events, a bounded history, and for each watcher a bounded buffer.

A watcher begins with a snapshot and continues with every event after it; one that falls behind, or asks for what is no
longer kept, gets ``reset`` and begins again. It knows nothing of HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from penstock.membership.members import Change, NodeId, Record
from penstock.membership.precedence import State

Kind = Literal[
    "joined", "updated", "suspected", "recovered", "died", "left", "returned", "forgotten", "heard_dead"
]
WATCHER_LIMIT = (
    256  # events that wait for one watcher; a burst of all members at once is shorter than a reset
)


@dataclass(frozen=True, slots=True)
class Event:
    """One change as seen by this node. ``number`` rises by one; ``at`` is in seconds since 1970."""

    number: int
    at: float
    kind: Kind
    before: Record | None
    after: Record | None
    by: NodeId
    reason: str

    @property
    def record(self) -> Record:
        """Of the member concerned: the new one, or the last where it is forgotten."""
        record = self.after or self.before
        if record is None:
            raise ValueError("an event about nobody")
        return record


def kind_of(change: Change) -> Kind:
    """The name of a change: one word of a small vocabulary."""
    before, after = change.before, change.after
    if after is None:
        return "forgotten"
    if before is None:
        if after.present:
            return "joined"
        return "heard_dead" if after.state is State.DEAD else "left"
    if before.state == after.state:
        return "updated"
    if after.state is State.ALIVE:
        return "recovered" if before.state is State.SUSPECT else "returned"
    if after.state is State.SUSPECT:
        return "suspected"
    return "died" if after.state is State.DEAD else "left"


class Watcher:
    """One that follows."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(WATCHER_LIMIT)
        self.lost = False

    def put(self, event: Event) -> None:
        """Buffers an event, or remembers that one was lost."""
        if not self.lost:
            try:
                self._events.put_nowait(event)
            except asyncio.QueueFull:
                self.lost = True

    def end(self) -> None:
        """No more events come."""
        self.lost = True
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(None)

    async def next(self, patience: float) -> Event | None:
        """The next event; None where nothing happened for so many seconds, or one was lost (:attr:`lost`)."""
        if self.lost:
            return None
        try:
            return await asyncio.wait_for(self._events.get(), patience)
        except TimeoutError:
            return None


class History:
    """The last events, and who follows."""

    def __init__(self, limit: int) -> None:
        self._events: deque[Event] = deque(maxlen=limit)
        self._watchers: set[Watcher] = set()
        self.last = 0

    def add(self, change: Change) -> Event:
        """Numbers a change and tells all watchers."""
        self.last += 1
        event = Event(
            self.last, time.time(), kind_of(change), change.before, change.after, change.by, change.reason
        )
        self._events.append(event)
        for watcher in self._watchers:
            watcher.put(event)
        return event

    def since(self, number: int) -> list[Event] | None:
        """Events after ``number``; None where some of them are no longer kept, or it is of another run."""
        if number > self.last:
            return None
        if self._events and number < self._events[0].number - 1:
            return None
        return [event for event in self._events if event.number > number]

    def recent(self, count: int) -> list[Event]:
        """The last ones, oldest first."""
        return list(self._events)[-count:] if count else []

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Follows from now on."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """Ends all watchers."""
        for watcher in self._watchers:
            watcher.end()
