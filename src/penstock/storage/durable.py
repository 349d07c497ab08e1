"""What a folder needs so that bytes survive a power cut: syncing files and the folders that name them.

Written on the system calls themselves: the error number decides between "full" and "broken", and obstore's local store
neither syncs nor passes the number on. It knows files and folders only, never keys.
"""

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from penstock.video.errors import StorageFull, StorageUnavailable

_log = structlog.get_logger(__name__)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_FSYNC: int | None = getattr(
    fcntl, "F_FULLFSYNC", None
)  # macOS: fsync alone leaves bytes in the drive's cache
_BEGIN_WRITING = (
    2  # SYNC_FILE_RANGE_WRITE of Linux's <fcntl.h>: begins, and neither waits nor takes note of errors
)
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turns the operating system's errors into ``StorageFull`` or ``StorageUnavailable``; the log keeps the number."""
    try:
        yield
    except OSError as error:
        _log.error("storage_fault", action=action, errno=error.errno, reason=error.strerror)
        if error.errno in _NO_ROOM:
            raise StorageFull("The storage has no room for this; free some space and try again.") from error
        raise StorageUnavailable("The storage did not complete the operation; try again later.") from error


def sync_file(descriptor: int) -> None:
    """Returns when the file's bytes and size are on stable storage.

    After a failure the bytes written since the last success are unknown (Linux drops the dirty pages): write them
    again, never sync again and believe it.
    """
    if _FULL_FSYNC is not None:
        fcntl.fcntl(descriptor, _FULL_FSYNC)
    else:
        os.fsync(descriptor)


def begin_sync(descriptor: int, offset: int, size: int) -> None:
    """Has the disk begin with bytes that were written, so that :func:`sync_file` finds less to wait for. It promises nothing.

    Left alone, the system keeps what it is given for seconds, and the disk rests until it is asked. Where a system has no such
    call, nothing happens; an error is :func:`sync_file`'s to tell, which this call cannot take from it.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, size, _BEGIN_WRITING)


def sync_folder(folder: Path) -> None:
    """Returns when the folder's entries (names made, renamed or removed) are on stable storage."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Writes every byte at the descriptor's position: one system call may take fewer than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
