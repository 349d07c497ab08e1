"""What is on its way to one client: bytes, and a file behind them, sent in order as far as the socket takes them."""

import asyncio
import fcntl
import socket
import sys
import termios
from collections import deque
from enum import Enum, auto
from itertools import islice

from penstock.http_server.files import FilePart

_ENOUGH = 256 << 10  # bytes that wait to be sent; whoever makes more of them waits
_PIECES_A_TURN = 4  # calls of the system for one client's file, before it is another's turn
_ANY = 1 << 62


class Left(Enum):
    """What is still to be sent after a push."""

    NOTHING = auto()  # the system has taken all
    SOME = auto()  # the socket takes no more now, or it is others' turn
    UNREAD = auto()  # the file's next bytes are on the disk: :meth:`FilePart.load` has to fetch them


_NOTHING, _SOME, _UNREAD = Left  # by their own names: Python 3.11 takes a call to find a member of an Enum


class Outgoing:
    """Of one socket, which it does not own. Who makes bytes for it, one at a time, can wait until little is left."""

    __slots__ = ("_number", "_parts", "_socket", "_waiter", "file", "unsent")

    def __init__(self, client: socket.socket) -> None:
        self._socket = client
        self._number = client.fileno()
        self._parts: deque[memoryview] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.unsent = 0  # bytes of those, and of what was lost with the socket
        self.file: FilePart | None = None  # follows them

    def push(self, moment: float, parts: tuple[bytes, ...] = (), flags: int = 0) -> Left:
        """Sends what was kept, ``parts`` behind it, then the file; what the socket does not take is kept.

        ``moment``: see :meth:`FilePart.ready`; ``flags``: of the system's call. Raises OSError where socket or file is broken.
        """
        if parts:
            if not self._send(parts, flags):
                return _SOME
        elif self._parts and not self._flush():
            return _SOME
        file = self.file
        if file is None:
            return _NOTHING
        for _ in range(_PIECES_A_TURN):
            if not file.ready(moment):
                return _UNREAD
            try:
                if file.send(self._number):
                    return _NOTHING
            except (BlockingIOError, InterruptedError):
                break
        return _SOME

    async def drained(self) -> None:
        """Returns when little waits to be sent, or nothing can be sent any more."""
        if self.unsent > _ENOUGH:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def clear(self) -> None:
        """Nothing can be sent any more; what was not, stays counted."""
        self._parts.clear()
        self._wake()

    def untaken(self) -> int:
        """Bytes that the system holds for the client, where it tells."""
        try:
            return int.from_bytes(fcntl.ioctl(self._number, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return _ANY

    def _send(self, parts: tuple[bytes, ...], flags: int) -> bool:
        """Whether the socket took everything; what it does not take is kept."""
        count, size = 0, sum(map(len, parts))
        if not self._parts:
            try:
                count = self._socket.sendmsg(parts, (), flags)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self.unsent += size
                raise
            if count == size:
                return True
        self.unsent += size - count
        for part in parts:
            if count < len(part):
                self._parts.append(memoryview(part)[count:])
            count = max(0, count - len(part))
        return False

    def _flush(self) -> bool:
        parts = self._parts
        while parts:
            try:
                count = self._socket.sendmsg(list(islice(parts, 16)))
            except (BlockingIOError, InterruptedError):
                return False
            self.unsent -= count
            while count:
                first = parts.popleft()
                if count < len(first):
                    parts.appendleft(first[count:])
                count = max(0, count - len(first))
        self._wake()
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
