"""The staging port: where the bytes of an upload lie until they are whole, and become one object in one step.

Two adapters: ``folder_staging`` (one growing file, then a rename) and ``bucket_staging`` (S3 multipart and a kept tail).
What is durable is known to the caller's record alone: after every :meth:`PartWriter.sync` it stores the new ``mark`` in
the same transaction as the size, and hands it back later, on any node. It knows nothing of videos, HTTP or transactions.

How a resumable transport goes on at ``offset``, which its record holds (tus)::

    staged = Staged(upload.id, upload.source_key, most, upload.staged)
    with staging.writing(staged, offset=upload.received, alone=True) as writer:
        writer.write(...)                       # any sizes, as they arrive; memory stays bounded
        durable = writer.sync()                 # as often as wanted; at a disconnect too: what came is kept
        uploads.advance_offset(tx, ..., expected=..., received=upload.received + durable.size, staged=durable.mark)

Where two nodes write from the same offset, the record's compare-and-swap decides whose mark counts; what the other wrote
is never referred to and goes with :meth:`Staging.remove`. The folder adapter lets only one of them write at all
(:class:`StagingBusy`).
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from penstock.video.errors import Cancelled, Conflict


class StagingBusy(Conflict):
    """Someone else writes this part, or writes while it should be sealed. Nothing was changed; come back shortly."""

    code = "upload_busy"


@dataclass(frozen=True, slots=True)
class Staged:
    """An unfinished upload as its record remembers it."""

    name: str
    """A single part of a key: the upload's id."""

    key: str | None
    """The object that the bytes will become; None where no record says, as for what a crash left behind."""

    most: int = 0
    """Bytes that may come at most: the declared size, else the limit. A bucket sizes its parts by it. 0: none will."""

    mark: str = ""
    """What the adapter must be told of the bytes that are durable; opaque, empty at the beginning, below 500 characters."""


@dataclass(frozen=True, slots=True)
class Durable:
    """What :meth:`PartWriter.sync` made durable: bytes since the writer began, their SHA-256, and the mark to record."""

    size: int
    sha256: str
    mark: str


class Transfer:
    """What both adapters' writers are: used by one thread at a time, and by none once it has ended, whoever ended it."""

    def __init__(self) -> None:
        self._use = threading.Lock()
        self._ended = False

    @contextmanager
    def used(self) -> Iterator[None]:
        """A block that :meth:`end` waits for. Raises ``transfer_ended``."""
        with self._use:
            if self._ended:
                raise Cancelled("The transfer has ended.", code="transfer_ended")
            yield

    def fail(self) -> None:
        """Within :meth:`used`: the last use."""
        self._ended = True

    def end(self) -> bool:
        """Waits for who uses it. Whether it had not ended before."""
        with self._use:
            before, self._ended = self._ended, True
            return not before


class PartWriter(Protocol):
    """Writes one range of an upload from its beginning, hashing on the way. Blocking; one thread at a time."""

    size: int  # bytes written since the writer began

    def write(self, data: bytes | bytearray) -> None:
        """Append ``data`` to the range."""

    def sync(self) -> Durable:
        """Returns once all that was written is durable, to be found again by the mark that it returns."""

    def close(self) -> None:
        """Ends it; what was not synced is lost. Waits for a write under way."""


class Sealed(Protocol):
    """A staged upload that nobody writes any more, to be adopted."""

    @property
    def size(self) -> int:
        """Bytes, holes included."""

    def digest(self) -> str | None:
        """The SHA-256 of the whole in hexadecimal, by reading it once; None where it can be read only once adopted."""

    def adopt(self) -> None:
        """Make it the object ``Staged.key``. Durable when it returns; where that had been done before, it is done again.

        Raises ``ObjectMissing`` where the bytes are gone, and ``StagedDiffers`` where they are not those of the mark.
        """


class StagedDiffers(Conflict):
    """The staged bytes are others than the record's mark says: another client wrote over them. Nothing was adopted."""

    code = "parts_differ"


class Staging(Protocol):
    """The staged uploads that belong to one store of sources.

    Raises ``KeyMalformed``, ``StorageFull`` and ``StorageUnavailable``.
    """

    def create(self, name: str) -> None:
        """Makes a place for the bytes where one is needed, before the record of the upload. Repeating it is harmless."""

    exclusive: bool
    """Whether ``alone`` keeps others from writing, on this machine and on any other, and lets go of what died."""

    def writing(
        self, staged: Staged, *, offset: int, whole: bool = False, alone: bool = False
    ) -> AbstractContextManager[PartWriter]:
        """A writer from ``offset`` on; ``whole`` first forgets all that is there, for an upload in a single part.

        ``alone``: nobody else may write any other range meanwhile, if the adapter is ``exclusive``.
        A bucket writes in one sequence: there ``offset`` is 0 with ``whole``, or where the mark's bytes end.
        Raises :class:`StagingBusy` where another writer is known to have the same offset or the upload is sealed, and
        ``ObjectMissing`` where it was never created, was removed or was adopted.
        """

    def sealed(self, staged: Staged) -> AbstractContextManager[Sealed]:
        """The whole of what the mark says. Raises as :meth:`writing` does."""

    def remove(self, staged: Staged) -> None:
        """Forget it, whoever is writing it. One that is missing is no error."""

    def leftovers(self) -> Iterator[Staged]:
        """All that is staged, in no order, without marks: what a collector compares with the records."""

    def free_bytes(self) -> int | None:
        """Room left for staged bytes; None where the store sets no such bound."""
