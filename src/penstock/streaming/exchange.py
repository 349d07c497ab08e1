"""One playback request, and what its answer consists of: CORS and what every answer of this node says.

It knows headers, and nothing of videos.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from starlette.responses import Response

from penstock.http_server.files import FilePart
from penstock.http_server.messages import Header, Request, lines

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


@dataclass(frozen=True, slots=True)
class Common:
    """What every answer of a node says, as it is sent: to pages of any origin, and without a word about that."""

    any_origin: bytes
    rest: bytes

    @classmethod
    def of(cls, node: str) -> "Common":
        """Of the node with this name."""
        name = node.encode("ascii", "replace").replace(b"\n", b"").replace(b"\r", b"")
        rest = lines((*_ALWAYS, (b"penstock-node", name)))
        return cls(lines([(b"access-control-allow-origin", b"*")]) + rest, rest)


class Content(NamedTuple):
    """An answer without what all of them say."""

    status: int
    head: bytes
    body: bytes | FilePart | Generator[bytes, None, None] = b""


class Exchange:
    """One request. Lower-case header names; a header that is repeated counts with its last value."""

    __slots__ = ("_common", "headers", "method", "origin", "query", "raw_path")

    def __init__(self, request: Request, common: Common) -> None:
        self.method = request.method
        self.headers: dict[bytes, bytes] = dict(request.headers)
        self.raw_path, _, self.query = request.target.partition(b"?")
        self.origin: str | None = None  # the one origin that may read the answer; None: any
        self._common = common

    @property
    def head(self) -> bool:
        """Whether the body is to be left out."""
        return self.method == "HEAD"

    @property
    def common(self) -> bytes:
        """What this answer says because all do."""
        if self.origin is None:
            return self._common.any_origin
        own = lines([(b"access-control-allow-origin", self.origin.encode()), (b"vary", b"Origin")])
        return own + self._common.rest

    def whole(self, status: int, headers: Iterable[Header], data: bytes) -> Content:
        """An answer that is at hand, without its body for ``HEAD``."""
        head = lines([*headers, (b"content-length", b"%d" % len(data))])
        return Content(status, head, b"" if self.head else data)

    def preflight(self) -> Content:
        """Answers a browser that asks whether it may; what it may do is up to the request that follows."""
        return Content(204, lines(_PREFLIGHT))

    def problem(self, response: Response) -> Content:
        """An error."""
        headers = [pair for pair in response.raw_headers if pair[0] != b"content-length"]
        return self.whole(response.status_code, headers, bytes(response.body))

    def page_origin(self) -> str | None:
        """The web origin that the request comes from: a same-origin request names it in ``Referer`` alone."""
        origin = self.headers.get(b"origin")
        if origin is None:
            scheme, separator, rest = self.headers.get(b"referer", b"").partition(b"://")
            origin = scheme + separator + rest.partition(b"/")[0] if separator else None
        return None if origin is None else origin.decode("latin-1")
