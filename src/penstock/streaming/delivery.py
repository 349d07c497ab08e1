"""Objects to be sent: as files that the system sends, those of remote stores without a cache in bounded pieces.

Every object is immutable and its entity tag is its record's digest, so copies never go stale and every node gives the
same answer. It knows nothing of videos, tokens or timelines.
"""

from collections.abc import Awaitable, Generator
from contextlib import closing
from functools import lru_cache
from typing import Any

import anyio.to_thread

from penstock.http_server.files import FilePart
from penstock.http_server.messages import Header, lines
from penstock.storage.store import ObjectStore
from penstock.streaming.cache import SegmentCache
from penstock.streaming.conditions import (
    ByteRange,
    NotSatisfiable,
    accepts_gzip,
    not_modified,
    requested_range,
)
from penstock.streaming.exchange import Content, Exchange
from penstock.streaming.open_files import OpenFiles, most_open, opened
from penstock.streaming.problems import RangeNotSatisfiable
from penstock.streaming.publication import Document, Item

# No address with a token in it lives longer than a day, so a longer age would keep only copies that nobody can name.
_IMMUTABLE = b"public, max-age=86400, immutable"
_PATHS_REMEMBERED = 20_000  # about 300 bytes each


def document_content(exchange: Exchange, document: Document, cache_control: bytes) -> Content:
    """A manifest, compressed where the client takes that."""
    body, etag = document.body, document.etag
    headers: list[Header] = [(b"cache-control", cache_control), (b"vary", b"Accept-Encoding")]
    if document.compressed is not None and accepts_gzip(exchange.headers.get(b"accept-encoding")):
        body, etag = document.compressed, f"{etag}-gzip"  # another sequence of bytes, so another strong tag
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"etag", b'"%b"' % etag.encode()))
    if not_modified(exchange.headers.get(b"if-none-match"), etag):
        return Content(304, lines(headers))
    return exchange.whole(200, [*headers, (b"content-type", document.media_type.encode())], body)


class Delivery:
    """The objects of one store."""

    def __init__(self, store: ObjectStore, cache: SegmentCache | None = None) -> None:
        self._store = store
        self._cache = cache  # of a store that is elsewhere
        # Keys are never reused, so where an object lies never changes; finding out costs ten calls to the file system.
        self._local_path = lru_cache(maxsize=_PATHS_REMEMBERED)(store.local_path)
        self._files = OpenFiles(most_open())

    def content(self, exchange: Exchange, item: Item) -> Generator[Awaitable[Any], Any, Content]:
        """An object or the range of it that is asked for; yields what has to be awaited first.

        Raises :class:`RangeNotSatisfiable`, :class:`ObjectDamaged` and the store's errors.
        """
        asked = exchange.headers
        if not_modified(asked.get(b"if-none-match"), item.etag):
            return Content(304, lines(_lasting(item)))
        kept = self._files.find(item)
        if kept is None and (path := self._local_path(item.key)) is not None:
            kept = self._files.open(path, item, lines(_describing(item, None)))
        part = _part(exchange, item)
        if part is None:
            status, head = 200, kept.head if kept is not None else lines(_describing(item, None))
        else:
            status, head = 206, lines(_describing(item, part))
        if exchange.head:
            return Content(status, head)
        start, end = (0, item.size) if part is None else (part.start, part.end)
        if kept is not None:
            return Content(status, head, FilePart(kept.file, start, end))
        return Content(status, head, (yield from self._from_elsewhere(item, start, end)))

    def _from_elsewhere(
        self, item: Item, start: int, end: int
    ) -> Generator[Awaitable[Any], Any, FilePart | Generator[bytes, None, None]]:
        path = (yield self._cache.path(item)) if self._cache is not None else None
        if path is not None:
            # Opened each time: the cache lets go first of what it was not asked for longest.
            return FilePart(opened(path, item), start, end)
        pieces = self._pieces(item, start, end)
        # Errors come with the first piece, when they can still be told.
        first = yield anyio.to_thread.run_sync(next, pieces, b"")
        return _continued(first, pieces)

    def _pieces(self, item: Item, start: int, end: int) -> Generator[bytes, None, None]:
        yield from self._store.stream(item.key, start=start, end=end)


def _continued(first: bytes, pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    with closing(pieces):
        yield first
        yield from pieces


def _lasting(item: Item) -> list[Header]:
    """What holds of the object however much of it is sent."""
    return [
        (b"etag", b'"%b"' % item.etag.encode()),
        (b"cache-control", _IMMUTABLE),
        (b"accept-ranges", b"bytes"),
    ]


def _describing(item: Item, part: ByteRange | None) -> list[Header]:
    """The headers of the object's bytes, or of a part of them."""
    headers = [(b"content-type", item.media_type.encode()), *_lasting(item)]
    if part is None:
        return [*headers, (b"content-length", b"%d" % item.size)]
    length, span = part.end - part.start, b"bytes %d-%d/%d" % (part.start, part.end - 1, item.size)
    return [*headers, (b"content-length", b"%d" % length), (b"content-range", span)]


def _part(exchange: Exchange, item: Item) -> ByteRange | None:
    """The range that is asked for, None for the whole. Raises :class:`RangeNotSatisfiable`."""
    asked = exchange.headers.get(b"range")
    if asked is None:
        return None
    try:
        return requested_range(asked, exchange.headers.get(b"if-range"), size=item.size, etag=item.etag)
    except NotSatisfiable:
        raise RangeNotSatisfiable(item.size) from None
