"""Uploads that go past this service, straight into the bucket: it signs addresses, and asks the store what arrived.

Signing is computing alone. The store's own listing says which parts are there, and their sizes and ETags; no client's word
counts. The digest of the whole is processing's to verify, who reads all of it. On a folder the service receives parts itself.
"""

import time
from typing import TYPE_CHECKING

from penstock.catalog.records import Upload, UploadPart
from penstock.storage.store import ObjectMissing
from penstock.upload.config import UploadConfig
from penstock.upload.outcomes import ended, part_map, staged
from penstock.upload.parts import Part
from penstock.upload.urls import SignedUrl

if TYPE_CHECKING:  # who keeps a folder loads no client of buckets
    from penstock.storage.bucket_staging import BucketStaging

LEAST_PART = 5 * 1024 * 1024  # bytes: S3's own limit for all parts but the last


class DirectParts:
    """The parts of ``direct`` uploads in one bucket."""

    def __init__(self, staging: "BucketStaging", config: UploadConfig) -> None:
        self._staging = staging
        self._config = config

    def begin(self, key: str) -> str:
        """A place for the parts of the object ``key``; the mark to record."""
        return self._staging.begin_direct(key)

    def address(self, upload: Upload, part: Part) -> SignedUrl:
        """Where exactly this part may be PUT."""
        life = self._config.url_life_s
        url = self._staging.signed_part(staged(upload, self._config), part.number, part.size, life)
        return SignedUrl(url, int(time.time()) + life)

    def present(self, upload: Upload) -> list[UploadPart]:
        """The parts that the store has whole. Raises :class:`Gone` where the upload has ended.

        Some stores keep what came of a part whose connection broke, as a shorter part.
        """
        sizes = {part.number: part.size for part in part_map(upload).all()}
        try:
            found = self._staging.present_parts(staged(upload, self._config))
        except ObjectMissing:
            raise ended() from None
        return [
            UploadPart(
                upload.id, part.number, part.size, part.etag, sha256=None, received_at=upload.updated_at
            )
            for part in found
            if sizes.get(part.number) == part.size
        ]
