"""Where uploads lie on a folder store until they are whole: one growing file each, then one rename into the store.

Several requests, of any processes of the machine, may write different parts of one staged file at once; two on the same
part, or a part and the adoption, exclude each other by file locks, which end with the process that holds them. What a
staged name means, and which parts count as there, is the catalog's business.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from penstock.storage.durable import sync_file, sync_folder, translated, write_all
from penstock.storage.local import LocalStore
from penstock.storage.store import CHUNK, KeyMalformed, ObjectInfo, ObjectMissing, is_name
from penstock.video.errors import Conflict

_DATA = "data"
_GATE = "gate.lock"  # held shared by whoever writes a part, alone by whoever seals the file


class StagingBusy(Conflict):
    """Someone else writes this part, or writes while it should be sealed. Nothing was changed; come back shortly."""

    code = "upload_busy"


class PartWriter:
    """Writes one range of a staged file from its beginning, hashing on the way. Made by :meth:`Staging.writing`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self.size = 0  # bytes written

    def write(self, data: bytes | bytearray) -> None:
        """Append ``data`` to the range."""
        with translated("stage"):
            write_all(self._descriptor, data)
        self._digest.update(data)
        self.size += len(data)

    def sync(self) -> str:
        """Returns, once all that was written is durable, its SHA-256 in hexadecimal."""
        with translated("stage"):
            sync_file(self._descriptor)
        return self._digest.hexdigest()


class SealedFile:
    """A staged file that nobody else can write. Made by :meth:`Staging.sealed`."""

    def __init__(self, store: LocalStore, path: Path) -> None:
        self._store = store
        self._path = path

    @property
    def size(self) -> int:
        """Bytes, holes included."""
        with translated("stage"):
            return self._path.stat().st_size

    def digest(self) -> str:
        """The SHA-256 of the whole file in hexadecimal, by reading it once."""
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(CHUNK))
        with translated("stage"), self._path.open("rb", buffering=0) as file:
            while read := file.readinto(buffer):
                digest.update(buffer[:read])
        return digest.hexdigest()

    def adopt(self, key: str) -> ObjectInfo:
        """Sync the file and move it into the store under ``key``. Durable when it returns."""
        with translated("stage"):
            descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                sync_file(descriptor)
            finally:
                os.close(descriptor)
        return self._store.adopt(self._path, key)


class Staging:
    """The staged files of one folder store. Names are single parts of a key: upload ids."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._root = store.hidden_folder("staging")

    def create(self, name: str) -> None:
        """An empty staged file that will still be there after a power cut. One that exists is left as it is."""
        folder = self._folder(name)
        with translated("stage"):
            folder.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(folder / _DATA, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
            sync_folder(folder)
            sync_folder(self._root)

    @contextmanager
    def writing(self, name: str, *, offset: int, whole: bool = False) -> Iterator[PartWriter]:
        """A writer from ``offset`` on; ``whole`` first empties the file, for an upload in a single part.

        Raises :class:`StagingBusy` while another writer has the same offset or the file is sealed, and
        :class:`ObjectMissing` where the name was never created, was removed or was adopted.
        """
        folder = self._folder(name)
        with _lock(folder / _GATE, fcntl.LOCK_SH), _lock(folder / f"{offset}.lock", fcntl.LOCK_EX):
            descriptor = _open(folder / _DATA, os.O_WRONLY | (os.O_TRUNC if whole else 0))
            try:
                with translated("stage"):
                    os.lseek(descriptor, offset, os.SEEK_SET)
                yield PartWriter(descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def sealed(self, name: str) -> Iterator[SealedFile]:
        """The whole file, while nobody writes it. Raises as :meth:`writing` does."""
        folder = self._folder(name)
        with _lock(folder / _GATE, fcntl.LOCK_EX):
            os.close(_open(folder / _DATA, os.O_RDONLY))
            yield SealedFile(self._store, folder / _DATA)

    def remove(self, name: str) -> None:
        """Forget a staged file, whoever is writing it. One that is missing is no error."""
        folder = self._folder(name)
        with translated("stage"), suppress(FileNotFoundError):
            (folder / _DATA).unlink(missing_ok=True)  # first: from here on nobody can begin to write it
            while not _emptied(folder):
                pass  # a writer that came too late has just made its lock file

    def names(self) -> Iterator[str]:
        """The names of all staged files, in no order: what a collector compares with the records."""
        with translated("stage"), os.scandir(self._root) as entries:
            names = [entry.name for entry in entries if is_name(entry.name)]
        yield from names

    def free_bytes(self) -> int:
        """Room left for staged files, in bytes."""
        return self._store.free_bytes()

    def _folder(self, name: str) -> Path:
        if not is_name(name):
            raise KeyMalformed("A staged upload's name does not follow the key layout.")
        return self._root / name


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
