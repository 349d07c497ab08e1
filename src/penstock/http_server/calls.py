"""One request handed to an ASGI application, and what it sends back put into the form of HTTP/1.1."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import unquote

from penstock.http_server.body import Body
from penstock.http_server.messages import Header, Request, lines

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODILESS = frozenset({204, 304})


def scope_of(request: Request, client: tuple[str, int], server: tuple[str, int]) -> Scope:
    """What an application is told of a request; ``client`` and ``server`` are the addresses of both ends."""
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.version,
        "method": request.method,
        "scheme": "http",
        "path": unquote(path) if b"%" in path else path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": request.headers,
        "client": client,
        "server": server,
    }


class Wire(Protocol):
    """The connection, as an application's answer needs it."""

    def write(self, data: bytes) -> None:
        """Sends, now or when the client takes it."""
        ...

    async def drained(self) -> None:
        """Returns when little waits to be sent, or nobody listens any more."""
        ...

    def head(self, status: int, headers: bytes, *, close: bool) -> bytes:
        """The status line and all headers, with the date; ``close``: the connection ends with this answer."""
        ...

    def streaming(self) -> None:
        """The answer is a stream of events, which ends only when somebody ends it."""
        ...


class Call:
    """One application's turn. :meth:`run` raises what the application raises, and RuntimeError where it breaks the protocol."""

    def __init__(self, wire: Wire, request: Request, body: Body) -> None:
        self._wire = wire
        self._request = request
        self._body = body
        # A client of HTTP/1.0 would take the interim answer for the answer.
        self._expects = request.version == "1.1" and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in request.headers
        )
        self._heard = False  # the application was told the end of the body
        # Status and headers, held back until it is known whether the body comes in one piece.
        self._start: tuple[int, list[Header]] | None = None
        self._chunked = False
        self._left: int | None = None  # bytes that are still to come of the length that was announced
        self.keep_alive = request.keep_alive
        self.begun = False  # some of the answer was sent
        self.complete = False  # all of it was

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Until the application returns."""
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        body = self._body
        if self._heard:
            await body.left()
            return {"type": "http.disconnect"}
        if self._expects and body.empty and not body.complete and not self.begun:
            self._expects = False
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        data = await body.take()
        if data is None:
            self._heard = True
            return {"type": "http.disconnect"}
        self._heard = body.complete and body.empty
        return {"type": "http.request", "body": data, "more_body": not self._heard}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            self._start = message["status"], headers
            if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):  # fmt: skip
                self._wire.streaming()
        elif kind == "http.response.body" and self._start is not None and not self.complete:
            await self._send_body(self._start, message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"the message {kind} is not awaited here")

    async def _send_body(self, start: tuple[int, list[Header]], data: bytes, *, more: bool) -> None:
        framed = [] if self.begun else [self._head(*start, len(data), more=more)]
        if not self._bodiless(start[0]):
            framed += self._framed(data, more=more)
        self.begun = True
        self.complete = not more
        self._wire.write(b"".join(framed))
        if more:
            await self._wire.drained()

    def _head(self, status: int, headers: list[Header], first: int, *, more: bool) -> bytes:
        """Settles how the body is framed."""
        announced = next((value for name, value in headers if name == b"content-length"), None)
        if announced is not None:
            self._left = int(announced)
        elif self._bodiless(status):
            pass
        elif not more:
            self._left = first
            headers.append((b"content-length", b"%d" % first))
        elif self._request.version == "1.1":
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        else:
            self.keep_alive = False  # the end of the connection is the end of the body
        # Where the client still sends what nobody will read, the next request cannot be found.
        self.keep_alive = self.keep_alive and self._body.complete and (b"connection", b"close") not in headers
        return self._wire.head(status, lines(headers), close=not self.keep_alive)

    def _framed(self, data: bytes, *, more: bool) -> list[bytes]:
        if self._chunked:
            chunk = [b"%x\r\n" % len(data), data, b"\r\n"] if data else []
            return chunk if more else [*chunk, b"0\r\n\r\n"]
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body is not as long as was announced")
        return [data]

    def _bodiless(self, status: int) -> bool:
        return self._request.method == "HEAD" or status in _BODILESS
