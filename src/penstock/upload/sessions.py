"""Upload sessions: from "may I send this" to a durable source and the record that acknowledges it.

Blocking code, called off the event loop. The order of its steps is the promise of this service: bytes are durable, then
one transaction makes the video ``uploaded`` and queues its first task, then processing is told, then the client. A crash
between two steps leaves an open session that may be completed again or will be collected, never a record without bytes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection

from penstock import faults
from penstock.access.authorize import Action, authorize
from penstock.access.principals import Principal
from penstock.catalog import Catalog, uploads, videos
from penstock.catalog.records import Upload, UploadPart, Video
from penstock.catalog.words import Transport, UploadState
from penstock.faults import Point
from penstock.storage.staging import Durable, PartWriter, Staged, Staging
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.upload import metrics, parts
from penstock.upload.answers import Receipt
from penstock.upload.config import UploadConfig
from penstock.upload.messages import Described
from penstock.upload.parts import Part, PartMap
from penstock.upload.receiving import UploadEmpty, check_digest, check_size
from penstock.video import identity
from penstock.video.errors import (
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    PenstockError,
    PermanentError,
    StorageFull,
    TooLarge,
)
from penstock.web_api import context

_log = structlog.get_logger()
_ETAG_LENGTH = (
    32  # hexadecimal digits of a part's SHA-256 that name it: 128 bits, and a thousand fit one completion
)

_UNRECORDED_FOR_MS = (
    3_600_000  # a staged file is made just before its record; nothing delays a commit so long
)

StoreAnswer = Callable[[Connection, "Outcome"], None]


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What is about to be sent: as its client describes it, and how it will come. ``size`` may not be known."""

    described: Described
    transport: Transport
    size: int | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A new session or, with ``duplicate``, none, and the video that stands for the bytes."""

    video: Video
    upload: Upload | None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Transfer:
    """One part while its bytes arrive. Only this holder may write it."""

    upload: Upload
    part: Part
    writer: PartWriter


def store_nothing(_tx: Connection, _outcome: Outcome) -> None:
    """For a caller whose answer nobody will ask for again."""


class Sessions:
    """The service's rules over the catalog and the store of sources."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        sources: ObjectStore,
        staging: Staging,
        config: UploadConfig,
        announce: Callable[[], None],
    ) -> None:
        """``announce`` tells processing that there is work; it is cheap and must not raise."""
        self._catalog = catalog
        self._sources = sources
        self._staging = staging
        self._config = config
        self._announce = announce

    # -- opening and looking

    def admit(self, size: int | None) -> None:
        """Raises :class:`UploadEmpty`, :class:`TooLarge` or :class:`StorageFull`; None is a size not known beforehand."""
        if size == 0:
            raise UploadEmpty("The upload has no bytes.")
        if size is not None and size > self._config.max_size:
            raise self.excess()
        free = self._staging.free_bytes()
        if free is not None and free < self._config.free_reserve + (size or 0):
            _log.warning("upload_refused_full", free=free, size=size)
            raise StorageFull("There is not enough room for this upload; try again when there is more.")

    def excess(self) -> TooLarge:
        """The refusal of more bytes than any upload may have."""
        return TooLarge(f"An upload has at most {self._config.max_size} bytes.", code="upload_too_large")

    def open(self, principal: Principal, new: NewUpload, *, store_answer: StoreAnswer) -> Outcome:
        """A session for a new ``pending`` video; ``store_answer`` runs in the same transaction.

        Where the owner already has a video of the declared digest and does not ask for another, that one is returned.
        """
        authorize(principal, Action.UPLOAD)
        self.admit(new.size)
        upload_id = identity.new_id()
        self._staging.create(upload_id)  # before the record: an open session always has a place for its bytes
        faults.reach(Point.UPLOAD_STAGED)
        try:
            with self._catalog.write() as tx:
                outcome = self._existing(tx, principal, new) or self._record(tx, principal, new, upload_id)
                store_answer(tx, outcome)
        except PermanentError:  # after any other error the record may be there nevertheless
            self._staging.remove(Staged(upload_id, None))
            raise
        faults.reach(Point.UPLOAD_OPENED)
        if outcome.duplicate:
            self._staging.remove(Staged(upload_id, None))
            metrics.ENDED.labels(new.transport, "duplicate").inc()
        return outcome

    def find(self, principal: Principal, upload_id: str) -> Upload:
        """The session, ended ones included, where ``principal`` may continue it. Raises ``upload_not_found``."""
        with self._catalog.read() as tx:
            upload = _get(tx, upload_id)
            video = videos.get(tx, upload.video_id)
        try:
            authorize(principal, Action.CONTINUE_UPLOAD, video)
        except (NotFound, Forbidden) as error:
            if error.code in {"video_not_found", "not_owner"}:
                raise NotFound("There is no such upload.", code="upload_not_found") from None
            raise
        return upload

    def parts(self, upload: Upload) -> tuple[PartMap, list[UploadPart]]:
        """How an open session divides, and what of it is durable. Raises :class:`Gone` or :class:`Conflict` once ended."""
        with self._catalog.read() as tx:
            uploads.require_open(tx, upload)
            return part_map(upload), uploads.parts(tx, upload.id)

    def received(self, upload: Upload) -> int:
        """Bytes that are durable."""
        if upload.state is UploadState.COMPLETED:
            return upload.received
        with self._catalog.read() as tx:
            return sum(part.size for part in uploads.parts(tx, upload.id))

    def staged(self, upload: Upload) -> Staged:
        """A session's bytes, as the staging knows them."""
        return Staged(upload.id, upload.source_key, upload.size or self._config.max_size, upload.staged)

    # -- receiving

    @contextmanager
    def receiving(
        self, upload_id: str, number: int, transport: Transport, announced: int | None
    ) -> Iterator[Transfer]:
        """The right to write one part; whoever comes second is told ``upload_busy``. A part that was there is forgotten.

        ``announced`` is the request's length. Raises ``upload_not_found``, ``part_unknown``, ``wrong_size``, and
        :class:`Gone` or :class:`Conflict` where the session has ended.
        """
        with self._catalog.read() as tx:
            upload = _get(tx, upload_id)
            uploads.require_open(tx, upload)
        part = part_map(upload).part(number) if upload.transport is transport else None
        if part is None:
            raise NotFound("This upload has no such part.", code="part_unknown")
        if announced is not None:
            check_size(announced, part.size)
        self.admit(part.size)
        with self._writing(upload, part.offset, whole=part.size == upload.size) as writer:
            with self._catalog.write() as tx:
                uploads.keep_alive(tx, upload_id, life_ms=self._life_ms(transport))
                uploads.forget_part(tx, upload_id, number)
            yield Transfer(upload, part, writer)

    @contextmanager
    def receiving_whole(self, upload: Upload) -> Iterator[Transfer]:
        """The right to write an upload that comes in the request that opened it."""
        with self._writing(upload, 0, whole=True) as writer:
            yield Transfer(upload, Part(1, 0, upload.size or self._config.max_size), writer)

    def keep_alive(self, transfer: Transfer, receipt: Receipt | None = None) -> None:
        """A running transfer's sign of life. Raises :class:`Gone` where its session was ended meanwhile."""
        upload = transfer.upload
        with self._catalog.write() as tx:
            uploads.keep_alive(tx, upload.id, life_ms=self._life_ms(upload.transport))
            if receipt is not None:
                receipt.prolong(tx)

    def received_part(self, transfer: Transfer) -> UploadPart:
        """After the last byte of a part: checks its size, makes it durable, and notes that it is there."""
        upload, part = transfer.upload, transfer.part
        check_size(transfer.writer.size, part.size)
        faults.reach(Point.UPLOAD_WRITTEN)
        durable = transfer.writer.sync()
        faults.reach(Point.UPLOAD_SYNCED)
        digest = durable.sha256
        etag = digest[:_ETAG_LENGTH]
        life_ms = self._life_ms(upload.transport)
        with self._catalog.write() as tx:
            uploads.record_part(
                tx,
                upload.id,
                part.number,
                size=part.size,
                etag=etag,
                sha256=digest,
                staged=durable.mark,
                life_ms=life_ms,
            )
            recorded = next(found for found in uploads.parts(tx, upload.id) if found.number == part.number)
        faults.reach(Point.UPLOAD_PART_RECORDED)
        return recorded

    # -- ending

    def complete_whole(self, upload: Upload, durable: Durable, *, store_answer: StoreAnswer) -> Outcome:
        """The end of an upload in one request, once its transfer is over. Raises ``wrong_size`` and ``wrong_digest``."""
        size, digest = durable.size, durable.sha256
        check_size(size, upload.size)
        check_digest(digest, upload.sha256)
        with (
            metrics.COMPLETION_SECONDS.labels(upload.transport).time(),
            self._staging.sealed(replace(self.staged(upload), mark=durable.mark)) as sealed,
        ):
            sealed.adopt()
            return self._acknowledge(upload, size, digest, f"account:{upload.owner_id}", store_answer)

    def complete(self, principal: Principal, upload_id: str, claimed: Sequence[tuple[int, str]]) -> Outcome:
        """The end of an upload in several requests; repeating it gives the same answer.

        Raises ``parts_missing``, ``parts_differ``, ``wrong_digest``, ``upload_busy`` (the session stays open) and
        :class:`Gone` where it was cancelled or has expired.
        """
        upload = self.find(principal, upload_id)
        if upload.state is UploadState.COMPLETED:
            return self._completed(upload)
        with metrics.COMPLETION_SECONDS.labels(upload.transport).time():
            try:
                with self._staging.sealed(self.staged(upload)) as sealed:
                    size, digest = self._verified(upload, claimed, sealed.size, sealed.digest)
                    sealed.adopt()
                    return self._acknowledge(upload, size, digest, account_of(principal), store_nothing)
            except ObjectMissing:
                return self._resume(principal, upload, claimed)

    def cancel(self, principal: Principal, upload_id: str) -> None:
        """Ends an open session and removes its bytes; one that has ended without a video stays so."""
        upload = self.find(principal, upload_id)
        if upload.state is UploadState.COMPLETED:
            raise Conflict("The upload is complete; delete the video instead.", code="upload_completed")
        self.abandon(upload, who=account_of(principal), why="cancelled by its owner", outcome="cancelled")

    def abandon(self, upload: Upload, *, who: str, why: str, outcome: str) -> None:
        """Ends a session for good. First the record, then the bytes: so nothing acknowledged can lose them."""
        with self._catalog.write() as tx:
            ended = uploads.end(tx, upload.id, UploadState.CANCELLED, who=who, why=why)
        if ended:
            metrics.ENDED.labels(upload.transport, outcome).inc()
            self._staging.remove(self.staged(upload))

    def sweep(self) -> None:
        """Removes staged files whose session ended or never came about: what a crash between two steps leaves."""
        oldest = identity.encode(time.time_ns() // 1_000_000 - _UNRECORDED_FOR_MS, 0)
        try:
            for left in self._staging.leftovers():
                if self._is_nobody_s(left.name, oldest):
                    self._staging.remove(left)
                    _log.info("staged_file_swept", upload_id=left.name)
        except PenstockError as error:  # the next start goes on with it
            _log.warning("sweep_failed", code=error.code)

    def _is_nobody_s(self, name: str, oldest: str) -> bool:
        with self._catalog.read() as tx:
            try:
                return uploads.get(tx, name).state is not UploadState.OPEN
            except NotFound:
                return name < oldest

    # -- the steps of a beginning

    @staticmethod
    def _existing(tx: Connection, principal: Principal, new: NewUpload) -> Outcome | None:
        assert principal.account_id is not None
        if new.described.sha256 is None or new.described.allow_duplicate:
            return None
        video = videos.find_duplicate(tx, principal.account_id, new.described.sha256)
        return None if video is None else Outcome(video, None, duplicate=True)

    def _record(self, tx: Connection, principal: Principal, new: NewUpload, upload_id: str) -> Outcome:
        assert principal.account_id is not None
        described, size = new.described, new.size
        video = videos.create(
            tx,
            owner_id=principal.account_id,
            title=described.shown_title(),
            filename=described.filename,
            visibility=described.visibility,
            who=account_of(principal),
            traceparent=context.traceparent(),
        )
        upload = uploads.create(
            tx,
            video,
            upload_id=upload_id,
            transport=new.transport,
            life_ms=self._life_ms(new.transport),
            size=size,
            sha256=described.sha256,
            content_type=new.content_type,
            part_size=self._divide(size).part_size if size and new.transport is Transport.DIRECT else size,
            allow_duplicate=described.allow_duplicate,
        )
        return Outcome(video, upload)

    # -- the steps of an end

    def _verified(
        self, upload: Upload, claimed: Sequence[tuple[int, str]], size: int, read: Callable[[], str | None]
    ) -> tuple[int, str | None]:
        """Size and digest of what is there, all parts being there. ``read`` computes a digest that no single request saw.

        Where nobody can read it yet it is None, and processing verifies it.
        """
        expected, present = self.parts(upload)
        parts.check_complete(expected, {part.number: part.size for part in present})
        parts.check_claimed(claimed, {part.number: part.etag for part in present})
        check_size(size, expected.size)
        digest = present[0].sha256 if len(present) == 1 else None
        digest = digest or read()
        if digest is not None:
            check_digest(digest, upload.sha256)
        return size, digest

    def _resume(self, principal: Principal, upload: Upload, claimed: Sequence[tuple[int, str]]) -> Outcome:
        """Goes on where a crash left an adopted source without its record, or answers what another request did."""
        upload = self.find(principal, upload.id)
        if upload.state is UploadState.COMPLETED:
            return self._completed(upload)
        with self._catalog.read() as tx:
            uploads.require_open(tx, upload)
        try:
            info = self._sources.head(upload.source_key)
        except ObjectMissing:
            raise _ended() from None
        size, digest = self._verified(
            upload, claimed, info.size, lambda: self._read_digest(upload.source_key)
        )
        return self._acknowledge(upload, size, digest, account_of(principal), store_nothing)

    def _read_digest(self, key: str) -> str:
        digest = hashlib.sha256()
        for piece in self._sources.stream(key):
            digest.update(piece)
        return digest.hexdigest()

    def _acknowledge(
        self, upload: Upload, size: int, digest: str | None, who: str, store_answer: StoreAnswer
    ) -> Outcome:
        """The record of a durable source, and the word to processing."""
        faults.reach(Point.UPLOAD_ADOPTED)
        try:
            with self._catalog.write() as tx:
                completion = uploads.complete(tx, upload.id, size=size, who=who, sha256=digest)
                outcome = Outcome(completion.video, upload, duplicate=completion.duplicate)
                store_answer(tx, outcome)
                faults.reach(Point.UPLOAD_COMPLETING)
        except Gone:  # cancelled or expired meanwhile: the record is final, so these bytes are nobody's
            self._sources.delete([upload.source_key])
            raise
        faults.reach(Point.UPLOAD_ACKNOWLEDGED)
        if completion.task_id is not None:
            self._announce()
        faults.reach(Point.UPLOAD_RUNG)
        metrics.ENDED.labels(upload.transport, "duplicate" if outcome.duplicate else "completed").inc()
        self._tidy(upload)
        faults.reach(Point.UPLOAD_TIDIED)
        return outcome

    def _completed(self, upload: Upload) -> Outcome:
        """What was answered when the session completed, as it is now."""
        with self._catalog.read() as tx:
            video = videos.get(tx, upload.video_id)
            if video.duplicate_of is not None:
                return Outcome(videos.get(tx, video.duplicate_of), upload, duplicate=True)
        return Outcome(video, upload)

    def _tidy(self, upload: Upload) -> None:
        try:
            self._staging.remove(self.staged(upload))
        except PenstockError as error:  # the upload is acknowledged whatever happens to its empty folder
            _log.warning("staged_file_left", upload_id=upload.id, code=error.code)

    @contextmanager
    def _writing(self, upload: Upload, offset: int, *, whole: bool) -> Iterator[PartWriter]:
        try:
            with self._staging.writing(self.staged(upload), offset=offset, whole=whole) as writer:
                yield writer
        except ObjectMissing:
            raise _ended() from None

    def _divide(self, size: int) -> PartMap:
        return parts.divide(size, part_size=self._config.part_size, most_parts=self._config.most_parts)

    def _life_ms(self, transport: Transport) -> int:
        one_request = transport is Transport.ONE_REQUEST
        return (self._config.one_request_life_s if one_request else self._config.session_life_s) * 1000


def _get(tx: Connection, upload_id: str) -> Upload:
    if not identity.is_id(upload_id):
        raise NotFound("There is no such upload.", code="upload_not_found")
    return uploads.get(tx, upload_id)


def _ended() -> Gone:
    return Gone("The upload has ended and its bytes are gone; start a new one.", code="upload_ended")


def account_of(principal: Principal) -> str:
    """Who did it, as the history of a video names them."""
    return f"account:{principal.account_id}"


def part_map(upload: Upload) -> PartMap:
    """How a session divides: a ``put`` upload is one part."""
    size = upload.size or 0
    return PartMap(size, upload.part_size or max(size, 1))
