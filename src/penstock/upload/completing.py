"""The end of an upload: from durable bytes in the staging to a source and the record that acknowledges it.

Blocking code. Its order is the promise of this service: the bytes are checked and adopted, then one transaction makes the
video ``uploaded`` and queues its first task, then processing is told, then the client. It never looks inside a file.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from penstock import faults
from penstock.catalog import Catalog, uploads, videos
from penstock.catalog.records import Upload, UploadPart
from penstock.catalog.words import Transport, UploadState
from penstock.faults import Point
from penstock.storage.staging import Durable, Staging
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.upload import metrics, parts
from penstock.upload.admission import Admission
from penstock.upload.config import UploadConfig
from penstock.upload.direct import DirectParts
from penstock.upload.outcomes import Outcome, StoreAnswer, ended, part_map, staged, store_nothing
from penstock.upload.parts import PartsMissing
from penstock.upload.receiving import check_digest, check_size
from penstock.video.errors import Conflict, Gone, PenstockError

_log = structlog.get_logger()

Check = Callable[[int, Callable[[], str | None]], tuple[int, str | None]]
"""From the size of what is there, and a function that reads its digest, to the size and digest that are recorded; raises
where they are not what they must be."""


class Completing:
    """Ends sessions by making their bytes a source."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        sources: ObjectStore,
        staging: Staging,
        config: UploadConfig,
        announce: Callable[[], None],
        admission: Admission,
        direct: DirectParts | None = None,
    ) -> None:
        """``announce`` tells processing that there is work; it is cheap and must not raise."""
        self._catalog = catalog
        self._sources = sources
        self._staging = staging
        self._config = config
        self._announce = announce
        self._admission = admission
        self._direct = direct

    def whole(self, upload: Upload, durable: Durable, *, store_answer: StoreAnswer) -> Outcome:
        """An upload in one request, once its transfer is over. Raises ``wrong_size`` and ``wrong_digest``."""
        size, digest = durable.size, durable.sha256
        check_size(size, upload.size)
        check_digest(digest, upload.sha256)
        with (
            metrics.COMPLETION_SECONDS.labels(upload.transport).time(),
            self._staging.sealed(replace(staged(upload, self._config), mark=durable.mark)) as sealed,
        ):
            sealed.adopt()
            return self._acknowledge(upload, size, digest, f"account:{upload.owner_id}", store_answer)

    def parts(self, upload: Upload, claimed: Sequence[tuple[int, str]], *, who: str) -> Outcome:
        """An upload in parts; repeating it gives the same answer.

        Raises ``parts_missing``, ``parts_differ``, ``wrong_digest``, ``upload_busy`` (the session stays open) and
        :class:`Gone` where it was cancelled or has expired.
        """

        def check(size: int, read: Callable[[], str | None]) -> tuple[int, str | None]:
            present = self._present(upload)
            expected = part_map(upload)
            if present is None:
                check_size(size, expected.size)
                return size, None
            parts.check_complete(expected, {part.number: part.size for part in present})
            parts.check_claimed(claimed, {part.number: part.etag for part in present})
            check_size(size, expected.size)
            # Where nobody can read it yet it is None, and processing verifies it.
            digest = (present[0].sha256 if len(present) == 1 else None) or read()
            if digest is not None:
                check_digest(digest, upload.sha256)
            return size, digest

        return self._end(upload, check, who)

    def in_order(self, upload: Upload, sha256: str | None, *, who: str) -> Outcome:
        """An upload whose bytes came one after the other; repeating it gives the same answer. ``sha256`` if it is known.

        Raises ``parts_missing``, ``wrong_digest``, ``upload_busy``, and :class:`Gone` where it was cancelled or has expired.
        """

        def check(size: int, read: Callable[[], str | None]) -> tuple[int, str | None]:
            if upload.received != upload.size:
                raise PartsMissing(f"{upload.received} bytes are there, and not all; go on from there.")
            check_size(size, upload.size)
            digest = sha256 or read()
            if digest is not None:
                check_digest(digest, upload.sha256)
            return size, digest

        return self._end(upload, check, who)

    def missing(self, upload: Upload) -> PenstockError:
        """Why the bytes of a session are staged no more: they are a source (``upload_completed``), or the session has ended.

        Where no record acknowledges the source yet, completing again does, whether or not who was about to lives.
        """
        adopted = self.is_adopted(upload)
        try:
            with self._catalog.read() as tx:  # after looking: who is through by now has said so here
                uploads.require_open(tx, uploads.get(tx, upload.id))
        except PenstockError as error:
            return error
        if adopted:
            return Conflict("All of it is there; complete it.", code="upload_completed")
        return ended()

    def is_adopted(self, upload: Upload) -> bool:
        """Whether all bytes of a session are a source, be it acknowledged or not."""
        try:
            return self._sources.head(upload.source_key).size == upload.size
        except ObjectMissing:
            return False

    def _present(self, upload: Upload) -> list[UploadPart] | None:
        """The parts that are there; None where a bucket's are one object already, which was made after they were checked."""
        with self._catalog.read() as tx:
            uploads.require_open(tx, upload)
            recorded = uploads.parts(tx, upload.id)
        if self._direct is None or upload.transport is not Transport.DIRECT:
            return recorded
        try:
            return self._direct.present(upload)
        except Gone:
            return None

    def _end(self, upload: Upload, check: Check, who: str) -> Outcome:
        if upload.state is UploadState.COMPLETED:
            return self._completed(upload)
        with metrics.COMPLETION_SECONDS.labels(upload.transport).time():
            try:
                with self._staging.sealed(staged(upload, self._config)) as sealed:
                    size, digest = check(sealed.size, sealed.digest)
                    sealed.adopt()
                    return self._acknowledge(upload, size, digest, who, store_nothing)
            except ObjectMissing:
                return self._resume(upload, check, who)

    def _resume(self, upload: Upload, check: Check, who: str) -> Outcome:
        """Goes on where a crash left an adopted source without its record, or answers what another request did."""
        with self._catalog.read() as tx:
            upload = uploads.get(tx, upload.id)
            if upload.state is not UploadState.COMPLETED:
                uploads.require_open(tx, upload)
        if upload.state is UploadState.COMPLETED:
            return self._completed(upload)
        try:
            info = self._sources.head(upload.source_key)
        except ObjectMissing:
            raise ended() from None
        size, digest = check(info.size, lambda: self._read_digest(upload.source_key))
        return self._acknowledge(upload, size, digest, who, store_nothing)

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
                if upload.size is None:
                    self._admission.settle(tx, upload.owner_id, upload.id, size)
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
            self._staging.remove(staged(upload, self._config))
        except PenstockError as error:  # the upload is acknowledged whatever happens to its empty folder
            _log.warning("staged_file_left", upload_id=upload.id, code=error.code)
