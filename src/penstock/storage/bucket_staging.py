"""Staging in a bucket: the parts of a multipart upload, and a kept tail too small to be a part.

All parts but the last have one size, so a part's number follows from where it begins, and writing the same bytes again
changes nothing. The mark names the multipart upload, counts its parts and holds one digest over their ETags: parts that
another wrote over are noticed before anything becomes an object. It knows neither records nor whose uploads these are.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from botocore.exceptions import ClientError

from penstock import faults
from penstock.faults import Point
from penstock.storage.bucket_mark import Mark, chained, part_size
from penstock.storage.bucket_writing import BucketPartWriter, Sends
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Bucket, code_of, multipart_client, translated
from penstock.storage.staging import Staged, StagedDiffers, StagingBusy
from penstock.storage.store import KeyMalformed, ObjectMissing, check_key, is_name
from penstock.video import keys
from penstock.video.errors import StorageUnavailable

_log = structlog.get_logger(__name__)

# Parts, of all uploads of this process, that are on their way: enough to fill a line of a gigabit, and their memory does
# not grow with the number of uploads.
_SENT_AT_ONCE = 3
_NO_UPLOAD = frozenset({"NoSuchUpload", "404"})


@dataclass(frozen=True, slots=True)
class PresentPart:
    """A part as the store lists it: its own ETag, without quotes."""

    number: int
    size: int
    etag: str


class BucketStaging:
    """The ``Staging`` of one bucket of sources."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._client = multipart_client(store.config)
        self._bucket = Bucket.of(store.config.url)
        self._sends = Sends(_SENT_AT_ONCE)

    def create(self, name: str) -> None:
        """See the port: a bucket needs no place."""
        _checked(name)

    exclusive = False

    @contextmanager
    def writing(
        self,
        staged: Staged,
        *,
        offset: int,
        whole: bool = False,
        alone: bool = False,  # noqa: ARG002 - a bucket keeps nobody from writing
    ) -> Iterator[BucketPartWriter]:
        """See the port. Several may write at once; the record's compare-and-swap decides."""
        _checked(staged.name)
        mark = Mark(part=part_size(staged.most)) if whole else Mark.of(staged)
        if offset != mark.end or mark.direct:
            raise ValueError(f"not where the bytes end: {offset}")
        if mark.end:
            self._forget_tails(staged.name, before=mark.end)
        tail = self.tail(staged, mark)
        with closing(BucketPartWriter(self, self._sends, staged.name, _key(staged), mark, tail)) as writer:
            yield writer

    @contextmanager
    def sealed(self, staged: Staged) -> Iterator["SealedParts"]:
        """See the port. Nobody is kept from writing: what is written from now on is not what the mark says."""
        _checked(staged.name)
        yield SealedParts(self, staged, Mark.of(staged))

    def remove(self, staged: Staged) -> None:
        """See the port."""
        _checked(staged.name)
        mark = Mark.of(staged)
        if staged.key is not None:
            # Also those that no record knows: of requests that were repeated, or whose node died.
            for upload_id in {*self._unfinished(staged.key), *([mark.id] if mark.id else [])}:
                self.abort(staged.key, upload_id)
        self._store.delete([info.key for info in self._store.list(keys.staging_prefix(staged.name))])

    def leftovers(self) -> Iterator[Staged]:
        """See the port: multipart uploads of sources, and tails whose multipart upload is not listed."""
        seen = set()
        for key, _ in self._multiparts(""):
            name = keys.source_upload(key)
            if name is not None and name not in seen:
                seen.add(name)
                yield Staged(name, key)
        for info in self._store.list(keys.STAGING):
            name = keys.staged_upload(info.key)
            if name is not None and name not in seen:
                seen.add(name)
                yield Staged(name, None)

    def free_bytes(self) -> None:
        """See the port: no bound."""

    # -- straight to the bucket, without this process

    def begin_direct(self, key: str) -> str:
        """A multipart upload whose parts a client will send by itself; the mark to record."""
        return Mark(id=self.begin(key), direct=True).text()

    def signed_part(self, staged: Staged, number: int, size: int, life_s: int) -> str:
        """An address that accepts a PUT of exactly ``size`` bytes as the part, for ``life_s`` seconds. Asks nobody."""
        with translated("sign"):
            url: str = self._client.generate_presigned_url(
                "upload_part",
                Params={
                    **self._at(_key(staged), Mark.of(staged).id),
                    "PartNumber": number,
                    "ContentLength": size,
                },
                ExpiresIn=life_s,
            )
        return url

    def present_parts(self, staged: Staged) -> list[PresentPart]:
        """The parts that are there, in order. Raises ``ObjectMissing`` once the upload has ended."""
        upload_id = Mark.of(staged).id
        return [] if upload_id is None else self.listed(_key(staged), upload_id)

    # -- one call of the store each, for the writer and the sealed upload

    def begin(self, key: str) -> str:
        """Begins a multipart upload."""
        with translated("multipart"):
            upload_id: str = self._client.create_multipart_upload(**self._at(key))["UploadId"]
        faults.reach(Point.BUCKET_BEGUN)
        return upload_id

    def send(self, key: str, upload_id: str, number: int, data: bytes | bytearray) -> str:
        """Stores one part; its ETag."""
        with translated("multipart"), _ended_is_missing():
            answer = self._client.upload_part(**self._at(key, upload_id), PartNumber=number, Body=data)
        faults.reach(Point.BUCKET_SENT)
        return str(answer["ETag"]).strip('"')

    def listed(self, key: str, upload_id: str) -> list[PresentPart]:
        """The parts that the store has, in order."""
        with translated("multipart"), _ended_is_missing():
            pages = self._client.get_paginator("list_parts").paginate(**self._at(key, upload_id))
            return [
                PresentPart(part["PartNumber"], part["Size"], part["ETag"].strip('"'))
                for page in pages
                for part in page.get("Parts", ())
            ]

    def finish(self, key: str, upload_id: str, parts: Sequence[PresentPart], size: int) -> None:
        """Makes the parts one object. An answer that was lost is settled by asking whether the object is there."""
        named = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        faults.reach(Point.BUCKET_JOINING)
        try:
            with translated("multipart"), _ended_is_missing():
                self._client.complete_multipart_upload(
                    **self._at(key, upload_id), MultipartUpload={"Parts": named}
                )
        except (StorageUnavailable, ObjectMissing) as error:
            if not self.is_there(key, size):
                raise
            _log.info("multipart_settled", code=error.code)
        faults.reach(Point.BUCKET_JOINED)
        if not self.is_there(key, size):
            raise StorageUnavailable("The object store has another size than it was sent.")

    def abort(self, key: str, upload_id: str) -> None:
        """Ends a multipart upload; one that has ended is no error."""
        with translated("multipart"), suppress(ObjectMissing), _ended_is_missing():
            self._client.abort_multipart_upload(**self._at(key, upload_id))

    def is_there(self, key: str, size: int) -> bool:
        """Whether the object is there with this size."""
        try:
            return self._store.head(key).size == size
        except ObjectMissing:
            return False

    def put(self, key: str, data: bytes) -> None:
        """An object small enough to need no parts."""
        self._store.put(key, data)

    def put_tail(self, name: str, end: int, data: bytes) -> str:
        """Keeps the bytes that end at ``end``; the nonce that names them."""
        nonce = secrets.token_hex(8)  # whoever else writes up to the same byte keeps its own
        self._store.put(keys.staged_tail(name, end, nonce), data)
        faults.reach(Point.BUCKET_TAILED)
        return nonce

    def tail(self, staged: Staged, mark: Mark) -> bytes:
        """The bytes that a mark's tail has.

        Raises :class:`StagingBusy` where others have gone on and dropped it, ``ObjectMissing`` where the upload has ended.
        """
        if not mark.rest:
            return b""
        try:
            return self._store.get(keys.staged_tail(staged.name, mark.end, mark.nonce))
        except ObjectMissing:
            later = next(self._store.list(keys.staging_prefix(staged.name)), None)
            if later is not None or self._unfinished(_key(staged)):
                raise StagingBusy(
                    "Another request has gone on with this upload; ask where it stands.", retry_after=1
                ) from None
            raise _ended() from None

    def drop_tail(self, name: str, mark: Mark) -> None:
        """Removes a mark's tail, once a later mark is recorded."""
        if mark.rest:
            self._store.delete([keys.staged_tail(name, mark.end, mark.nonce)])

    def _forget_tails(self, name: str, *, before: int) -> None:
        """Those that a recorded mark has overtaken. Others may belong to who goes on from the same byte."""
        bound = keys.staged_tail(name, before, "")
        self._store.delete(
            [info.key for info in self._store.list(keys.staging_prefix(name)) if info.key < bound]
        )
        faults.reach(Point.BUCKET_DROPPED)

    def _unfinished(self, key: str) -> list[str]:
        return [upload_id for found, upload_id in self._multiparts(key) if found == key]

    def _multiparts(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Keys, below the bucket's prefix, and ids of multipart uploads that have not ended."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket.name, Prefix=self._bucket.prefix + prefix
        )
        found = iter(pages)
        while True:
            page = None
            with (
                translated("multipart"),
                suppress(ObjectMissing),
                _ended_is_missing(),
            ):  # some say so where none is
                page = next(found, None)
            if page is None:
                return
            for upload in page.get("Uploads", ()):
                yield upload["Key"].removeprefix(self._bucket.prefix), upload["UploadId"]

    def _at(self, key: str, upload_id: str | None = None) -> dict[str, Any]:
        place = {"Bucket": self._bucket.name, "Key": self._bucket.prefix + check_key(key)}
        return place if upload_id is None else {**place, "UploadId": upload_id}


class SealedParts:
    """What a mark says, to become an object."""

    def __init__(self, staging: BucketStaging, staged: Staged, mark: Mark) -> None:
        self._staging = staging
        self._staged = staged
        self._mark = mark

    @property
    def size(self) -> int:
        """See the port."""
        if self._mark.direct:
            return sum(part.size for part in self._staging.present_parts(self._staged))
        return self._mark.end

    def digest(self) -> None:
        """See the port: parts cannot be read before they are an object."""

    def adopt(self) -> None:
        """See the port."""
        key, mark = _key(self._staged), self._mark
        try:
            if mark.id is None:
                self._staging.put(key, self._staging.tail(self._staged, mark))
                return
            parts = self._staging.listed(key, mark.id)
            if not mark.direct:
                parts = self._checked(parts)
                if mark.rest:
                    tail = self._staging.tail(self._staged, mark)
                    etag = self._staging.send(key, mark.id, mark.count + 1, tail)
                    parts.append(PresentPart(mark.count + 1, mark.rest, etag))
        except (ObjectMissing, StagingBusy):
            if mark.direct or not self._staging.is_there(key, mark.end):
                raise
            return  # it had been adopted, and whoever did so died before it could say so
        self._staging.finish(key, mark.id, parts, sum(part.size for part in parts))

    def _checked(self, parts: Sequence[PresentPart]) -> list[PresentPart]:
        mark, ours, etags = self._mark, list(parts[: self._mark.count]), ""
        for part in ours:
            etags = chained(etags, part.etag)
        whole = [(number + 1, mark.part) for number in range(mark.count)]
        if etags != mark.etags or [(part.number, part.size) for part in ours] != whole:
            raise StagedDiffers("Parts were written over with other bytes; start a new upload.")
        return ours


def _checked(name: str) -> None:
    if not is_name(name):
        raise KeyMalformed("A staged upload's name does not follow the key layout.")


def _key(staged: Staged) -> str:
    if staged.key is None:
        raise KeyMalformed("An upload that no record names cannot become an object.")
    return staged.key


def _ended() -> ObjectMissing:
    return ObjectMissing("There is no such upload any more.", code="upload_missing")


@contextmanager
def _ended_is_missing() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) in _NO_UPLOAD:
            raise _ended() from None
        raise
