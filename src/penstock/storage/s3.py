"""The bucket adapter: each object is one object of an S3-compatible store, through obstore.

Relied upon are GET with ranges, PUT, multipart, HEAD, DELETE and listing in the order of keys; no conditional write, as not
every store has it. It knows nothing of uploads: those are ``bucket_staging``.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore.exceptions

from penstock.storage.s3_access import (
    Bucket,
    Pace,
    RangeRefused,
    StoreConfig,
    multipart_client,
    object_client,
    translated,
)
from penstock.storage.store import CHUNK, ObjectInfo, Payload, check_key, pieces
from penstock.video.errors import StorageUnavailable

_MIB = 1024 * 1024
# Moved by one request: long enough that the pause between two does not count, short enough for one time limit to fit all.
WINDOW = 8 * _MIB
_PARTS_AT_ONCE = 4  # of one object: with WINDOW this is the memory that storing one takes
_LARGEST_UNMEASURED = 16 * _MIB  # part size where the length is not known: 10 000 of them are 160 GB
_MOST_PARTS = 10_000  # S3's own limit
_CONTENT_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")


class S3Store:
    """An ``ObjectStore`` in a bucket."""

    def __init__(self, config: StoreConfig, pace: Pace) -> None:
        """``pace`` decides timeouts and retries. Raises ``ConfigurationError``; asks nobody."""
        self.config = config
        self._bucket = Bucket.of(config.url)
        self._client: Any = object_client(config, pace)
        self._strays = False  # whether it answers a range with 200, which obstore refuses

    def put(self, key: str, data: Payload) -> int:
        """See the port."""
        check_key(key)
        size, body = _measured(data)
        if size is not None and size <= WINDOW:
            whole = body if isinstance(body, bytes) else b"".join(pieces(body))
            with translated("put"):
                obstore.put(self._client, key, whole, use_multipart=False)
            return len(whole)
        part = _LARGEST_UNMEASURED if size is None else max(WINDOW, -(-size // _MOST_PARTS))
        return self._put_parts(key, body, part)

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """See the port."""
        return b"".join(self.stream(key, start=start, end=end))

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port. One request per :data:`WINDOW`, so that an interruption costs one window's repetition."""
        if start < 0 or (end is not None and end < start):
            raise ValueError(f"not a range: {start}..{end}")
        check_key(key)
        position, size = start, None
        while True:
            last = position + WINDOW if end is None else min(position + WINDOW, end)
            if size is not None:
                last = min(last, size)
            data, size = self._window(key, position, last)
            for offset in range(0, len(data), CHUNK):
                yield data[offset : offset + CHUNK]
            position += len(data)
            if position >= size or (end is not None and position >= end):
                return

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        check_key(key)
        with translated("head"):
            return _info(obstore.head(self._client, key))

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """See the port. The library's prefixes are whole parts of a key, so a partial one is compared here."""
        folder = prefix.rpartition("/")[0] or None
        with translated("list"):
            found = obstore.list(self._client, folder, offset=(start_after or "").rstrip("/") or None)
        while True:
            with translated("list"):
                batch = next(found, None)
            if batch is None:
                return
            for meta in batch:
                info = _info(meta)
                if info.key.startswith(prefix) and info.key > (start_after or ""):
                    yield info
                elif info.key[: len(prefix)] > prefix:
                    return

    def delete(self, keys: Iterable[str]) -> None:
        """See the port."""
        doomed = [check_key(key) for key in keys]
        if doomed:
            with translated("delete"):
                obstore.delete(self._client, doomed)

    def local_path(self, key: str) -> None:
        """See the port: never."""
        check_key(key)

    def free_bytes(self) -> None:
        """See the port: no bound."""

    def _put_parts(self, key: str, body: Payload, part: int) -> int:
        source = _Counted(body)
        try:
            with translated("put"):
                obstore.put(
                    self._client,
                    key,
                    source,
                    use_multipart=True,
                    chunk_size=part,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        except Exception:
            if source.error is not None:
                raise source.error from None
            raise
        return source.size

    def _window(self, key: str, start: int, end: int) -> tuple[bytes, int]:
        """The bytes from ``start`` to at most ``end``, and the size of the whole object."""
        if start >= end:
            return b"", self.head(key).size
        try:
            data, size = self._range(key, start, end)
        except RangeRefused:
            size = self.head(key).size
            if start < size:
                raise
            return b"", size
        if len(data) != min(end, size) - start:
            raise StorageUnavailable("The object store sent another range than it was asked for.")
        return data, size

    def _range(self, key: str, start: int, end: int) -> tuple[bytes, int]:
        if not self._strays:
            with translated("get"):
                try:
                    answer = obstore.get(self._client, key, options={"range": (start, end)})
                    return bytes(answer.bytes()), answer.meta["size"]
                except obstore.exceptions.GenericError as error:
                    # The range comes, with the status of a whole object: obstore insists on 206, as RFC 9110 does.
                    if "non-partial response" not in str(error):
                        raise
                    self._strays = True
        with translated("get"):
            answer = self._plain_client.get_object(
                Bucket=self._bucket.name, Key=self._bucket.prefix + key, Range=f"bytes={start}-{end - 1}"
            )
            with closing(answer["Body"]) as body:
                found = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
                if found is None:
                    raise StorageUnavailable(
                        "The object store does not serve ranges.", code="storage_unsuitable"
                    )
                return body.read(), int(found[1])

    @cached_property
    def _plain_client(self) -> Any:
        return multipart_client(self.config)


class _Counted:
    """A payload as the library reads it: counts, and keeps what the payload's own source raised."""

    def __init__(self, data: Payload) -> None:
        self._pieces = pieces(data)
        self.size = 0
        self.error: BaseException | None = None

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.size += len(piece)
        return piece


def _measured(data: Payload) -> tuple[int | None, Payload]:
    """The size where it is known beforehand. Of pieces, the first window is looked at."""
    if isinstance(data, bytes):
        return len(data), data
    if isinstance(data, Path):
        return data.stat().st_size, data
    source, begun, size = pieces(data), [], 0
    for piece in source:
        begun.append(piece)
        size += len(piece)
        if size > WINDOW:
            return None, _chained(begun, source)
    return size, b"".join(begun)


def _chained(begun: Iterable[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from begun
    yield from rest


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["size"], int(meta["last_modified"].timestamp() * 1000))
