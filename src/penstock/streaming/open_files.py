"""The files of the objects that were asked for last, kept open: opening and closing them costs more than sending a small one.

The system keeps their bytes in its memory and sends them from there, so nothing is held twice. A file that was removed,
replaced or shortened is seen to be within a second. It knows files and digests, and nothing of requests or videos.
"""

import asyncio
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from penstock.http_server.files import OpenFile
from penstock.storage.store import ObjectMissing
from penstock.streaming.problems import ObjectDamaged
from penstock.streaming.publication import Item
from penstock.video.errors import StorageUnavailable

_COMPARED = (
    128 << 10
)  # bytes of an object that is compared with its digest when it is opened: half a microsecond for a kilobyte
_BELIEVED_S = (
    1.0  # how long the system is not asked again whether a file is still there and as long as it was
)
_TURN_S = 30.0  # a file is closed between once and twice this after it was asked for last
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux; elsewhere there is no asking without waiting


def most_open() -> int:
    """An eighth of the descriptors that this process may have: connections need the others."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(1024, soft // 8 if soft != resource.RLIM_INFINITY else 1024))


@dataclass(slots=True)
class Kept:
    """An object's file, the lines of the headers that describe it whole, and until when the file need not be looked at."""

    file: OpenFile
    head: bytes
    believed_until: float


def opened(path: Path, item: Item) -> OpenFile:
    """The object's file, as long as it was published. Calls to the local file system, whose answers are in memory: a thread costs more.

    Raises :class:`ObjectMissing`, :class:`ObjectDamaged` and :class:`StorageUnavailable`.
    """
    try:
        file = OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
        size = os.fstat(file.descriptor).st_size
    except FileNotFoundError:
        raise ObjectMissing("There is no such object.") from None
    except OSError as error:
        raise StorageUnavailable("The object store does not answer; try again.") from error
    if size != item.size:
        raise ObjectDamaged("What is stored is not what was published.")
    return file


class OpenFiles:
    """Those of the present and of the last half minute, or fewer where many are asked for. It belongs to one event loop.

    Who sends a file has it until the end, whatever becomes of it here. A file that nobody asks for is closed soon, since a removed
    one occupies the disk until it is.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """At most so many, roughly. ``clock`` gives seconds and never goes back."""
        self._most = most // 2
        self._clock = clock
        self._recent: dict[str, Kept] = {}
        self._before: dict[str, Kept] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._scratch = memoryview(bytearray(_COMPARED))

    def find(self, item: Item) -> Kept | None:
        """What is kept of an object, if its file is still there and as long as it was published."""
        kept = self._recent.get(item.key)
        if kept is None:
            kept = self._before.pop(item.key, None)
            if kept is None:
                return None
            self._keep(item.key, kept)
        now = self._clock()
        if now < kept.believed_until:
            return kept
        state = os.fstat(kept.file.descriptor)
        if state.st_size == item.size and state.st_nlink:
            kept.believed_until = now + _BELIEVED_S
            return kept
        del self._recent[item.key]
        return None

    def open(self, path: Path, item: Item, head: bytes) -> Kept:
        """Opens it, and keeps it. Raises as :func:`opened`; a small object is compared with its digest too."""
        file = opened(path, item)
        if self._differs(file, item):
            raise ObjectDamaged("What is stored is not what was published.")
        kept = Kept(file, head, self._clock() + _BELIEVED_S)
        self._keep(item.key, kept)
        return kept

    def _keep(self, key: str, kept: Kept) -> None:
        if len(self._recent) >= self._most:
            self._before, self._recent = self._recent, {}
        self._recent[key] = kept
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TURN_S, self._turn)

    def _turn(self) -> None:
        self._before, self._recent = self._recent, {}
        again = bool(self._before)
        self._timer = asyncio.get_running_loop().call_later(_TURN_S, self._turn) if again else None

    def _differs(self, file: OpenFile, item: Item) -> bool:
        """Whether a small object has other bytes than its digest, as far as the system has them in memory."""
        if item.size > _COMPARED or _NOWAIT is None:
            return False
        scratch = self._scratch[: item.size]
        try:
            read = os.preadv(file.descriptor, [scratch], 0, _NOWAIT)
        except OSError:
            return False  # the disk would have to be asked
        return read == item.size and not sha256(scratch).hexdigest().startswith(item.etag)
