"""The requests that bring bytes of a resumable upload: they stream on the event loop, and block in threads.

Whatever ends such a request, what came is made durable and counted before the right to write is given back: unless its
client sent a checksum, which says something of all of its bytes or of none.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import structlog
from anyio.to_thread import run_sync

from penstock.catalog.records import Upload
from penstock.ffmpeg.sniff import HEAD
from penstock.storage.staging import Durable, StagingBusy
from penstock.upload import metrics
from penstock.upload.config import UploadConfig
from penstock.upload.outcomes import Outcome
from penstock.upload.receiving import Gathered, SizeWrong, check_type
from penstock.upload.store_threads import StoreThreads
from penstock.upload.tus.handover import Hold, Holds
from penstock.upload.tus.protocol import Checksum, Locked, Patch
from penstock.upload.tus.resumable import Resumable, Writing
from penstock.video import identity
from penstock.video.errors import PenstockError

T = TypeVar("T")
_log = structlog.get_logger()

_AGAIN_S = 0.05  # between two tries for a right that another has


@dataclass(frozen=True, slots=True)
class Arrived:
    """How an upload stands after a request; ``outcome`` once it is complete."""

    upload: Upload
    outcome: Outcome | None = None


class ResumableTransfers:
    """Receives bodies into uploads that go on where they were."""

    def __init__(
        self, resumable: Resumable, holds: Holds, config: UploadConfig, threads: StoreThreads
    ) -> None:
        self._resumable = resumable
        self._holds = holds
        self._threads = threads
        self._config = config

    async def receive(
        self, upload: Upload, asked: Patch, pieces: AsyncIterator[bytes], announced: int | None
    ) -> Arrived:
        """One request's bytes. Whole or not, what came and is durable counts; see :class:`Resumable` for what is refused."""
        async with self._writing(upload.id) as (writing, hold):
            room = await run_sync(self._resumable.accept, writing, asked, announced)
            await self._fill(writing, hold, pieces, room, asked.checksum)
        return await self.settled(writing.upload, writing.durable)

    async def settled(self, upload: Upload, durable: Durable | None = None) -> Arrived:
        """How an upload stands that nobody writes; it is completed where all its bytes are there."""
        if upload.size is None or upload.received < upload.size:
            return Arrived(upload)
        with anyio.CancelScope(shield=True):  # the bytes are all there, whether their client is or not
            outcome = await self._when_free(
                upload.id, lambda _: self._threads.begin(self._resumable.complete, upload, durable)
            )
        return Arrived(upload, outcome)

    async def free(self, upload: Upload) -> None:
        """Returns when nobody writes the upload, having asked whoever does to let go. Raises :class:`Locked`."""
        async with self._writing(upload.id):
            pass

    @asynccontextmanager
    async def _writing(self, upload_id: str) -> AsyncIterator[tuple[Writing, Hold]]:
        token = identity.new_id()

        async def begin(late: bool) -> Writing:  # noqa: FBT001 - as it is called
            check = partial(self._resumable.check_free, upload_id, insist=late)
            await run_sync(check)  # the records alone are asked, until nobody is in the way
            return await self._threads.begin(partial(self._resumable.begin, upload_id, token, insist=late))

        writing = await self._when_free(upload_id, begin)
        try:
            with self._holds.holding(upload_id, token, writing.upload.asked) as hold:
                yield writing, hold
        finally:
            with anyio.CancelScope(shield=True):
                await self._threads.run(self._resumable.end, writing)

    async def _when_free(self, upload_id: str, attempt: Callable[[bool], Awaitable[T]]) -> T:
        """What ``attempt`` gives once no other request is in its way; it is told when patience is over."""
        deadline, asked = time.monotonic() + self._config.let_go_s, False
        while True:
            late = time.monotonic() >= deadline
            try:
                return await attempt(late)
            except StagingBusy:
                if late:
                    raise Locked(
                        "Another request is writing this upload and does not let go; come back shortly.",
                        retry_after=1,
                    ) from None
            if not self._holds.ask(upload_id) and not asked:
                await run_sync(self._resumable.ask, upload_id)
                asked = True
            await anyio.sleep(_AGAIN_S)

    async def _fill(
        self,
        writing: Writing,
        hold: Hold,
        pieces: AsyncIterator[bytes],
        room: int,
        checksum: Checksum | None,
    ) -> None:
        filling = _Filling(writing, self._resumable, room, checksum)
        counter = metrics.RECEIVED_BYTES.labels(writing.upload.transport)
        counted_at = time.monotonic()
        try:
            with metrics.TRANSFERS.track_inprogress():
                async with self._threads.behind() as behind:
                    while (piece := await hold.next_of(pieces)) is not None:
                        counter.inc(len(piece))
                        filling.add(piece)
                        if time.monotonic() - counted_at >= self._config.sign_of_life_s:
                            await behind.run(filling.count, filling.take())
                            counted_at = time.monotonic()
                        elif filling.is_full:
                            await behind.run(filling.write, filling.take())
                        elif filling.can_be_judged:
                            await behind.run(filling.write, filling.take())
                            await behind.settle()  # a client that sends no video is told at once
                    await behind.run(filling.finish, filling.take())
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._threads.run(filling.rescue, filling.take())
            raise


class _Filling:
    """The bytes of one request on their way into a writer: gathered by the event loop, given to it by one thread at a time."""

    def __init__(self, writing: Writing, resumable: Resumable, room: int, checksum: Checksum | None) -> None:
        self._writing = writing
        self._resumable = resumable
        self._room = room
        self._checksum = checksum
        self._running = None if checksum is None else checksum.begin()
        self._gathered = Gathered()
        self._taken = writing.writer.size  # what the writer has or is being given
        self._broken = False  # a write failed: what the writer holds is not known any more

    # -- in the event loop

    @property
    def is_full(self) -> bool:
        return self._gathered.is_full

    @property
    def can_be_judged(self) -> bool:
        """Whether these are the file's first bytes, enough of them to tell what it is."""
        return self._writing.begun == self._taken == 0 and self._gathered.size >= HEAD

    def add(self, piece: bytes) -> None:
        if self._taken + self._gathered.size + len(piece) > self._room:
            raise SizeWrong(f"More than the {self._room} bytes arrived that were missing.")
        self._gathered.add(piece)

    def take(self) -> Gathered:
        """What was gathered, for the next call."""
        taken, self._gathered = self._gathered, Gathered()
        self._taken += taken.size
        return taken

    # -- in a thread

    def write(self, gathered: Gathered) -> None:
        if not gathered.size:
            return
        self._broken = (
            True  # what is gathered after bytes that were not written must not follow those before them
        )
        if self._writing.begun == self._writing.writer.size == 0:
            check_type(gathered.head)
        gathered.write_to(self._writing.writer)
        self._broken = False
        if self._running is not None:
            for piece in gathered.pieces:
                self._running.update(piece)

    def count(self, gathered: Gathered) -> None:
        """Counts what came so far, unless it is to be checked first."""
        self.write(gathered)
        if self._running is None:
            self._keep()

    def finish(self, gathered: Gathered) -> None:
        """After the last byte."""
        self.write(gathered)
        if self._checksum is not None and self._running is not None:
            self._checksum.check(self._running)
        self._keep()

    def rescue(self, gathered: Gathered) -> None:
        """After the request ended otherwise: what came is kept if it can be. Whatever goes wrong now is not the reason."""
        try:
            if self._running is None and not self._broken:
                self.write(gathered)
                self._keep()
        except PenstockError as error:
            _log.warning("bytes_not_kept", upload_id=self._writing.upload.id, code=error.code)

    def _keep(self) -> None:
        if self._writing.uncounted and not self._broken:
            self._broken = True  # after a failed sync nothing is believed
            self._resumable.keep(self._writing)
            self._broken = False
