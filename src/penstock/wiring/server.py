"""Serves one ASGI application with Granian on a socket that is already listening, and ends it in bounded time.

The socket comes from outside (the supervisor, or the command that starts one service), so that it outlives this process.
This file knows requests only as long as it must to end them well: it counts those in flight, refuses new ones while it
drains, lets short ones finish, and cuts streams of events, whose clients reconnect by themselves.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import uvloop
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from typing_extensions import override

from penstock.wiring.lifespan import ASGIApp, Lifespan, Message, Receive, Scope, Send

# Granian counts connections, and each player keeps one to six of them open: far above its default of 128.
CONNECTIONS = 16_384
DRAIN_SECONDS = 5.0  # how long an upload or a segment in flight may go on after the order to stop

log = structlog.get_logger()


class Draining:
    """The application with a door: open, then closing, then shut. It belongs to the loop in which it is made."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._empty = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._closing:
            await _refuse(send)
        else:
            await self._serve(scope, receive, send)

    async def close(self, patience: float) -> None:
        """Returns when nothing is in flight any more; what still is after ``patience`` seconds is cancelled."""
        self._closing = True
        for task in tuple(self._streams):
            task.cancel()
        self._tell()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), patience)
        if self._in_flight:
            log.warning("requests_cut", count=len(self._in_flight))
            for task in tuple(self._in_flight):
                task.cancel()
            await asyncio.wait(self._in_flight, timeout=1.0)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task(self._loop)  # which asks the system nothing, unlike without the loop
        if task is None:  # the server always runs a request in a task
            raise RuntimeError("a request outside any task")

        # Not a coroutine of its own, which would add to the cost of each message.
        def watched(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start" and _is_event_stream(message):
                self._streams.add(task)
                if self._closing:
                    task.cancel()
            return send(message)

        self._in_flight.add(task)
        try:
            await self._app(scope, receive, watched)
        finally:
            self._in_flight.discard(task)
            self._streams.discard(task)
            self._tell()

    def _tell(self) -> None:
        if self._closing and not self._in_flight:
            self._empty.set()


def serve(app: ASGIApp, listener: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Blocks until SIGTERM or SIGINT, then drains. ``on_ready`` is called once requests are answered.

    Raises RuntimeError where the application refuses to start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, listener, on_ready))


async def _serve(app: ASGIApp, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lifespan = Lifespan(app)
    await lifespan.start()
    draining = Draining(app)
    server = _Server(draining, listener)
    serving = asyncio.create_task(server.serve())
    on_ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await draining.close(DRAIN_SECONDS)
    server.signal_handler_interrupt()  # type: ignore[no-untyped-call]
    await serving  # raises where the server ended by itself
    await lifespan.stop()


class _Server(Server):
    """Granian's embedded server on a socket of ours instead of one that it binds."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,  # the lifespan is run here, where a refusal can be told
            http=HTTPModes.http1,  # HTTP/2 without TLS is spoken by no browser; a proxy in front speaks it to clients
            backlog=CONNECTIONS,
            backpressure=CONNECTIONS,
            log_enabled=False,
        )
        self._listener = listener

    @override
    def _init_shared_socket(self) -> None:
        unix = self._listener.family == socket.AF_UNIX
        # The stub of the extension lacks the constructor, which takes descriptor, whether it is a Unix socket, backlog.
        self._shd = SocketHolder(self._listener.detach(), unix, CONNECTIONS)  # type: ignore[call-arg, assignment]
        self._ssp = None


async def _refuse(send: Send) -> None:
    body = (
        b'{"type":"about:blank","title":"Temporarily unavailable","status":503,'
        b'"detail":"The server is stopping; try again.","code":"stopping"}'
    )
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_event_stream(message: Message) -> bool:
    for name, value in message.get(
        "headers", ()
    ):  # a loop, and names are in lower case: segments come by here
        if name == b"content-type":
            return bool(value.startswith(b"text/event-stream"))
    return False
