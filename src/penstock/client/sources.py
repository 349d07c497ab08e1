"""What is sent: a file of this machine or an object of a bucket. It is read in small pieces and never held whole.

It knows where bytes come from, and nothing of where they go.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from penstock.client.errors import ClientError

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import S3Store

_PIECE = 256 * 1024  # bytes read and sent at a time: a progress bar moves, and memory stays small
_RANGE = 8 * 1024 * 1024  # bytes asked of a bucket at a time: its client gives one request only so long
_EDGE = 64 * 1024  # bytes at either end that tell a file from another of the same size and time


class Source(Protocol):
    """Something to send."""

    @property
    def name(self) -> str:
        """What the file is called, without its folders."""

    @property
    def shown(self) -> str:
        """What a person calls it."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def cheap(self) -> bool:
        """Whether reading it twice costs little: then its digest is known before anything is sent."""

    def identity(self) -> str:
        """Another text once the bytes may be others. Raises :class:`ClientError`."""

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes from ``offset`` on, a little at a time. Raises :class:`ClientError` where there are fewer."""


class LocalFile(Source):
    """A file of this machine."""

    cheap = True

    def __init__(self, path: Path) -> None:
        """Raises :class:`ClientError` where it cannot be read."""
        self._path = path
        self._size = self._measure()

    @property
    @override
    def name(self) -> str:
        return self._path.name

    @property
    @override
    def shown(self) -> str:
        return str(self._path)

    @property
    @override
    def size(self) -> int:
        return self._size

    @override
    def identity(self) -> str:
        try:
            with self._path.open("rb") as file:
                edges = hashlib.sha256(file.read(_EDGE))
                file.seek(max(0, self._size - _EDGE))
                edges.update(file.read(_EDGE))
            facts = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from None
        return f"{self._path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\0{edges.hexdigest()}"

    @override
    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        left = size
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                while left:
                    piece = file.read(min(_PIECE, left))
                    if not piece:
                        raise ClientError(
                            f"{self._path} became shorter while it was read.", code="file_changed"
                        )
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise self._unreadable(error) from None

    def _measure(self) -> int:
        try:
            with self._path.open("rb") as file:
                return file.seek(0, 2)
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> ClientError:
        return ClientError(f"{self._path} cannot be read: {error.strerror}.", code="file_unreadable")


class BucketObject(Source):
    """An object of a bucket, read from it once and not kept here."""

    cheap = False

    def __init__(self, store: "S3Store", url: str, key: str, *, size: int, version: str) -> None:
        """``version`` is the entity tag that the object has now; ``url`` says where the bucket is, without the key."""
        self._store = store
        self._url = url.rstrip("/")
        self._key = key
        self._size = size
        self._version = version

    @cached_property
    @override
    def name(self) -> str:
        return self._key.rpartition("/")[2]

    @property
    @override
    def shown(self) -> str:
        return f"{self._url}/{self._key}"

    @property
    @override
    def size(self) -> int:
        return self._size

    @override
    def identity(self) -> str:
        return f"{self.shown}\0{self._size}\0{self._version}"

    @override
    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        from obstore.exceptions import BaseError

        end = offset + size
        while offset < end:
            asked = min(_RANGE, end - offset)
            try:
                wanted: GetOptions = {"range": (offset, offset + asked), "if_match": self._version or None}
                given = self._store.get(self._key, options=wanted).bytes()
            except (BaseError, OSError) as error:
                raise unreadable_bucket(self.shown, error) from None
            if len(given) != asked:
                raise ClientError(f"{self.shown} ended too early.", code="file_changed")
            offset += asked
            view = memoryview(given)
            for at in range(0, asked, _PIECE):
                yield bytes(view[at : at + _PIECE])


def unreadable_bucket(shown: str, error: Exception) -> ClientError:
    """The error for a bucket that does not give what was asked, with the remedies that help most often."""
    from obstore.exceptions import NotFoundError, PreconditionError

    if isinstance(error, PreconditionError):
        return ClientError(f"{shown} was replaced while it was read; run this again.", code="file_changed")
    if isinstance(error, NotFoundError):
        return ClientError(f"{shown} is not there.", code="file_unreadable")
    first = str(error).strip().partition("\n")[0]
    return ClientError(
        f"{shown} cannot be read: {first} Credentials are those of the AWS command line (AWS_ACCESS_KEY_ID,"
        " AWS_SECRET_ACCESS_KEY or AWS_PROFILE); another server is named with --endpoint.",
        code="file_unreadable",
    )
