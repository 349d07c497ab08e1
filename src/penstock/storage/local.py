"""The folder adapter: each object is one file below a root folder.

An object is written under a temporary name, synced, renamed into place, and the folders that name it are synced; only
then does ``put`` return. Nothing follows a symbolic link below the root. It knows nothing of uploads but for the hidden
folder that ``staging`` keeps in the same file system, so that adopting a finished upload is one rename.
"""

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from penstock import faults
from penstock.faults import Point
from penstock.storage.durable import sync_file, sync_folder, translated, write_all
from penstock.storage.store import (
    CHUNK,
    KeyMalformed,
    ObjectInfo,
    ObjectMissing,
    Payload,
    check_key,
    is_name,
    pieces,
)
from penstock.video.errors import ConfigurationError, StorageUnavailable

_log = structlog.get_logger(__name__)

_TEMPORARY = "tmp"
_REMEMBERED = 10_000  # folders known to be synced; forgetting them costs a sync, nothing else
_ABANDONED_AFTER_S = 24 * 3600  # a file still being written is touched far more often than this


class LocalStore:
    """An ``ObjectStore`` in a folder. Any number of processes of one machine may share the folder."""

    def __init__(self, root: Path) -> None:
        """``root`` is made (readable by its owner alone) if it is missing; files that a dead process left are removed."""
        with translated("open"):
            if not root.is_dir():
                # Another process may start at the same moment, and have made it since.
                root.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(root.parent)
            self.root = root.resolve(strict=True)
            self._temporary = self.hidden_folder(_TEMPORARY)
            self._synced: set[Path] = (
                set()
            )  # folders whose own entry this process has synced, all the way to the root
            self._sweep()

    def put(self, key: str, data: Payload) -> int:
        """See the port."""
        target = self._path(key)
        temporary = self._temporary / secrets.token_hex(16)
        try:
            with translated("put"):
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                for piece in pieces(data):  # what the caller's own iterator raises is passed on as it is
                    with translated("put"):
                        write_all(descriptor, piece)
                with translated("put"):
                    sync_file(descriptor)
                    size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            faults.reach(Point.OBJECT_SYNCED)
            with translated("move"):
                self._move(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return size

    def adopt(self, file: Path, key: str) -> ObjectInfo:
        """Take over a synced file of the same file system as the object ``key``, by one rename. Durable when it returns.

        Raises :class:`ObjectMissing` where somebody removed it before or meanwhile, under either name.
        """
        target = self._path(key)
        with translated("adopt"), _missing_is_missing():
            info = _info(key, file.lstat())
            self._move(file, target)
        return info

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """See the port."""
        return b"".join(self.stream(key, start=start, end=end))

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        if start < 0 or (end is not None and end < start):
            raise ValueError(f"not a range: {start}..{end}")
        with self._opened(key) as (descriptor, size):
            position, last = start, size if end is None else min(end, size)
            while position < last:
                with translated("read"):
                    piece = os.pread(descriptor, min(CHUNK, last - position), position)
                    if not piece:
                        raise OSError(errno.EIO, "the file became shorter while it was read")
                position += len(piece)
                yield piece

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        path = self._path(key)
        with translated("head"), _missing_is_missing():
            return _info(key, path.lstat())

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """See the port. Memory is bounded by the largest single folder."""
        yield from self._walk("", prefix, start_after or "")

    def delete(self, keys: Iterable[str]) -> None:
        """See the port. Folders that become empty go too."""
        with translated("delete"):
            for key in keys:
                path = self._path(key)
                path.unlink(missing_ok=True)
                self._prune(path.parent)

    def local_path(self, key: str) -> Path:
        """See the port. The file may be missing; one that is there is no link and lies below no link."""
        return self._path(key)

    def free_bytes(self) -> int:
        """See the port: what an unprivileged process may still write to the folder's file system."""
        with translated("free"):
            return shutil.disk_usage(self.root).free

    def hidden_folder(self, name: str) -> Path:
        """A folder beside the objects that no key can name (``.name``), from which a file becomes an object by a rename.

        Raises :class:`ConfigurationError` where it is on another file system, as a mount or a link could make it.
        """
        folder = self.root / f".{name}"
        with translated("open"):
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.root)  # also when it was there: whoever made it may have died before
            if folder.stat().st_dev != self.root.stat().st_dev:
                raise ConfigurationError(
                    f"The folder .{name} of the storage is on another file system; it must be on the same.",
                    code="storage_divided",
                )
        return folder

    def _path(self, key: str) -> Path:
        path = f"{self.root}/{check_key(key)}"
        if os.path.realpath(path) != path:
            _log.error("storage_link_refused", key=key)
            raise StorageUnavailable("The storage holds a link where its own folders and files belong.")
        return Path(path)

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, int]]:
        """A descriptor of the object and the object's size."""
        path = self._path(key)
        with translated("open"), _missing_is_missing():
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield descriptor, _info(key, os.fstat(descriptor)).size
        finally:
            os.close(descriptor)

    def _move(self, file: Path, target: Path) -> None:
        """Rename ``file`` to ``target`` and sync every folder whose entries this needed. Raises the system's errors."""
        while True:
            try:
                self._make_folders(target.parent)
                file.rename(target)
                break
            except FileNotFoundError:
                if not file.exists():
                    raise
                # Otherwise a deletion has just pruned a folder that was empty until now: make it again.
            except (IsADirectoryError, NotADirectoryError):
                raise KeyMalformed("One object key is a folder of another.") from None
        faults.reach(Point.OBJECT_NAMED)
        sync_folder(target.parent)
        faults.reach(Point.OBJECT_STORED)

    def _make_folders(self, folder: Path) -> None:
        """``folder`` and its parents up to the root exist, and so they will after a power cut."""
        if folder == self.root or (folder in self._synced and folder.is_dir()):
            return
        self._make_folders(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o755)
        sync_folder(
            folder.parent
        )  # also when it was there: another process may have made it and not synced it yet
        if len(self._synced) >= _REMEMBERED:
            self._synced.clear()
        self._synced.add(folder)

    def _prune(self, folder: Path) -> None:
        while folder != self.root:
            self._synced.discard(folder)
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone already
                return
            folder = folder.parent

    def _walk(self, folder: str, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """``folder`` is empty or ends with a slash; names sort as their keys do: a folder counts with its slash."""
        for name, entry in _entries(self.root, folder):
            key = folder + name
            if name.endswith("/"):
                related = key.startswith(prefix) or prefix.startswith(key)
                if related and (key > start_after or start_after.startswith(key)):
                    yield from self._walk(key, prefix, start_after)
            elif key.startswith(prefix) and key > start_after:
                with suppress(FileNotFoundError):  # deleted since the folder was read
                    yield _info(key, entry.stat(follow_symlinks=False))

    def _sweep(self) -> None:
        oldest = time.time() - _ABANDONED_AFTER_S
        for file in self._temporary.iterdir():
            with suppress(FileNotFoundError):  # another process sweeps too
                if file.lstat().st_mtime < oldest:
                    file.unlink()


def _entries(root: Path, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    """The folder's plain files and, with a slash, its folders, in the order of the keys that they stand for."""
    found = []
    with (
        translated("list"),
        suppress(FileNotFoundError, NotADirectoryError),
        os.scandir(root / folder) as entries,
    ):
        for entry in entries:
            if is_name(entry.name):
                if entry.is_dir(follow_symlinks=False):
                    found.append((entry.name + "/", entry))
                elif entry.is_file(follow_symlinks=False):
                    found.append((entry.name, entry))
    return sorted(found, key=lambda item: item[0])


@contextmanager
def _missing_is_missing() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ObjectMissing("There is no such object.") from None


def _info(key: str, facts: os.stat_result) -> ObjectInfo:
    if not stat.S_ISREG(facts.st_mode):
        raise ObjectMissing("There is no such object.")
    return ObjectInfo(key, facts.st_size, facts.st_mtime_ns // 1_000_000)
