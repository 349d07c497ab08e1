"""Objects of a remote store as files of this machine: fetched once, shared by all its processes, bounded.

An entry is filled under a lock that ends with whoever holds it, verified, and only then given its name, so a file that is
there is whole. What is in use is never removed: who holds an entry has its lock, and who was merely told its path (a server
opens the file after it was told) has a grace. Keys are never written twice, so nothing here grows stale.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from penstock.storage.durable import sync_file, translated, write_all
from penstock.storage.store import ObjectStore, check_key
from penstock.video.errors import StorageUnavailable

_log = structlog.get_logger(__name__)

_LOCK, _PART = ".lock", ".part"
_LOOK_AGAIN_S = 0.05  # while another process fetches the same object
_SCAN_SHARE = 20  # the folder is measured after each 1/20 of the limit that was fetched
_KEPT_SHARE = 0.9  # of the limit, after room was made
_TOUCH_S = 10  # an entry's last use is noted no more often


class ObjectDiffers(StorageUnavailable):
    """The store gave other bytes than the record says the object has. They were not kept."""

    code = "object_differs"


class DiskCache:
    """A folder of fetched objects. Any number of processes of one machine may share it."""

    def __init__(self, folder: Path, store: ObjectStore, limit: int, *, grace_s: float = 60) -> None:
        """``limit`` in bytes. The folder is made when something is fetched first."""
        self._folder = folder
        self._store = store
        self._limit = limit
        self._grace = grace_s
        self._unmeasured = (
            limit  # bytes fetched since the folder was measured; at first nobody knows what is there
        )

    def found(self, key: str, size: int) -> Path | None:
        """The entry if it is there, not to be removed within the grace. One call to the file system."""
        path = self._path(key)
        try:
            facts = path.stat()
        except FileNotFoundError:
            return None
        if facts.st_size != size:  # nobody of ours writes so
            return None
        if time.time() - facts.st_mtime > _TOUCH_S:
            with suppress(OSError):
                os.utime(path)
        return path

    def fetched(self, key: str, *, size: int, sha256: str) -> Path:
        """The entry, fetched if it is not there, as :meth:`found` gives it. ``sha256``: the digest, or how it begins.

        Raises :class:`ObjectDiffers` where the bytes are not those of ``size`` and ``sha256``, and the store's errors.
        """
        with self._locked(key, fcntl.LOCK_EX, lambda: None):
            return self.found(key, size) or self._fetch(key, size, sha256, lambda: None)

    @contextmanager
    def held(self, key: str, check: Callable[[], None]) -> Iterator[Path]:
        """The entry, fetched if it is not there, and kept until the block ends. ``check`` may raise to give up waiting."""
        path = self._path(key)
        while True:
            with self._locked(key, fcntl.LOCK_SH, check):
                if path.exists():
                    os.utime(path)
                    yield path
                    return
            with self._locked(key, fcntl.LOCK_EX, check):
                if not path.exists():
                    self._fetch(key, self._store.head(key).size, None, check)

    def _fetch(self, key: str, size: int, sha256: str | None, check: Callable[[], None]) -> Path:
        """To be called with the entry's lock."""
        self._make_room(size)
        path = self._path(key)
        part = path.with_name(path.name + _PART)
        digest, begun = hashlib.sha256(), time.monotonic()
        try:
            with translated("cache"):
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0):
                for piece in self._store.stream(key):
                    check()
                    digest.update(piece)
                    with translated("cache"):
                        write_all(descriptor, piece)
                with translated("cache"):
                    sync_file(descriptor)  # or a power cut could leave the name with other bytes
            _compare(part.stat().st_size, digest.hexdigest(), size, sha256)
            with translated("cache"):
                part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._unmeasured += size
        _log.debug("object_cached", bytes=size, seconds=round(time.monotonic() - begun, 3))
        return path

    def _make_room(self, size: int) -> None:
        """Removes what was used least recently, if what is fetched next may exceed the limit."""
        if (self._unmeasured + size) * _SCAN_SHARE < self._limit:
            return
        with translated("cache"):
            entries = sorted(
                (facts.st_mtime, facts.st_size, path) for path in self._entries() if (facts := _facts(path))
            )
        total, newest = sum(item[1] for item in entries) + size, time.time() - self._grace
        removed = 0
        for used, bytes_, path in entries:
            if total <= self._limit * _KEPT_SHARE or used > newest:
                break
            if self._removed(path):
                total -= bytes_
                removed += 1
        self._unmeasured = 0
        if removed:
            _log.info("cache_trimmed", removed=removed, bytes=total)

    def _entries(self) -> Iterator[Path]:
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if not path.name.endswith((_LOCK, _PART)):
                    yield path

    def _removed(self, path: Path) -> bool:
        lock = path.with_name(path.name + _LOCK)
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)  # who waits for it sees that it is not the one there any more
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _path(self, key: str) -> Path:
        return self._folder / hashlib.sha256(check_key(key).encode()).hexdigest()[:40]

    @contextmanager
    def _locked(self, key: str, kind: int, check: Callable[[], None]) -> Iterator[None]:
        path = self._path(key)
        lock = path.with_name(path.name + _LOCK)
        descriptor = -1
        try:
            while descriptor < 0:
                check()
                with translated("cache"):
                    descriptor = self._try(lock, kind)
                if descriptor < 0:
                    time.sleep(_LOOK_AGAIN_S)
            yield
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _try(self, lock: Path, kind: int) -> int:
        """A descriptor that holds the lock, or -1 for another try."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == lock.stat().st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return -1


def _compare(size: int, digest: str, expected: int, sha256: str | None) -> None:
    if size != expected or not digest.startswith(sha256 or ""):
        raise ObjectDiffers("The object store gave other bytes than were recorded.")


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # another process makes room too
        return None
