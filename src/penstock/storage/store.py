"""The object store port: opaque bytes under keys, and the promises every adapter keeps.

A store knows nothing of videos, tasks or HTTP; keys come from ``video.keys`` and are only checked here. What ``put`` has
accepted survives a power cut, is never half visible, and is never changed by a reader. All calls are synchronous.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from penstock.video.errors import NotFound, PermanentError

CHUNK = 1024 * 1024  # bytes moved at a time; memory per transfer stays near this whatever the object's size

Payload = bytes | Path | BinaryIO | Iterable[bytes]

# A part starts with a letter or digit, so ".", ".." and the adapters' own dotted names can never be spelled.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,199})*")
_LONGEST_KEY = 900  # S3 allows 1024 bytes; the rest is for a prefix in a shared bucket


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of one object: ``size`` in bytes, ``modified_ms`` since the Unix epoch on the store's clock."""

    key: str
    size: int
    modified_ms: int


class ObjectMissing(NotFound):
    """No object has this key. Nothing was changed."""

    code = "object_missing"


class KeyMalformed(PermanentError):
    """A key that no part of the program spells: a defect, or an attempt to leave the store. Nothing was touched."""

    code = "key_malformed"


class ObjectStore(Protocol):
    """Opaque bytes by key; no key may be a folder of another (``a`` beside ``a/b``).

    Raises :class:`ObjectMissing`, :class:`KeyMalformed`, ``StorageFull`` and ``StorageUnavailable``.
    """

    def put(self, key: str, data: Payload) -> int:
        """Store ``data``, replacing what was there; durable when it returns the number of bytes.

        A new object appears in one step. A replaced one need not: not every bucket's reader is spared a mixture, so keys
        are written once. When it raises, the key is as it was before or, where only the last confirmation failed, holds all of ``data``.
        """

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` up to, not including, ``end``; a range past the object's end is cut to it."""

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As :meth:`get`, in pieces of at most :data:`CHUNK` bytes. Errors come with the first piece."""

    def head(self, key: str) -> ObjectInfo:
        """The facts of one object."""

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key begins with ``prefix``, in the order of their keys' bytes, those after ``start_after`` only."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects. One that is missing is no error, so that a deletion may be repeated."""

    def local_path(self, key: str) -> Path | None:
        """The object as a file of this machine, to be read only; None where the store is elsewhere."""

    def free_bytes(self) -> int | None:
        """Room left for new objects; None where the store sets no such bound."""


def check_key(key: str) -> str:
    """``key`` itself. Raises :class:`KeyMalformed` unless it is a relative path of plain names."""
    if not is_key(key):
        raise KeyMalformed("An object key does not follow the key layout.")
    return key


def is_key(text: str) -> bool:
    """Whether ``text`` is a relative path of plain names."""
    return len(text) <= _LONGEST_KEY and bool(_KEY.fullmatch(text))


def is_name(text: str) -> bool:
    """Whether ``text`` may stand as one part of a key."""
    return "/" not in text and bool(_KEY.fullmatch(text))


def pieces(data: Payload) -> Iterator[bytes]:
    """Any payload as a run of byte strings; files are read :data:`CHUNK` bytes at a time."""
    if isinstance(data, bytes):
        yield data
    elif isinstance(data, Path):
        with data.open("rb") as file:
            yield from _read(file)
    elif isinstance(data, io.IOBase):
        yield from _read(cast("BinaryIO", data))
    else:
        yield from data


def _read(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(CHUNK):
        yield piece
