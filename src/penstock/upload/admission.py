"""Whether an upload may come: its size, its account's share, and the room on the disk, all of it settled beforehand.

What is asked before a session opens is asked again in the transaction that opens it, where others' reservations count. It
knows no bytes but their number, and nothing of how they come.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import Connection

from penstock.catalog import quotas
from penstock.storage.staging import Staging
from penstock.upload.config import UploadConfig
from penstock.upload.receiving import UploadEmpty
from penstock.video.errors import RateLimited, StorageFull, TooLarge

_log = structlog.get_logger()

_TRY_LATER_S = 60  # for an account whose open uploads are too many: one of them must end first


class Admission:
    """The limits of one process; those of an account and of the disk hold over all processes of one catalog."""

    def __init__(self, staging: Staging, config: UploadConfig) -> None:
        self._staging = staging
        self._config = config
        self._rate = MovingWindowRateLimiter(MemoryStorage())
        self._pace = RateLimitItemPerMinute(config.opened_per_minute)
        self._flowing: dict[object, Callable[[], int]] = {}
        self._use = threading.Lock()

    def check(self, account_id: str, size: int | None) -> None:
        """Before anything is made for a new upload. None is a size that is not known.

        Raises :class:`UploadEmpty`, :class:`TooLarge`, :class:`StorageFull` and :class:`RateLimited`.
        """
        if size == 0:
            raise UploadEmpty("The upload has no bytes.")
        if size is not None and size > self._config.max_size:
            raise self.excess()
        self.check_room(size or 0)
        if not self._rate.hit(self._pace, account_id):
            again = self._rate.get_window_stats(self._pace, account_id).reset_time
            raise RateLimited(
                f"More than {self._config.opened_per_minute} uploads were begun within a minute.",
                code="upload_rate_exceeded",
                retry_after=max(1, math.ceil(again - time.time())),
            )

    def check_room(self, size: int) -> None:
        """Raises :class:`StorageFull` where there is no room for ``size`` bytes more."""
        free = self._staging.free_bytes()
        if free is not None and free < self._config.free_reserve + size:
            raise _full(free, size)

    def reserve(self, tx: Connection, account_id: str, size: int | None) -> None:
        """In the transaction that opens an upload. Raises as :meth:`check`, and ``quota_exceeded``."""
        quotas.hold(tx, account_id)
        quota = self._config.account_bytes
        used = quotas.usage(tx, account_id, with_size=quota is not None)
        if used.uploads >= self._config.open_per_account:
            raise RateLimited(
                f"{used.uploads} uploads are open; complete or cancel some.",
                code="too_many_uploads",
                retry_after=_TRY_LATER_S,
            )
        self._check_quota(used, size or 1)
        self._check_reserved(tx, size or 0)

    def settle(self, tx: Connection, account_id: str, upload_id: str, size: int) -> None:
        """In the transaction in which an upload's size becomes known. Raises ``quota_exceeded``."""
        if self._config.account_bytes is not None:
            quotas.hold(tx, account_id)
            used = quotas.usage(tx, account_id, with_size=True, apart_from=upload_id)
            self._check_quota(used, size)

    def excess(self) -> TooLarge:
        """The refusal of more bytes than any upload may have."""
        return TooLarge(f"An upload has at most {self._config.max_size} bytes.", code="upload_too_large")

    @contextmanager
    def flowing(self, unrecorded: Callable[[], int]) -> Iterator[None]:
        """What a writer has on the disk already is not reserved a second time, while it is not in the records."""
        key = object()
        with self._use:
            self._flowing[key] = unrecorded
        try:
            yield
        finally:
            with self._use:
                del self._flowing[key]

    def _check_quota(self, used: quotas.Usage, size: int) -> None:
        quota = self._config.account_bytes
        if quota is not None and used.size + size > quota:
            raise TooLarge(
                f"The account may keep {quota} bytes, and {used.size} of them are used or promised to open uploads; "
                "delete videos or cancel uploads.",
                code="quota_exceeded",
            )

    def _check_reserved(self, tx: Connection, size: int) -> None:
        free = self._staging.free_bytes()
        if free is None:
            return
        promised = quotas.outstanding(tx, heard_within_ms=self._config.reservation_s * 1000)
        with self._use:
            there = sum(unrecorded() for unrecorded in self._flowing.values())
        if free - max(0, promised - there) < self._config.free_reserve + size:
            raise _full(free, size, promised)


def _full(free: int, size: int, promised: int = 0) -> StorageFull:
    _log.warning("upload_refused_full", free=free, size=size, promised=promised)
    return StorageFull("There is not enough room for this upload; try again when there is more.")
