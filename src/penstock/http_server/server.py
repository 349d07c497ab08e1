"""HTTP/1.1 on a socket that is already listening: who comes in, how many, for how long, and how all of it ends.

Requests below a responder's prefix are answered by it without a framework; all others by the ASGI application. The socket
comes from outside and outlives the server: what connects after the end waits in its queue for a successor.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Coroutine, Mapping
from email.utils import formatdate
from typing import Any

import structlog

from penstock.http_server.calls import ASGIApp
from penstock.http_server.connection import Connection
from penstock.http_server.messages import Responder

# Each player keeps one to six of them open. At this many, newcomers wait in the socket's queue until somebody leaves.
_CONNECTIONS = 16_384
_ACCEPTED_AT_ONCE = 64
_READ = 512 << 10  # bytes: uploads come in pieces of this, and each costs a turn of the loop
_TICK_S = 1.0

_log = structlog.get_logger()


class Server:
    """Belongs to the loop in which it is made."""

    def __init__(self, app: ASGIApp, responders: Mapping[str, Responder], *, idle_s: float) -> None:
        """``responders`` by prefix of the path. ``idle_s``: seconds that a client may take until its next request's head is whole."""
        self.app = app
        self.idle_s = idle_s
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()  # as of the last tick: deadlines need no more, and asking costs
        self.date = b""
        self.closing = False
        self._due: list[Callable[[], None]] = []
        self.buffer = memoryview(
            bytearray(_READ)
        )  # of whoever reads: what was read is used before the next one reads
        self._responders = tuple((prefix.encode(), responder) for prefix, responder in responders.items())
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Those of them that wait for a thread, which nobody can end.
        self._steady: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._listener: socket.socket | None = None
        self._accepting = False
        self._empty = (
            asyncio.Event()
        )  # none was open at some moment, which counts once none is added any more
        self._ticking: asyncio.TimerHandle | None = None

    def start(self, listener: socket.socket) -> None:
        """Takes connections from now on."""
        self._listener = listener
        self._tick()

    async def close(self, patience: float) -> None:
        """Returns when nothing is in flight any more; what still is after ``patience`` seconds is cut."""
        self.closing = True
        self._accept(on=False)
        self._empty.clear()
        for connection in tuple(self._connections):
            connection.finish()
        for task in tuple(self._streams):
            task.cancel()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), patience)
        if self._connections:
            _log.warning("requests_cut", count=len(self._connections))
        others = self._tasks - self._steady
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=1.0)
        for connection in tuple(self._connections):
            connection.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if self._ticking is not None:
            self._ticking.cancel()

    # Called by connections.

    def responder(self, target: bytes) -> Responder | None:
        """Who answers this without a framework; None: the application does."""
        for prefix, responder in self._responders:
            if target.startswith(prefix):
                return responder
        return None

    def soon(self, act: Callable[[], None]) -> None:
        """Has it done with what other connections have to do, once all who may be read have been.

        Requests that arrive together are answered together, and then their answers are sent together: whoever waits for them is
        woken once instead of for each, and each kind of work finds its code and data in the processor's caches. Where one client asks
        alone, it waits for nothing.
        """
        if not self._due:
            self.loop.call_soon(self._act)
        self._due.append(act)

    def spawn(self, work: Coroutine[Any, Any, None], *, steady: bool = False) -> None:
        """Has it run beside the others. ``steady``: it ends soon after its connection, and is not to be interrupted."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        if steady:
            self._steady.add(task)
        task.add_done_callback(self._done)

    def streaming(self, task: asyncio.Task[Any] | None) -> None:
        """Notes a task that ends only when somebody ends it."""
        if task is None:
            return
        self._streams.add(task)
        if self.closing:
            task.cancel()

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _act(self) -> None:
        due, self._due = self._due, []
        for act in due:
            try:
                act()
            except Exception as error:  # noqa: BLE001 - the others' clients wait as well
                _log.error("connection_failed", exc_info=error)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._steady.discard(task)
        self._streams.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("connection_failed", exc_info=error)

    def _tick(self) -> None:
        """What has to happen now and then."""
        self._ticking = self.loop.call_later(_TICK_S, self._tick)  # whatever happens in this one
        # What had passed at the last tick has passed: whatever came before this one was heard since, however long the machine stood still.
        passed, self.now = self.now, self.loop.time()
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        for connection in [each for each in self._connections if each.deadline is not None and each.deadline < passed]:  # fmt: skip
            connection.expire()
        if not self.closing:
            self._accept(on=len(self._connections) < _CONNECTIONS)

    def _accept(self, *, on: bool) -> None:
        if self._listener is None or on is self._accepting:
            return
        self._accepting = on
        if on:
            self.loop.add_reader(self._listener.fileno(), self._arrive)
        else:
            self.loop.remove_reader(self._listener.fileno())

    def _arrive(self) -> None:
        assert self._listener is not None
        for _ in range(_ACCEPTED_AT_ONCE):
            if len(self._connections) >= _CONNECTIONS:
                self._accept(on=False)  # until the next tick
                return
            try:
                client, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    _log.warning("connections_exhausted", count=len(self._connections), error=error.strerror)
                    self._accept(on=False)  # until the next tick
                    return
                raise
            client.setblocking(False)
            with contextlib.suppress(OSError):  # it is no TCP socket; or, on macOS, its client has left
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(Connection(self, client, address[:2]))
