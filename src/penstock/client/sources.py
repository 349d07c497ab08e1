"""What is sent: a file of this machine or an object of a bucket. It is read in small pieces and never held whole.

It knows where bytes come from, and nothing of where they go.
"""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import override

from penstock.client.errors import ClientError

_PIECE = 256 * 1024  # bytes read and sent at a time: a progress bar moves, and memory stays small
_RANGE = 8 * 1024 * 1024  # bytes asked of a bucket at a time: its client gives one request only so long
_CREDENTIALS = (
    "Credentials are those of the AWS command line (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE); a server"
    " other than Amazon's is named with --endpoint."
)
_EDGE = 64 * 1024  # bytes at either end that tell a file from another of the same size and time


class Source(Protocol):
    """Something to send."""

    @property
    def name(self) -> str:
        """What the file is called, without its folders: any text a file system takes, see :func:`plain`."""

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


def plain(name: str) -> str:
    """A file's name as the server takes it: file systems allow line breaks and bytes that are no text, and it does not."""
    return "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in name)


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
            # Opening a pipe would wait for whoever writes to it.
            with open(
                self._path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)
            ) as file:
                facts = os.fstat(file.fileno())
        except OSError as error:
            raise self._unreadable(error) from None
        if not stat.S_ISREG(facts.st_mode):
            raise ClientError(
                f"{self._path} is no file but something else, a pipe or a device; write what comes out of it to a file first.",
                code="file_unreadable",
            )
        return facts.st_size

    def _unreadable(self, error: OSError) -> ClientError:
        return ClientError(f"{self._path} cannot be read: {error.strerror}.", code="file_unreadable")


class Bucket:
    """Where objects come from: a client of boto3, a bucket's name, and what all keys of interest begin with.

    Not obstore, which reads everything else here: it insists on the status 206 for a range, and some gateways answer 200.
    """

    def __init__(self, client: Any, name: str, prefix: str) -> None:
        self._client = client
        self._name = name
        self._prefix = prefix

    def objects(self) -> Iterator["BucketObject"]:
        """Every object below the prefix, in the order of keys. Raises :class:`ClientError`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=self._prefix)
        with self.reading(self.shown("")):
            for page in pages:
                for found in page.get("Contents", ()):
                    yield BucketObject(self, found["Key"], size=found["Size"], version=found["ETag"])

    def read(self, key: str, version: str, start: int, end: int) -> bytes:
        """The bytes from ``start`` to before ``end`` of the object that has this entity tag. Raises :class:`ClientError`."""
        with self.reading(self.shown(key)):
            answer = self._client.get_object(
                Bucket=self._name, Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=version
            )
            content: bytes = answer["Body"].read()
        if answer.get("ETag", version).strip('"') != version.strip(
            '"'
        ):  # not every server heeds the condition
            raise _replaced(self.shown(key))
        return content

    def shown(self, key: str) -> str:
        """As people write it."""
        return f"s3://{self._name}/{key or self._prefix}"

    def below(self, key: str) -> tuple[str, ...]:
        """The key's folders and name, below the prefix's own."""
        return tuple(key[self._prefix.rfind("/") + 1 :].split("/"))

    @contextmanager
    def reading(self, shown: str) -> Iterator[None]:
        """Turns what the library raises into errors with the remedies that help most often."""
        from botocore.exceptions import BotoCoreError
        from botocore.exceptions import ClientError as Refused

        try:
            yield
        except Refused as error:
            if error.response["ResponseMetadata"].get("HTTPStatusCode") in {412, 416}:
                raise _replaced(shown) from None
            code = error.response["Error"].get("Code", "")
            raise ClientError(
                f"{shown} cannot be read ({code}). {_CREDENTIALS}", code="file_unreadable"
            ) from None
        except BotoCoreError as error:
            raise ClientError(
                f"{shown} cannot be read: {error} {_CREDENTIALS}", code="file_unreadable"
            ) from None


class BucketObject(Source):
    """An object of a bucket, read from it once and not kept here."""

    cheap = False

    def __init__(self, bucket: Bucket, key: str, *, size: int, version: str) -> None:
        """``version`` is the entity tag that the object has now."""
        self._bucket = bucket
        self._size = size
        self._version = version
        self.key = key

    @property
    @override
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    @override
    def shown(self) -> str:
        return self._bucket.shown(self.key)

    @property
    @override
    def size(self) -> int:
        return self._size

    @override
    def identity(self) -> str:
        return f"{self.shown}\0{self._size}\0{self._version}"

    @override
    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            asked = min(_RANGE, end - offset)
            given = memoryview(self._bucket.read(self.key, self._version, offset, offset + asked))
            if len(given) != asked:
                raise _replaced(self.shown)
            offset += asked
            for at in range(0, asked, _PIECE):
                yield bytes(given[at : at + _PIECE])


def _replaced(shown: str) -> ClientError:
    return ClientError(f"{shown} was replaced while it was read; run this again.", code="file_changed")
