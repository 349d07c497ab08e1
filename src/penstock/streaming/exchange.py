"""One playback request and its answer on the wire: method and headers in, start and body out, and what was sent.

It knows ASGI and CORS, and nothing of videos.
"""

from collections.abc import Awaitable, Iterable
from pathlib import Path

from starlette.responses import Response
from starlette.types import Scope, Send

Header = tuple[bytes, bytes]

_ALLOWED_METHODS = b"GET, HEAD, OPTIONS"
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", _ALLOWED_METHODS),
    (
        b"access-control-allow-headers",
        b"Range, If-Range, If-None-Match, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status",
    ),
    (
        b"access-control-max-age",
        b"86400",
    ),  # browsers cap it; asking again for each segment would double the requests
)
_ALWAYS: tuple[Header, ...] = (
    # What a script may read, which is also what a player measures with.
    (
        b"access-control-expose-headers",
        b"Content-Length, Content-Range, Date, ETag, Penstock-Node, Retry-After",
    ),
    (b"timing-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),  # pages that isolate themselves may embed it too
    (b"x-content-type-options", b"nosniff"),
)


_ANY_ORIGIN: tuple[Header, ...] = ((b"access-control-allow-origin", b"*"),)


def common_headers(node: str) -> tuple[Header, ...]:
    """What every answer of this node says."""
    name = node.encode("ascii", "replace").replace(b"\n", b"").replace(b"\r", b"")
    return (*_ALWAYS, (b"penstock-node", name))


class Exchange:
    """One request and its answer. Lower-case header names; a header that is repeated counts with its last value."""

    __slots__ = (
        "_common",
        "_send",
        "bytes_sent",
        "headers",
        "method",
        "origin",
        "pathsend",
        "query",
        "raw_path",
        "status",
    )

    def __init__(self, scope: Scope, send: Send, common: tuple[Header, ...]) -> None:
        """``common``: what :func:`common_headers` gives."""
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
        self.query: bytes = scope["query_string"]
        self.pathsend = "http.response.pathsend" in (scope.get("extensions") or {})
        self.origin: str | None = None  # the one origin that may read the answer; None: any
        self.status = 0
        self.bytes_sent = 0
        self._send = send
        self._common = common

    @property
    def head(self) -> bool:
        """Whether the body is to be left out."""
        return self.method == "HEAD"

    # These two are part of every answer, and a coroutine around the server's own would cost as much as what they do.
    def start(self, status: int, headers: Iterable[Header]) -> Awaitable[None]:
        """Sends the status and the headers."""
        origin = (
            _ANY_ORIGIN
            if self.origin is None
            else ((b"access-control-allow-origin", self.origin.encode()), (b"vary", b"Origin"))
        )
        self.status = status
        return self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *origin, *self._common]}
        )

    def body(self, data: bytes, *, more: bool = False) -> Awaitable[None]:
        """Sends the body, or a part of it."""
        self.bytes_sent += len(data)
        return self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def file(self, path: Path, size: int) -> None:
        """Has the server send a whole file, which it opens and reads by itself after this returns."""
        self.bytes_sent += size
        await self._send({"type": "http.response.pathsend", "path": str(path)})

    async def whole(self, status: int, headers: Iterable[Header], data: bytes) -> None:
        """Sends an answer that is at hand, without its body for ``HEAD``."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(data))])
        await self.body(b"" if self.head else data)

    async def bare(self, status: int, headers: Iterable[Header]) -> None:
        """Sends an answer that has no body by its nature."""
        await self.start(status, headers)
        await self.body(b"")

    async def preflight(self) -> None:
        """Answers a browser that asks whether it may; what it may do is up to the request that follows."""
        await self.bare(204, _PREFLIGHT)

    async def problem(self, response: Response) -> None:
        """Sends an error."""
        headers = [pair for pair in response.raw_headers if pair[0] != b"content-length"]
        await self.whole(response.status_code, headers, bytes(response.body))

    def page_origin(self) -> str | None:
        """The web origin that the request comes from: a same-origin request names it in ``Referer`` alone."""
        origin = self.headers.get(b"origin")
        if origin is None:
            scheme, separator, rest = self.headers.get(b"referer", b"").partition(b"://")
            origin = scheme + separator + rest.partition(b"/")[0] if separator else None
        return None if origin is None else origin.decode("latin-1")
