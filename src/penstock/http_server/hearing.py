"""What one client says: requests and the bytes of their bodies, or why what it says is none.

llhttp (httptools) takes the bytes apart and calls what is named ``on_`` here; what it lets pass and RFC 9112 does not, and how
much of it is kept, is decided here. It knows no socket and no answers.
"""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import httptools

from penstock.http_server.body import Body
from penstock.http_server.messages import Header, Request, lines
from penstock.http_server.problems import CodingUnsupported, HeadTooLarge, RequestMalformed
from penstock.video.errors import PenstockError

_LARGEST_HEAD = 64 << 10  # bytes of address and headers
_MOST_FIELDS = 100  # headers
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Hearing:
    """One connection's. After a refusal nothing can be understood any more, because where the next request begins is not known."""

    __slots__ = (
        "_body", "_head", "_headers", "_parser", "_resume", "_unheard", "_url", "deaf", "refusal", "waiting"
    )  # fmt: skip

    def __init__(self, resume: Callable[[], None]) -> None:
        """``resume`` is called when somebody took bytes of a body, so that more of them may be fed."""
        self.waiting: deque[tuple[Request, Body]] = deque()  # whose turn has not come yet
        self.refusal: PenstockError | None = (
            None  # what came after those that wait is no request that can be answered
        )
        self.deaf = False  # what is fed is thrown away
        self._resume = resume
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._head = 0  # bytes of an unfinished head, 0 between requests
        self._unheard = 0  # bytes of which nothing came but a part of a head, of what trails a body or of a chunk's extensions
        self._body: Body | None = None  # of the request whose head came last

    @property
    def full(self) -> bool:
        """Whether what was said waits for somebody, and more should not be fed."""
        return not self.deaf and (bool(self.waiting) or (self._body is not None and self._body.full))

    @property
    def unfinished(self) -> bool:
        """Whether the head of a request has begun and not ended."""
        return self._head > 0

    def feed(self, data: memoryview) -> None:
        """Bytes as they come; they may be overwritten afterwards."""
        if self.deaf:
            return
        self._unheard += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.refuse(RequestMalformed(f"This is no HTTP request: {error}."))
        if self._unheard > _LARGEST_HEAD:  # the parser keeps it, and would keep any amount
            self._refuse_size()

    def refuse(self, error: PenstockError) -> None:
        """Nothing that comes from here on is listened to."""
        self.deaf = True
        if self.refusal is None:
            self.refusal = error
        if self._body is not None and not self._body.complete:
            self._body.cut()  # whoever reads it answers, or else this is the answer

    def cut(self) -> None:
        """Nothing comes any more."""
        if self._body is not None:
            self._body.cut()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._url, self._headers, self._head, self._body = b"", [], 1, None

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._url += url
        self._head += len(url)
        if self._head > _LARGEST_HEAD:
            self._refuse_size()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what trails a body is not one."""
        if self._body is not None or self.refusal is not None:
            return
        self._headers.append((name.lower(), value.rstrip(b" \t")))
        self._head += len(name) + len(value) + 4
        if self._head > _LARGEST_HEAD:
            self._refuse_size()
        elif len(self._headers) > _MOST_FIELDS:
            self.refuse(HeadTooLarge(f"There are more than {_MOST_FIELDS} headers."))

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._head = self._unheard = 0
        if self.refusal is not None:
            return
        target, version = _origin_form(self._url), self._parser.get_http_version()
        error = _objection(version, self._headers)
        if target is None or error is not None:
            self.refuse(error or RequestMalformed("The request's target is not an address on this server."))
            return
        # Of 1.0 only what all its clients understand: the end of the connection is the end of the answer.
        keep_alive = version == "1.1" and self._parser.should_keep_alive()
        method = self._parser.get_method().decode("ascii")
        self._body = Body(self._resume)
        self.waiting.append((Request(method, target, self._headers, version, keep_alive), self._body))

    def on_body(self, data: bytes) -> None:
        """Bytes of the body."""
        self._unheard = 0
        if self._body is not None and not self._body.gone:
            self._body.feed(data)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._unheard = 0
        if self._body is not None:
            self._body.finish()

    def _refuse_size(self) -> None:
        self.refuse(HeadTooLarge(f"Address and headers are larger than {_LARGEST_HEAD} bytes together."))

    def _decline(self, rest: memoryview) -> None:
        """Another protocol was offered: the request is answered as if it had not been, and is the last.

        The parser takes it for granted that such a request has no body and stops; so another one reads what is left of it.
        """
        if self.refusal is not None:
            return
        request, body = self.waiting[-1]
        request.keep_alive = False
        framing = lines(header for header in request.headers if header[0] in _FRAMING)
        if not framing:
            self.deaf = True
            return
        body.complete = False  # nobody was told yet
        heard = SimpleNamespace(on_body=self.on_body, on_message_complete=self.on_message_complete)
        self._parser = httptools.HttpRequestParser(heard)
        for data in (b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n" % framing, rest):
            self.feed(memoryview(data))


def _objection(version: str, headers: list[Header]) -> PenstockError | None:
    """What RFC 9112 has against a head that the parser let pass."""
    if version not in ("1.1", "1.0"):
        return RequestMalformed("The only versions of HTTP that are spoken are 1.1 and 1.0.")
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts != 1 and (hosts or version == "1.1"):
        return RequestMalformed("A request has one header 'Host'.")
    if b"transfer-encoding" in names:
        if version == "1.0":
            return RequestMalformed("HTTP/1.0 knows no transfer codings.")
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in headers):
            return CodingUnsupported("The only transfer coding that is understood is 'chunked'.")
    return None


def _origin_form(url: bytes) -> bytes | None:
    """The path and the query of a request's target (RFC 9112, section 3.2), None where it has none."""
    if url.startswith(b"/"):
        return url
    scheme, separator, rest = url.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return None
    authority, mark, query = rest.partition(b"?")
    _, _, path = authority.partition(b"/")
    return b"/" + path + mark + query
