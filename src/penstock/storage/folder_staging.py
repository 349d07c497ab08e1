"""Staging on a folder store: one growing file per upload, then one rename into the store.

Several requests, of any processes of the machine, may write different parts of one staged file at once; two on the same
part, or a part and the adoption, exclude each other by file locks, which end with the process that holds them. What a
staged name means, and which parts count as there, is the catalog's business.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from penstock.storage.durable import begin_sync, sync_file, sync_folder, translated, write_all
from penstock.storage.local import LocalStore
from penstock.storage.staging import Durable, Staged, StagingBusy, Transfer
from penstock.storage.store import CHUNK, KeyMalformed, ObjectMissing, is_name

_DATA = "data"
_GATE = "gate.lock"  # held shared by whoever writes a part, alone by whoever seals the file
_WORTH_BEGINNING = 8 << 20  # bytes, with which the disk begins while more of them come


class FilePartWriter:
    """Writes one range of a staged file from its beginning, hashing on the way. Made by :meth:`FolderStaging.writing`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._transfer = Transfer()
        self._start = 0  # of the range
        self._begun = 0  # bytes of it that the disk was told to begin with
        self.size = 0  # bytes written

    def seek(self, offset: int) -> None:
        """Where the range begins; before the first write."""
        with translated("stage"):
            self._start = os.lseek(self._descriptor, offset, os.SEEK_SET)

    def write(self, data: bytes | bytearray) -> None:
        """Append ``data`` to the range."""
        with self._transfer.used(), translated("stage"):
            write_all(self._descriptor, data)
            self._digest.update(data)
            self.size += len(data)
            if self.size - self._begun >= _WORTH_BEGINNING:
                begin_sync(self._descriptor, self._start + self._begun, self.size - self._begun)
                self._begun = self.size

    def sync(self) -> Durable:
        """See the port: the file says by itself how far it goes, so the mark is empty."""
        with self._transfer.used(), translated("stage"):
            sync_file(self._descriptor)
            return Durable(self.size, self._digest.hexdigest(), mark="")

    def close(self) -> None:
        """Waits for a write that a thread is in the middle of: its descriptor must not become another file's."""
        if self._transfer.end():
            os.close(self._descriptor)


class SealedFile:
    """A staged file that nobody else can write. Made by :meth:`FolderStaging.sealed`."""

    def __init__(self, store: LocalStore, path: Path, key: str | None, descriptor: int) -> None:
        self._store = store
        self._path = path
        self._key = key
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """Bytes, holes included."""
        with translated("stage"):
            return os.fstat(self._descriptor).st_size

    def digest(self) -> str:
        """The SHA-256 of the whole file in hexadecimal, by reading it once."""
        digest, position = hashlib.sha256(), 0
        while piece := self._read(position):
            digest.update(piece)
            position += len(piece)
        return digest.hexdigest()

    def adopt(self) -> None:
        """Sync the file and move it into the store. Raises :class:`ObjectMissing` where it was removed meanwhile."""
        if self._key is None:
            raise KeyMalformed("An upload that no record names cannot become an object.")
        with translated("stage"):
            sync_file(self._descriptor)
        self._store.adopt(self._path, self._key)

    def _read(self, position: int) -> bytes:
        with translated("stage"):
            return os.pread(self._descriptor, CHUNK, position)


class FolderStaging:
    """The ``Staging`` of one folder store."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._root = store.hidden_folder("staging")

    def create(self, name: str) -> None:
        """See the port: an empty file that will still be there after a power cut. One that exists is left as it is."""
        folder = self._folder(name)
        with translated("stage"):
            folder.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(folder / _DATA, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
            sync_folder(folder)
            sync_folder(self._root)

    exclusive = True

    @contextmanager
    def writing(
        self, staged: Staged, *, offset: int, whole: bool = False, alone: bool = False
    ) -> Iterator[FilePartWriter]:
        """See the port; here any ranges may be written at once and in any order, unless one is to be alone."""
        folder = self._folder(staged.name)
        with _lock(folder / _GATE, fcntl.LOCK_EX if alone else fcntl.LOCK_SH), ExitStack() as range_:
            if not alone:
                range_.enter_context(_lock(folder / f"{offset}.lock", fcntl.LOCK_EX))
            writer = FilePartWriter(_open(folder / _DATA, os.O_WRONLY | (os.O_TRUNC if whole else 0)))
            try:
                writer.seek(offset)
                yield writer
            finally:
                writer.close()

    @contextmanager
    def sealed(self, staged: Staged) -> Iterator[SealedFile]:
        """See the port: nobody writes the file meanwhile. Bytes beyond ``most`` were never counted, and are cut off."""
        folder = self._folder(staged.name)
        with _lock(folder / _GATE, fcntl.LOCK_EX):
            descriptor = _open(folder / _DATA, os.O_RDWR)
            try:
                _cut(descriptor, staged.most)
                yield SealedFile(self._store, folder / _DATA, staged.key, descriptor)
            finally:
                os.close(descriptor)

    def remove(self, staged: Staged) -> None:
        """See the port."""
        folder = self._folder(staged.name)
        with translated("stage"), suppress(FileNotFoundError):
            (folder / _DATA).unlink(missing_ok=True)  # first: from here on nobody can begin to write it
            while not _emptied(folder):
                pass  # a writer that came too late has just made its lock file

    def leftovers(self) -> Iterator[Staged]:
        """See the port; a folder does not know the keys."""
        with translated("stage"), os.scandir(self._root) as entries:
            names = [entry.name for entry in entries if is_name(entry.name)]
        yield from (Staged(name, None) for name in names)

    def free_bytes(self) -> int:
        """See the port."""
        return self._store.free_bytes()

    def _folder(self, name: str) -> Path:
        if not is_name(name):
            raise KeyMalformed("A staged upload's name does not follow the key layout.")
        return self._root / name


def _cut(descriptor: int, most: int) -> None:
    with translated("stage"):
        if 0 < most < os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, most)


def _emptied(folder: Path) -> bool:
    """Removes the folder and what is in it; False where something new appeared meanwhile."""
    for file in tuple(folder.iterdir()):
        file.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _open(path: Path, flags: int) -> int:
    with translated("stage"):
        try:
            return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise ObjectMissing("There is no such upload any more.", code="upload_missing") from None


@contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    """Holds ``path`` locked. ``flock`` belongs to the open file, so threads of one process exclude each other too."""
    descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    try:
        with translated("lock"):
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StagingBusy(
                    "Another request is writing this; try again in a moment.", retry_after=1
                ) from None
        yield
    finally:
        os.close(descriptor)
