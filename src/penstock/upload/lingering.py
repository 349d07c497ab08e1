"""A layer that lets a client hear a refusal though it is still sending.

An answer given before the whole body came ends the connection, as what follows on it could not be told from the body.
Closing at once would reset it, and most clients, which send everything before they read, would learn "connection reset"
instead of the reason. So the answer goes out, then the rest is read and dropped for a while, as web servers do
("lingering close").
"""

from collections.abc import Callable

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 64 * 1024 * 1024  # a whole part, and the rest of most files; more is no longer politeness
MOST_SECONDS = 5.0


class Lingering:
    """The ASGI layer; it goes outside of everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and _has_body(scope):
            exchange = _Exchange(scope, receive, send)
            await self._app(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._waits = _has(
            scope, b"expect", lambda _: True
        )  # sends its body only when told to: nothing to drop
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._ended = True
        return message

    async def send(self, message: Message) -> None:
        if self._ended:
            await self._send(message)
        elif message["type"] == "http.response.start":
            await self._send({**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]})
        elif message.get("more_body", False) or self._waits:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drop_the_rest()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop_the_rest(self) -> None:
        dropped = 0
        with anyio.move_on_after(MOST_SECONDS):
            while not self._ended and dropped < MOST_BYTES:
                dropped += len((await self.receive()).get("body", b""))


def _has_body(scope: Scope) -> bool:
    return _has(scope, b"transfer-encoding", lambda _: True) or _has(
        scope, b"content-length", lambda value: value != b"0"
    )


def _has(scope: Scope, header: bytes, suits: Callable[[bytes], bool]) -> bool:
    return any(name.lower() == header and suits(value) for name, value in scope["headers"])
