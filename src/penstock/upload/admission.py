"""Whether an upload may come: its size, its account's share, and the room on the disk, all of it settled beforehand.

What is asked before a session opens is asked again in the transaction that opens it, where others' reservations count. It
knows no bytes but their number, and nothing of how they come.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import Connection

from penstock.catalog import accounts, quotas
from penstock.storage.staging import Staging
from penstock.upload.config import UploadConfig
from penstock.upload.receiving import UploadEmpty
from penstock.video.errors import RateLimited, StorageFull, TooLarge

_log = structlog.get_logger()

_TRY_LATER_S = 60  # for an account whose open uploads are too many: one of them must end first


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account may do: as :class:`UploadConfig` says, but for what its record says itself."""

    account_id: str
    upload_size: int  # never above the setting, which every client may be told before anybody knows who it is
    open_uploads: int
    uploads_per_minute: int
    stored_bytes: int | None


class Admission:
    """The limits of one process; those of an account and of the disk hold over all processes of one catalog."""

    def __init__(self, staging: Staging, config: UploadConfig) -> None:
        self._staging = staging
        self._config = config
        self._rate = MovingWindowRateLimiter(MemoryStorage())
        self._flowing: dict[object, Callable[[], int]] = {}
        self._use = threading.Lock()

    def limits(self, tx: Connection, account_id: str) -> Limits:
        """What holds for this account now."""
        own, config = accounts.get(tx, account_id), self._config
        return Limits(
            account_id,
            min(_own_or(own.upload_size, config.max_size), config.max_size),
            _own_or(own.open_uploads, config.open_per_account),
            _own_or(own.uploads_per_minute, config.opened_per_minute),
            config.account_bytes if own.stored_bytes is None else own.stored_bytes,
        )

    def check(self, limits: Limits, size: int | None) -> None:
        """Before anything is made for a new upload. None is a size that is not known.

        Raises :class:`UploadEmpty`, :class:`TooLarge`, :class:`StorageFull` and :class:`RateLimited`.
        """
        if size == 0:
            raise UploadEmpty("The upload has no bytes.")
        if size is not None and size > limits.upload_size:
            raise excess(limits.upload_size)
        self.check_room(size or 0)
        pace = RateLimitItemPerMinute(limits.uploads_per_minute)
        if not self._rate.hit(pace, limits.account_id):
            again = self._rate.get_window_stats(pace, limits.account_id).reset_time
            raise RateLimited(
                f"More than {limits.uploads_per_minute} uploads were begun within a minute.",
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
        limits = self.limits(tx, account_id)
        used = quotas.usage(tx, account_id, with_size=limits.stored_bytes is not None)
        if used.uploads >= limits.open_uploads:
            raise RateLimited(
                f"{used.uploads} uploads are open; complete or cancel some.",
                code="too_many_uploads",
                retry_after=_TRY_LATER_S,
            )
        _check_quota(limits, used, size or 1)
        self._check_reserved(tx, size or 0)

    def settle(self, tx: Connection, account_id: str, upload_id: str, size: int) -> None:
        """In the transaction in which an upload's size becomes known. Raises ``quota_exceeded`` and ``upload_too_large``."""
        limits = self.limits(tx, account_id)
        if size > limits.upload_size:
            raise excess(limits.upload_size)
        if limits.stored_bytes is not None:
            quotas.hold(tx, account_id)
            used = quotas.usage(tx, account_id, with_size=True, apart_from=upload_id)
            _check_quota(limits, used, size)

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

    def _check_reserved(self, tx: Connection, size: int) -> None:
        free = self._staging.free_bytes()
        if free is None:
            return
        promised = quotas.outstanding(tx, heard_within_ms=self._config.reservation_s * 1000)
        with self._use:
            there = sum(unrecorded() for unrecorded in self._flowing.values())
        if free - max(0, promised - there) < self._config.free_reserve + size:
            raise _full(free, size, promised)


def excess(limit: int) -> TooLarge:
    """The refusal of more bytes than an upload may have."""
    return TooLarge(f"An upload has at most {limit} bytes.", code="upload_too_large")


def _own_or(own: int | None, setting: int) -> int:
    return setting if own is None else own


def _check_quota(limits: Limits, used: quotas.Usage, size: int) -> None:
    quota = limits.stored_bytes
    if quota is not None and used.size + size > quota:
        raise TooLarge(
            f"The account may keep {quota} bytes, and {used.size} of them are used or promised to open uploads; "
            "delete videos or cancel uploads.",
            code="quota_exceeded",
        )


def _full(free: int, size: int, promised: int = 0) -> StorageFull:
    _log.warning("upload_refused_full", free=free, size=size, promised=promised)
    return StorageFull("There is not enough room for this upload; try again when there is more.")
