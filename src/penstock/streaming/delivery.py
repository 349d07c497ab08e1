"""Sends objects: whole files by the server itself, small ones that are in memory from here, ranges and objects of remote stores in bounded pieces.

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
from penstock.streaming.problems import ObjectDamaged, RangeNotSatisfiable
from penstock.streaming.publication import Document, Item
from penstock.video.errors import StorageUnavailable

# No address with a token in it lives longer than a day, so a longer age would keep only copies that nobody can name.
_IMMUTABLE = b"public, max-age=86400, immutable"
_PATHS_REMEMBERED = 20_000  # about 300 bytes each
# Bytes. So far it costs less to send a file that the system has in memory from here: having the server open it in a thread
# of its own makes a third as many answers of 64 KB and two thirds of 128 KB; at 512 KB it makes half as many again.
_SMALL = 128 << 10
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
        self._scratch = memoryview(bytearray(_SMALL + 1))

    async def send(self, exchange: Exchange, item: Item) -> None:
        """Sends an object or the range of it that is asked for.

        Raises :class:`RangeNotSatisfiable`, :class:`ObjectDamaged` and the store's errors before anything is sent.
        """
        asked, etag = exchange.headers, b'"%b"' % item.etag.encode()
        headers: list[Header] = [
            (b"etag", etag),
            (b"cache-control", _IMMUTABLE),
            (b"accept-ranges", b"bytes"),
        ]
        if not_modified(asked.get(b"if-none-match"), item.etag):
            await exchange.bare(304, headers)
            return
        try:
            part = requested_range(
                asked.get(b"range"), asked.get(b"if-range"), size=item.size, etag=item.etag
            )
        except NotSatisfiable:
            raise RangeNotSatisfiable(item.size) from None
        headers.append((b"content-type", item.media_type.encode()))
        small = self._at_hand(item) if part is None else None
        path = self._file(item) if small is None else None
        if small is None and path is None and self._cache is not None and not exchange.head:
            path = await self._cache.path(item)
        if part is None:
            headers.append((b"content-length", b"%d" % item.size))
        else:
            headers.append((b"content-length", b"%d" % (part.end - part.start)))
            headers.append((b"content-range", b"bytes %d-%d/%d" % (part.start, part.end - 1, item.size)))
        status = 200 if part is None else 206
        if exchange.head:
            await exchange.bare(status, headers)
        elif small is not None:
            await exchange.start(status, headers)
            await exchange.body(small)
        elif part is None and path is not None and exchange.pathsend:
            await exchange.start(status, headers)
            await exchange.file(path, item.size)
        else:
            pieces = self._pieces(item, part or ByteRange(0, item.size), path)
            await self._stream(exchange, pieces, status, headers)

    def _at_hand(self, item: Item) -> bytes | None:
        """A small object that lies whole in this machine's memory; None where it does not, or would have to be waited for."""
        if item.size > _SMALL or _NOWAIT is None or (path := self._local_path(item.key)) is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # One byte more, to see whether it is longer than it should be.
                read = os.preadv(descriptor, [self._scratch[: item.size + 1]], 0, _NOWAIT)
            finally:
                os.close(descriptor)
        except (
            OSError
        ):  # the disk would have to be asked, or it is not there: then the way of all others says so
            return None
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
