"""Upload sessions: from "may I send this" to durable bytes, and the ways out that make no video.

Blocking code, called off the event loop. A crash between two steps leaves an open session that may go on or will be
collected. How bytes become a source is ``completing``'s business.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from penstock import faults
from penstock.access.authorize import Action, authorize
from penstock.access.principals import Principal
from penstock.catalog import Catalog, clock, uploads, videos
from penstock.catalog.records import Upload, UploadPart
from penstock.catalog.words import Transport, UploadState
from penstock.faults import Point
from penstock.storage.staging import PartWriter, Staged, Staging
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.upload import metrics, parts
from penstock.upload.admission import Admission
from penstock.upload.completing import Completing
from penstock.upload.config import UploadConfig
from penstock.upload.direct import LEAST_PART, DirectParts
from penstock.upload.outcomes import NewUpload, Outcome, StoreAnswer, account_of, part_map, staged
from penstock.upload.parts import Part, PartMap
from penstock.upload.receiving import check_digest, check_size
from penstock.video import identity, keys
from penstock.video.errors import (
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    PenstockError,
    PermanentError,
)
from penstock.web_api import context

_log = structlog.get_logger()
_ETAG_LENGTH = (
    32  # hexadecimal digits of a part's SHA-256 that name it: 128 bits, and a thousand fit one completion
)

_UNRECORDED_FOR_MS = (
    3_600_000  # a staged file is made just before its record; nothing delays a commit so long
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One part while its bytes arrive. Only this holder may write it."""

    upload: Upload
    part: Part
    writer: PartWriter


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
        direct: DirectParts | None = None,
    ) -> None:
        """``announce`` tells processing that there is work; it is cheap and must not raise.

        ``direct``: where sources lie in a bucket, which then receives the parts of direct uploads itself.
        """
        self._catalog = catalog
        self._staging = staging
        self._config = config
        self._direct = direct
        self.admission = Admission(staging, config)
        self.completing = Completing(
            catalog=catalog,
            sources=sources,
            staging=staging,
            config=config,
            announce=announce,
            admission=self.admission,
            direct=direct,
        )

    # -- opening and looking

    def open(self, principal: Principal, new: NewUpload, *, store_answer: StoreAnswer) -> Outcome:
        """A session for a new ``pending`` video; ``store_answer`` runs in the same transaction.

        Where the owner already has a video of the declared digest and does not ask for another, that one is returned.
        """
        authorize(principal, Action.UPLOAD)
        assert principal.account_id is not None
        with self._catalog.read() as tx:
            limits, now = self.admission.limits(tx, principal.account_id), clock.now(tx)
        self.admission.check(limits, new.size)
        place = self._place(new, now)  # before the record: an open session always has a place for its bytes
        faults.reach(Point.UPLOAD_STAGED)
        try:
            with self._catalog.write() as tx:
                outcome = self._existing(tx, principal, new) or self._record(tx, principal, new, place)
                store_answer(tx, outcome)
        except PermanentError:  # after any other error the record may be there nevertheless
            self._staging.remove(place)
            raise
        faults.reach(Point.UPLOAD_OPENED)
        if outcome.duplicate:
            self._staging.remove(place)
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

    def known(self, upload_id: str) -> Upload:
        """The session, for who has its address. Raises ``upload_not_found``."""
        with self._catalog.read() as tx:
            return _get(tx, upload_id)

    def most(self, upload: Upload) -> int:
        """Bytes that it may have, where it did not say how many it has."""
        with self._catalog.read() as tx:
            return self.admission.limits(tx, upload.owner_id).upload_size

    def parts(self, upload: Upload) -> tuple[PartMap, list[UploadPart]]:
        """How an open session divides, and what of it is durable. Raises :class:`Gone` or :class:`Conflict` once ended."""
        with self._catalog.read() as tx:
            uploads.require_open(tx, upload)
            recorded = uploads.parts(tx, upload.id)
        if self._direct is None or upload.transport is not Transport.DIRECT:
            return part_map(upload), recorded
        present = self._in_bucket(self._direct, upload)
        with self._catalog.write() as tx:  # the bucket does not tell us of signs of life: asking is one
            uploads.keep_alive(tx, upload.id, life_ms=self._life_ms(upload.transport))
        return part_map(upload), present

    def received(self, upload: Upload) -> int:
        """Bytes that are durable."""
        if upload.state is UploadState.COMPLETED or upload.transport is Transport.TUS:
            return upload.received
        if self._direct is not None and upload.transport is Transport.DIRECT:
            if upload.state is not UploadState.OPEN:
                return 0
            try:
                return sum(part.size for part in self._in_bucket(self._direct, upload))
            except Gone:  # only the store knows so far
                return 0
        with self._catalog.read() as tx:
            return sum(part.size for part in uploads.parts(tx, upload.id))

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
        ours = upload.transport is transport and (self._direct is None or transport is not Transport.DIRECT)
        part = part_map(upload).part(number) if ours else None
        if part is None:
            raise NotFound("This upload has no such part.", code="part_unknown")
        if announced is not None:
            check_size(announced, part.size)
        self.admission.check_room(part.size)
        with self._writing(upload, part.offset, whole=part.size == upload.size) as writer:
            with self._catalog.write() as tx:
                uploads.keep_alive(tx, upload_id, life_ms=self._life_ms(transport))
                uploads.forget_part(tx, upload_id, number)
            yield Transfer(upload, part, writer)

    @contextmanager
    def receiving_whole(self, upload: Upload) -> Iterator[Transfer]:
        """The right to write an upload that comes in the request that opened it."""
        with self._writing(upload, 0, whole=True) as writer:
            yield Transfer(upload, Part(1, 0, upload.size or self.most(upload)), writer)

    def keep_alive(self, transfer: Transfer) -> None:
        """A running transfer's sign of life. Raises :class:`Gone` where its session was ended meanwhile."""
        upload = transfer.upload
        with self._catalog.write() as tx:
            uploads.keep_alive(tx, upload.id, life_ms=self._life_ms(upload.transport))

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

    def complete(
        self,
        principal: Principal,
        upload_id: str,
        claimed: Sequence[tuple[int, str]],
        *,
        sha256: str | None = None,
    ) -> Outcome:
        """The end of an upload in several requests, see :meth:`Completing.parts`. ``sha256`` is the whole's, if it is told now."""
        upload, who = self.find(principal, upload_id), account_of(principal)
        if sha256 is not None and upload.state is UploadState.OPEN:
            with self._catalog.write() as tx:
                upload = uploads.declare_digest(tx, upload_id, sha256)
            check_digest(sha256, upload.sha256)
        if upload.transport is Transport.TUS:
            return self.completing.in_order(upload, None, who=who)
        return self.completing.parts(upload, claimed, who=who)

    def cancel(self, upload: Upload, *, who: str) -> None:
        """Ends an open session and removes its bytes; one that has ended without a video stays so."""
        if upload.state is UploadState.COMPLETED:
            raise Conflict("The upload is complete; delete the video instead.", code="upload_completed")
        self.abandon(upload, who=who, why="cancelled by its owner", outcome="cancelled")

    def abandon(self, upload: Upload, *, who: str, why: str, outcome: str) -> None:
        """Ends a session for good. First the record, then the bytes: so nothing acknowledged can lose them."""
        with self._catalog.write() as tx:
            now_ended = uploads.end(tx, upload.id, UploadState.CANCELLED, who=who, why=why)
        if now_ended:
            metrics.ENDED.labels(upload.transport, outcome).inc()
            self._staging.remove(staged(upload, self._config))

    def discard(self, upload: Upload) -> None:
        """Removes the bytes of a session that cannot be completed without more of them; the record stays as it is."""
        self._staging.remove(staged(upload, self._config))

    def sweep(self) -> None:
        """Removes staged files whose session ended or never came about: what a crash between two steps leaves."""
        try:
            with self._catalog.read() as tx:
                oldest = identity.encode(clock.now(tx) - _UNRECORDED_FOR_MS, 0)
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
        if new.described.sha256 is None or new.described.allow_duplicate or new.answers_with_session:
            return None
        video = videos.find_duplicate(tx, principal.account_id, new.described.sha256)
        return None if video is None else Outcome(video, None, duplicate=True)

    def _place(self, new: NewUpload, now: int) -> Staged:
        """Where the bytes of a session will lie; its key says the video's id, its own when it was made by the records' clock."""
        upload_id = identity.new_at(now)  # compared by whoever sweeps, whose clock may be another
        key = keys.source(identity.new_id(), upload_id)
        self._staging.create(upload_id)
        mark = ""
        if self._direct is not None and new.transport is Transport.DIRECT:
            mark = self._direct.begin(key)
        return Staged(upload_id, key, mark=mark)

    def _record(self, tx: Connection, principal: Principal, new: NewUpload, place: Staged) -> Outcome:
        assert principal.account_id is not None
        described, size = new.described, new.size
        self.admission.reserve(tx, principal.account_id, size)
        video = videos.create(
            tx,
            owner_id=principal.account_id,
            title=described.shown_title(),
            filename=described.filename,
            visibility=described.visibility,
            who=account_of(principal),
            video_id=keys.video_of(place.key or ""),
            traceparent=context.traceparent(),
        )
        upload = uploads.create(
            tx,
            video,
            upload_id=place.name,
            staged=place.mark,
            transport=new.transport,
            life_ms=self._life_ms(new.transport),
            size=size,
            sha256=described.sha256,
            content_type=new.content_type,
            part_size=self._divide(size).part_size if size and new.transport is Transport.DIRECT else size,
            allow_duplicate=described.allow_duplicate,
            transport_data=new.transport_data,
        )
        return Outcome(video, upload)

    def _in_bucket(self, direct: DirectParts, upload: Upload) -> list[UploadPart]:
        """What a bucket received itself: all of it, without entity tags, where the parts are one object already.

        Whoever completed it died, or is about to say so: nothing is missing, and completing again settles it.
        """
        try:
            return direct.present(upload)
        except Gone:
            if not self.completing.is_adopted(upload):
                raise
        return [
            UploadPart(upload.id, part.number, part.size, None, sha256=None, received_at=upload.updated_at)
            for part in part_map(upload).all()
        ]

    @contextmanager
    def _writing(self, upload: Upload, offset: int, *, whole: bool) -> Iterator[PartWriter]:
        try:
            with (
                self._staging.writing(staged(upload, self._config), offset=offset, whole=whole) as writer,
                self.admission.flowing(lambda: writer.size),
            ):
                yield writer
        except ObjectMissing:
            raise self.completing.missing(upload) from None

    def _divide(self, size: int) -> PartMap:
        least = LEAST_PART if self._direct is not None else 0
        return parts.divide(
            size, part_size=max(self._config.part_size, least), most_parts=self._config.most_parts
        )

    def _life_ms(self, transport: Transport) -> int:
        one_request = transport is Transport.ONE_REQUEST
        return (self._config.one_request_life_s if one_request else self._config.session_life_s) * 1000


def _get(tx: Connection, upload_id: str) -> Upload:
    if not identity.is_id(upload_id):
        raise NotFound("There is no such upload.", code="upload_not_found")
    return uploads.get(tx, upload_id)
