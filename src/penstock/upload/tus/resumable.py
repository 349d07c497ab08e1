"""What a resumable upload does to records and bytes: one writer at a time, and an offset that only durable bytes move.

Blocking code. The order is that of every upload: bytes are synced, then the record says so, then the client is told. So
after any crash the recorded offset is one below which every byte is as it was sent; what was written beyond is written
over. It knows no HTTP, and nothing of who waits for whom.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from penstock import faults
from penstock.catalog import Catalog, uploads
from penstock.catalog.records import Upload
from penstock.catalog.words import Transport, UploadState
from penstock.faults import Point
from penstock.storage.staging import Durable, PartWriter, Staging, StagingBusy
from penstock.storage.store import ObjectMissing
from penstock.upload.config import UploadConfig
from penstock.upload.outcomes import Outcome, staged
from penstock.upload.receiving import DigestWrong
from penstock.upload.sessions import Sessions
from penstock.upload.tus import protocol
from penstock.upload.tus.protocol import Locked, Patch, Standing
from penstock.video.errors import Conflict, NotFound


@dataclass(slots=True)
class Writing:
    """The right to write an upload from ``upload.received`` on, until :meth:`Resumable.end`."""

    upload: Upload  # as it stood when the right was given, or when bytes were last counted
    token: str
    writer: PartWriter
    begun: int  # where the writer began
    right: ExitStack
    durable: Durable | None = None

    @property
    def uncounted(self) -> int:
        """Bytes that were written and not recorded."""
        return self.begun + self.writer.size - self.upload.received


class Resumable:
    """The rules of uploads that go on where they were."""

    def __init__(
        self, *, catalog: Catalog, staging: Staging, sessions: Sessions, config: UploadConfig
    ) -> None:
        self._catalog = catalog
        self._staging = staging
        self._sessions = sessions
        self._config = config

    def standing(self, upload: Upload) -> Standing:
        """How it stands, by its record. Raises :class:`Gone` where it was cancelled or has expired."""
        raw = (upload.transport_data or {}).get("metadata", "")
        if upload.state is UploadState.COMPLETED:
            return Standing(upload.received, upload.size, None, raw)
        with self._catalog.read() as tx:
            uploads.require_open(tx, upload)
        return Standing(upload.received, upload.size, upload.expires_at, raw)

    def begin(self, upload_id: str, token: str, *, insist: bool) -> Writing:
        """The right to write, for the request that ``token`` names.

        Raises :class:`StagingBusy` while another has it. With ``insist`` it was asked to let go, and had its time: where
        nothing else shows whether it lives, it is passed over, and its progress no longer counts.
        """
        upload = self.check_free(upload_id, insist=insist)
        with ExitStack() as right:
            writer = self._alone(right, upload)
            with self._catalog.write() as tx:
                now = uploads.lock(tx, upload_id)
                if (now.received, now.staged) != (upload.received, upload.staged):
                    raise _busy()  # it moved while we came: begin again
                taken = uploads.take(tx, upload_id, token, life_ms=self._life_ms)
            writing = Writing(taken, token, writer, taken.received, ExitStack())
            right.enter_context(self._sessions.admission.flowing(lambda: writing.uncounted))
            writing.right = right.pop_all()
            return writing

    def check_free(self, upload_id: str, *, insist: bool) -> Upload:
        """The upload, where by its record alone nobody is in the way; raises as :meth:`begin`."""
        with self._catalog.read() as tx:
            upload = uploads.get(tx, upload_id)
            uploads.require_open(tx, upload)
        if upload.writer is not None and not self._staging.exclusive and not insist:
            raise _busy()
        return upload

    def accept(self, writing: Writing, asked: Patch, announced: int | None) -> int:
        """Checks a request against how the upload stands; the most bytes that it may bring.

        Raises :class:`OffsetDiffers`, ``wrong_size``, ``storage_full`` and what the protocol refuses.
        """
        standing = self.standing(writing.upload)
        most = self._sessions.most(writing.upload)
        room = protocol.check_offset(asked, standing, announced, max_size=most)
        length = protocol.settle_length(asked, standing)
        self._sessions.admission.check_room(announced or 0)
        if length is not None and writing.upload.size is None:
            with self._catalog.write() as tx:
                self._sessions.admission.settle(tx, writing.upload.owner_id, writing.upload.id, length)
                writing.upload = uploads.declare_size(tx, writing.upload.id, length)
        return room

    def keep(self, writing: Writing) -> None:
        """Makes durable what has been written, and counts it."""
        faults.reach(Point.UPLOAD_WRITTEN)
        durable = writing.writer.sync()
        faults.reach(Point.UPLOAD_SYNCED)
        try:
            with self._catalog.write() as tx:
                writing.upload = uploads.advance_offset(
                    tx,
                    writing.upload.id,
                    expected=writing.upload.received,
                    received=writing.begun + durable.size,
                    staged=durable.mark,
                    writer=writing.token,
                    life_ms=self._life_ms,
                )
        except Conflict as error:
            if error.code == "upload_offset_mismatch":
                raise taken_over() from None
            raise
        writing.durable = durable
        faults.reach(Point.UPLOAD_PART_RECORDED)

    def end(self, writing: Writing) -> None:
        """Gives the right back. What was not kept is forgotten."""
        with writing.right, self._catalog.write() as tx:
            uploads.let_go(tx, writing.upload.id, writing.token)

    def complete(self, upload: Upload, durable: Durable | None = None) -> Outcome:
        """Makes an upload all of whose bytes are there a source; repeating it gives the same answer.

        ``durable`` is what the last writer knows. Raises ``wrong_digest``, after which the upload has ended: bytes that
        were counted cannot be sent again. Raises :class:`StagingBusy` while another request is completing it.
        """
        digest = durable.sha256 if durable is not None and durable.size == upload.size else None
        who = f"account:{upload.owner_id}"
        try:
            return self._sessions.completing.in_order(upload, digest, who=who)
        except DigestWrong as error:
            self._sessions.abandon(upload, who=who, why=error.code, outcome=error.code)
            raise

    def ask(self, upload_id: str) -> None:
        """Asks whoever writes to let go, wherever it runs."""
        with self._catalog.write() as tx:
            uploads.ask(tx, upload_id)

    def wanted(self, writers: Mapping[str, tuple[str, int]]) -> set[str]:
        """Which uploads their writers should let go, see :func:`uploads.wanted`."""
        with self._catalog.read() as tx:
            return uploads.wanted(tx, writers)

    def _alone(self, right: ExitStack, upload: Upload) -> PartWriter:
        known = staged(upload, self._config)
        try:
            return right.enter_context(self._staging.writing(known, offset=upload.received, alone=True))
        except ObjectMissing:
            raise self._sessions.completing.missing(upload) from None

    @property
    def _life_ms(self) -> int:
        return self._config.session_life_s * 1000


def of_this_kind(upload: Upload) -> Upload:
    """``upload`` itself, where its bytes come in this way. Raises ``upload_not_found``."""
    if upload.transport is not Transport.TUS:
        raise NotFound("There is no such upload.", code="upload_not_found")
    return upload


def taken_over() -> Locked:
    """What a writer is told that was asked to let go, or was passed over."""
    return Locked(
        "Another request goes on with this upload; ask where it stands.",
        code="upload_taken_over",
        retry_after=1,
    )


def _busy() -> StagingBusy:
    return StagingBusy("Another request is writing this; try again in a moment.", retry_after=1)
