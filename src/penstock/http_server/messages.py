"""Requests as they were read and answers as they are to be sent, between the server and who answers without a framework.

A :class:`Responder` is asked on the event loop. It answers at once, as nearly always, or names what has to be awaited first, so
that an answer that is at hand costs neither a task nor a turn of the loop.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from penstock.http_server.files import FilePart

Header = tuple[bytes, bytes]

_STATUS = {
    **{number: b"HTTP/1.1 %d \r\n" % number for number in range(200, 600)},
    **{each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus},
}


@dataclass(slots=True)
class Request:
    """The head of a request: names of headers in lower case, as often as they came, ``target`` as it came over the wire."""

    method: str
    target: bytes
    headers: list[Header]
    version: str  # ``1.0`` or ``1.1``
    keep_alive: bool


@dataclass(slots=True)
class Answer:
    """What is to be sent. A generator is closed by the server, in any case.

    ``sent(count, whole)`` is called once, with the bytes of the body that the system took.
    """

    status: int
    head: (
        bytes  # what :func:`lines` makes; the server adds the date, and ``Connection: close`` where it closes
    )
    body: bytes | FilePart | Generator[bytes, None, None]  # a generator may block, so it is asked in threads
    sent: Callable[[int, bool], None]


Steps = Generator[Awaitable[Any], Any, Answer]
"""Yields what has to be awaited, is sent its result or has its error thrown in, and returns the answer; it raises nothing."""


class Responder(Protocol):
    """Answers requests below a prefix; whatever they carry beside their head is not read."""

    def __call__(self, request: Request) -> Steps:
        """The steps to the answer."""
        ...


def lines(headers: Iterable[Header]) -> bytes:
    """Headers as they are sent. Raises ValueError for one that would begin another line."""
    each = [b"%b: %b\r\n" % header for header in headers]
    text = b"".join(each)
    if not text.count(b"\n") == text.count(b"\r") == len(each):
        raise ValueError("a header has a line break in it")
    return text


def answer_head(status: int, headers: bytes, date: bytes, *, close: bool) -> bytes:
    """The head of an answer. ``headers`` and ``date`` are what :func:`lines` makes; ``close``: the connection ends with it."""
    end = b"connection: close\r\n\r\n" if close else b"\r\n"
    return b"".join((_STATUS[status], headers, date, end))
