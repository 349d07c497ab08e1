"""Sends objects: small ones from memory, other whole files by the server itself, ranges and objects of remote stores in bounded pieces.

Every object is immutable and its entity tag is its record's digest, so copies never go stale and every node gives the
same answer. It knows nothing of videos, tokens or timelines.
"""

import os
from collections.abc import Generator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import anyio.to_thread

from penstock.storage.store import CHUNK, ObjectMissing, ObjectStore
from penstock.streaming.cache import SegmentCache
from penstock.streaming.conditions import (
    ByteRange,
    NotSatisfiable,
    accepts_gzip,
    not_modified,
    requested_range,
)
from penstock.streaming.exchange import Exchange, Header
from penstock.streaming.memory import LARGEST, SmallObjects, Whole
from penstock.streaming.problems import ObjectDamaged, RangeNotSatisfiable
from penstock.streaming.publication import Document, Item
from penstock.video.errors import StorageUnavailable

# No address with a token in it lives longer than a day, so a longer age would keep only copies that nobody can name.
_IMMUTABLE = b"public, max-age=86400, immutable"
_PATHS_REMEMBERED = 20_000  # about 300 bytes each
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux; elsewhere there is no asking without waiting


async def send_document(exchange: Exchange, document: Document, cache_control: bytes) -> None:
    """Sends a manifest, compressed where the client takes that."""
    body, etag = document.body, document.etag
    headers: list[Header] = [(b"cache-control", cache_control), (b"vary", b"Accept-Encoding")]
    if document.compressed is not None and accepts_gzip(exchange.headers.get(b"accept-encoding")):
        body, etag = document.compressed, f"{etag}-gzip"  # another sequence of bytes, so another strong tag
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"etag", b'"%b"' % etag.encode()))
    if not_modified(exchange.headers.get(b"if-none-match"), etag):
        await exchange.bare(304, headers)
        return
    await exchange.whole(200, [*headers, (b"content-type", document.media_type.encode())], body)


class Delivery:
    """Sends the objects of one store."""

    def __init__(self, store: ObjectStore, cache: SegmentCache | None = None) -> None:
        self._store = store
        self._cache = cache  # of a store that is elsewhere
        # Keys are never reused, so where an object lies never changes; finding out costs ten calls to the file system.
        self._local_path = lru_cache(maxsize=_PATHS_REMEMBERED)(store.local_path)
        # So far it costs less to send an object from here: having the server open a file in a thread of its own makes a third
        # as many answers of 64 KB and two thirds of 128 KB; at 512 KB it makes half as many again.
        self._small = SmallObjects()
        self._scratch = memoryview(bytearray(LARGEST + 1))

    async def send(self, exchange: Exchange, item: Item) -> None:
        """Sends an object or the range of it that is asked for.

        Raises :class:`RangeNotSatisfiable`, :class:`ObjectDamaged` and the store's errors before anything is sent.
        """
        asked = exchange.headers
        if item.size <= LARGEST and b"range" not in asked and b"if-none-match" not in asked:
            whole = self._in_memory(item)
            if whole is not None:
                await exchange.start(200, whole.headers)
                await exchange.body(b"" if exchange.head else whole.body)
                return
        if not_modified(asked.get(b"if-none-match"), item.etag):
            await exchange.bare(304, _lasting(item))
            return
        part = _part(exchange, item)
        await self._send_file(exchange, item, part, _describing(item, part))

    async def _send_file(
        self, exchange: Exchange, item: Item, part: ByteRange | None, headers: list[Header]
    ) -> None:
        path = self._file(item)
        if path is None and self._cache is not None and not exchange.head:
            path = await self._cache.path(item)
        status = 200 if part is None else 206
        if exchange.head:
            await exchange.bare(status, headers)
        elif part is None and path is not None and exchange.pathsend:
            await exchange.start(status, headers)
            await exchange.file(path, item.size)
        else:
            pieces = self._pieces(item, part or ByteRange(0, item.size), path)
            await self._stream(exchange, pieces, status, headers)

    def _in_memory(self, item: Item) -> Whole | None:
        """A small object, where it is remembered or this machine's memory has it; None where it would have to be waited for."""
        whole = self._small.find(item)
        if whole is None and (body := self._read_at_once(item)) is not None:
            whole = Whole(tuple(_describing(item, None)), body)
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

    def _file(self, item: Item) -> Path | None:
        """The object as a file that is there and whole, None where the store is elsewhere.

        The server answers a file that it cannot open with a 404 of its own, so this is seen to before. One call to the
        local file system, whose answer is in memory: a thread would cost more than it does.
        """
        path = self._local_path(item.key)
        if path is None:
            return None
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise ObjectMissing("There is no such object.") from None
        except OSError as error:
            raise StorageUnavailable("The object store does not answer; try again.") from error
        if size != item.size:
            raise ObjectDamaged("What is stored is not what was published.")
        return path

    async def _stream(
        self,
        exchange: Exchange,
        source: Generator[bytes, None, None],
        status: int,
        headers: list[Header],
    ) -> None:
        """Piece by piece through this process; the next piece is read when the server has taken the one before."""
        with closing(source) as pieces:
            # Errors come with the first piece, before the status is sent.
            piece = await anyio.to_thread.run_sync(next, pieces, b"")
            await exchange.start(status, headers)
            while following := await anyio.to_thread.run_sync(next, pieces, b""):
                await exchange.body(piece, more=True)
                piece = following
            await exchange.body(piece)

    def _pieces(self, item: Item, part: ByteRange, path: Path | None) -> Generator[bytes, None, None]:
        if path is None:
            yield from self._store.stream(item.key, start=part.start, end=part.end)
            return
        with path.open("rb") as file:
            file.seek(part.start)
            left = part.end - part.start
            while left and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece


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
