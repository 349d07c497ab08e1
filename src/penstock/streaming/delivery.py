"""Objects to be sent: small ones from memory, others as files that the system sends, those of remote stores in bounded pieces.

Every object is immutable and its entity tag is its record's digest, so copies never go stale and every node gives the
same answer. It knows nothing of videos, tokens or timelines.
"""

import os
from collections.abc import Awaitable, Generator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio.to_thread

from penstock.http_server.files import FilePart
from penstock.http_server.messages import Header, lines
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.streaming.cache import SegmentCache
from penstock.streaming.conditions import (
    ByteRange,
    NotSatisfiable,
    accepts_gzip,
    not_modified,
    requested_range,
)
from penstock.streaming.exchange import Content, Exchange
from penstock.streaming.memory import LARGEST, SmallObjects, Whole
from penstock.streaming.problems import ObjectDamaged, RangeNotSatisfiable
from penstock.streaming.publication import Document, Item
from penstock.video.errors import StorageUnavailable

# No address with a token in it lives longer than a day, so a longer age would keep only copies that nobody can name.
_IMMUTABLE = b"public, max-age=86400, immutable"
_PATHS_REMEMBERED = 20_000  # about 300 bytes each
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux; elsewhere there is no asking without waiting


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
        # So far it costs less to send an object from memory than to open its file.
        self._small = SmallObjects()
        self._scratch = memoryview(bytearray(LARGEST + 1))

    def content(self, exchange: Exchange, item: Item) -> Generator[Awaitable[Any], Any, Content]:
        """An object or the range of it that is asked for; yields what has to be awaited first.

        Raises :class:`RangeNotSatisfiable`, :class:`ObjectDamaged` and the store's errors.
        """
        asked = exchange.headers
        if item.size <= LARGEST and b"range" not in asked and b"if-none-match" not in asked:
            whole = self._in_memory(item)
            if whole is not None:
                return Content(200, whole.head, b"" if exchange.head else whole.body)
        if not_modified(asked.get(b"if-none-match"), item.etag):
            return Content(304, lines(_lasting(item)))
        part = _part(exchange, item)
        status, head = 200 if part is None else 206, lines(_describing(item, part))
        if exchange.head:
            self._check(item)
            return Content(status, head)
        body = yield from self._body(item, part or ByteRange(0, item.size))
        return Content(status, head, body)

    def _body(
        self, item: Item, part: ByteRange
    ) -> Generator[Awaitable[Any], Any, FilePart | Generator[bytes, None, None]]:
        path = self._local_path(item.key)
        if path is None and self._cache is not None:
            path = yield self._cache.path(item)
        if path is not None:
            return FilePart(_opened(path, item), part.start, part.end)
        pieces = self._pieces(item, part)
        # Errors come with the first piece, when they can still be told.
        first = yield anyio.to_thread.run_sync(next, pieces, b"")
        return _continued(first, pieces)

    def _in_memory(self, item: Item) -> Whole | None:
        """A small object, where it is remembered or this machine's memory has it; None where it would have to be waited for."""
        whole = self._small.find(item)
        if whole is None and (body := self._read_at_once(item)) is not None:
            whole = Whole(lines(_describing(item, None)), body)
            self._small.keep(item, whole)
        return whole

    def _read_at_once(self, item: Item) -> bytes | None:
        """The file's bytes where the system has them in memory and they are as many as they should be."""
        if _NOWAIT is None or (path := self._local_path(item.key)) is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # One byte more, to see whether it is longer than it should be.
                read = os.preadv(descriptor, [self._scratch[: item.size + 1]], 0, _NOWAIT)
            finally:
                os.close(descriptor)
        except OSError:
            return None  # the disk would have to be asked, or it is not there: then the way of all others says so
        return bytes(self._scratch[: item.size]) if read == item.size else None

    def _check(self, item: Item) -> None:
        """Sees that a file is there and whole, where the store has files of this machine."""
        path = self._local_path(item.key)
        if path is not None:
            os.close(_opened(path, item))

    def _pieces(self, item: Item, part: ByteRange) -> Generator[bytes, None, None]:
        yield from self._store.stream(item.key, start=part.start, end=part.end)


def _opened(path: Path, item: Item) -> int:
    """A descriptor of the object's file, which is whole. Calls to the local file system, whose answers are in memory: a thread costs more.

    Raises :class:`ObjectMissing`, :class:`ObjectDamaged` and :class:`StorageUnavailable`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        size = os.fstat(descriptor).st_size
    except FileNotFoundError:
        raise ObjectMissing("There is no such object.") from None
    except OSError as error:
        raise StorageUnavailable("The object store does not answer; try again.") from error
    if size != item.size:
        os.close(descriptor)
        raise ObjectDamaged("What is stored is not what was published.")
    return descriptor


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
