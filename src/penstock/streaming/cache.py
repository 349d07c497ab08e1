"""Segments of a remote store as files of this machine: fetched once however many players ask at the same moment.

The file is opened by the server after it was told of it; the disk cache keeps what was handed out long enough for that.
It knows objects and their digests, and nothing of requests.
"""

import asyncio
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from penstock.storage.disk_cache import DiskCache, ObjectDiffers
from penstock.streaming.problems import ObjectDamaged
from penstock.streaming.publication import Item
from penstock.video.errors import StorageFull

# Threads that wait for the store. Those who wait for the same object wait for one; players of what is here for none.
_FETCHES_AT_ONCE = 32


class SegmentCache:
    """Wraps the disk cache for one event loop."""

    def __init__(self, disk: DiskCache) -> None:
        self._disk = disk
        self._fetching: dict[str, asyncio.Task[Path]] = {}
        self._threads: anyio.CapacityLimiter | None = None

    async def path(self, item: Item) -> Path | None:
        """The object as a whole file; None where the disk has no room for it.

        Raises :class:`ObjectDamaged` where the store has other bytes than were published, and the store's errors.
        """
        # One call to the local file system, whose answer is in memory: a thread would cost more than it does.
        there = self._disk.found(item.key, item.size)
        if there is not None:
            return there
        task = self._fetching.get(item.key)
        if task is None:
            task = self._fetching[item.key] = asyncio.create_task(self._fetch(item))
            task.add_done_callback(lambda done: self._ended(item.key, done))
        try:
            return await asyncio.shield(task)  # a player that goes takes nothing from those who wait with it
        except StorageFull:
            return None
        except ObjectDiffers:
            raise ObjectDamaged("What is stored is not what was published.") from None

    async def _fetch(self, item: Item) -> Path:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_FETCHES_AT_ONCE)

        def fetch() -> Path:
            return self._disk.fetched(item.key, size=item.size, sha256=item.etag)

        return await run_sync(fetch, limiter=self._threads)

    def _ended(self, key: str, task: asyncio.Task[Path]) -> None:
        del self._fetching[key]
        if not task.cancelled():
            task.exception()  # looked at, though everybody who asked may have gone
