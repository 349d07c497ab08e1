"""The body of a request on its way to an application: a bounded buffer between the socket and whoever reads."""

import asyncio
from collections import deque
from collections.abc import Callable

_FULL = (
    512 << 10
)  # bytes that wait; the socket is left alone until fewer do, and the system slows the client down
_ENOUGH = 64 << 10  # bytes of one read that are handed on as they are; smaller ones are joined


class Body:
    """Bytes in the order in which they came. It belongs to one event loop and has one reader."""

    __slots__ = ("_pieces", "_resume", "_size", "_waiter", "complete", "gone")

    def __init__(self, resume: Callable[[], None]) -> None:
        """``resume`` is called when bytes were taken."""
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._resume = resume
        self._waiter: asyncio.Future[None] | None = None
        self.complete = False  # all of it arrived
        self.gone = False  # nothing more comes, or is wanted; what arrived before can still be read

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be read."""
        return self._size >= _FULL

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._pieces

    def feed(self, data: bytes) -> None:
        """More of it."""
        self._pieces.append(data)
        self._size += len(data)
        self._wake()

    def finish(self) -> None:
        """That was all."""
        self.complete = True
        self._wake()

    def cut(self) -> None:
        """No more will come."""
        self.gone = True
        self._wake()

    def drop(self) -> None:
        """Nobody will read what waits, or what comes."""
        self._pieces.clear()
        self._size = 0
        self.cut()

    async def take(self) -> bytes | None:
        """What waits, once there is something; empty at the end, None where the client left before."""
        while not self._pieces and not self.complete and not self.gone:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self._pieces:
            return b"" if self.complete else None
        if len(self._pieces[0]) >= _ENOUGH or len(self._pieces) == 1:
            data = self._pieces.popleft()
        else:
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._size -= len(data)
        self._resume()
        return data

    async def left(self) -> None:
        """Returns when the client has left."""
        while not self.gone:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
