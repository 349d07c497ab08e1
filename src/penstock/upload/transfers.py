"""The requests that carry bytes: they stream on the event loop, and do everything that may block in threads.

Whatever ends such a request (the client goes, the server stops, the disk is full), the right to write is given back and a
session that cannot be resumed is ended before the exception goes on.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager

import anyio
import structlog
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request

from penstock.access.principals import Principal
from penstock.catalog.records import Upload, UploadPart
from penstock.catalog.words import Transport
from penstock.upload import receiving
from penstock.upload.admission import excess
from penstock.upload.config import UploadConfig
from penstock.upload.outcomes import NewUpload, Outcome, StoreAnswer, account_of
from penstock.upload.receiving import SizeWrong
from penstock.upload.sessions import Sessions, Transfer
from penstock.upload.store_threads import StoreThreads
from penstock.video.errors import InvalidRequest, PenstockError, StorageFull

_log = structlog.get_logger()


class Transfers:
    """Receives bodies into sessions."""

    def __init__(self, sessions: Sessions, config: UploadConfig, threads: StoreThreads) -> None:
        self._sessions = sessions
        self._threads = threads
        self._config = config

    async def part(self, request: Request, upload_id: str, number: int, transport: Transport) -> UploadPart:
        """One part of a session, whole and durable. Nothing is noted unless every byte came."""
        right = self._sessions.receiving(upload_id, number, transport, announced_length(request))
        async with self._held(right) as transfer:
            await receiving.receive(
                self.pieces(request),
                transfer.writer,
                threads=self._threads,
                limit=transfer.part.size,
                begins=transfer.part.offset == 0,
                excess=SizeWrong(f"More than the part's {transfer.part.size} bytes arrived."),
                transport=transport,
                alive=self._signs_of_life(transfer),
            )
            return await self._threads.run(self._sessions.received_part, transfer)

    async def whole(
        self,
        principal: Principal,
        new: NewUpload,
        content: AsyncIterator[bytes],
        *,
        store_answer: StoreAnswer,
    ) -> Outcome:
        """An upload in one request: opened, received and completed, or ended."""

        def open_session() -> Outcome:
            return self._sessions.open(
                principal,
                new,
                store_answer=lambda tx, outcome: store_answer(tx, outcome) if outcome.duplicate else None,
            )

        opened = await run_sync(open_session)
        if opened.upload is None:
            return opened
        upload, received = opened.upload, False
        try:
            async with self._held(self._sessions.receiving_whole(upload)) as transfer:
                await receiving.receive(
                    content,
                    transfer.writer,
                    threads=self._threads,
                    limit=transfer.part.size,
                    begins=True,
                    excess=excess(transfer.part.size),
                    transport=upload.transport,
                    alive=self._signs_of_life(transfer),
                )
                receiving.check_size(transfer.writer.size, new.size)
                durable = await self._threads.run(transfer.writer.sync)
            received = True
            return await self._threads.run(
                lambda: self._sessions.completing.whole(upload, durable, store_answer=store_answer)
            )
        except BaseException as error:
            # A completion whose commit was not answered may have happened: then ending the session does nothing.
            why = _reason(error)
            with anyio.CancelScope(shield=True):
                await self._threads.run(
                    lambda: self._abandon(upload, account_of(principal), why, received=received)
                )
            raise

    def pieces(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body."""
        return receiving.pieces(request, self._config.idle_timeout_s)

    @asynccontextmanager
    async def _held(self, right: AbstractContextManager[Transfer]) -> AsyncIterator[Transfer]:
        """A blocking context manager, entered and left in threads; left even when the request is cancelled."""
        transfer = await self._threads.begin(right.__enter__)
        try:
            yield transfer
        finally:
            with anyio.CancelScope(shield=True):
                await self._threads.run(right.__exit__, None, None, None)

    def _abandon(self, upload: Upload, who: str, why: str, *, received: bool) -> None:
        try:
            try:
                self._sessions.abandon(upload, who=who, why=why, outcome=why)
            except StorageFull:
                if received:  # its completion may have been recorded
                    raise
                # These very bytes may be what fills the disk of the records.
                self._sessions.discard(upload)
                self._sessions.abandon(upload, who=who, why=why, outcome=why)
        except PenstockError as error:  # it expires by itself; the client is to learn what went wrong first
            _log.warning("upload_not_ended", upload_id=upload.id, code=error.code)

    def _signs_of_life(self, transfer: Transfer) -> Callable[[], Awaitable[None]]:
        last = time.monotonic()

        async def alive() -> None:
            nonlocal last
            if time.monotonic() - last >= self._config.sign_of_life_s:
                await run_sync(self._sessions.keep_alive, transfer)
                last = time.monotonic()

        return alive


def announced_length(request: Request) -> int | None:
    """The body's length where the client says it; the server has checked that it is a number and keeps to it."""
    length = request.headers.get("content-length")
    if length is None:
        return None
    if not length.isdigit():
        raise InvalidRequest("The Content-Length header is not a number.")
    return int(length)


def _reason(error: BaseException) -> str:
    if isinstance(error, PenstockError):
        return error.code
    return "client_gone" if isinstance(error, ClientDisconnect) else "interrupted"
