import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.storage.disk_cache import DiskCache
from penstock.storage.local import LocalStore
from penstock.streaming.cache import SegmentCache
from penstock.streaming.problems import ObjectDamaged
from penstock.streaming.publication import Item
from penstock.video.errors import StorageFull, StorageUnavailable


class Gated(LocalStore):
    """A store that answers when the test lets it, and counts."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()
        self.fetches = 0
        self.fault: Exception | None = None

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the store does, after the gate."""
        self.fetches += 1
        assert self.gate.wait(30)
        if self.fault is not None:
            raise self.fault
        yield from super().stream(key, start=start, end=end)


@pytest.fixture
def store(tmp_path: Path) -> Gated:
    """A store that stands for a remote one."""
    return Gated(tmp_path / "store")


@pytest.fixture
def cache(store: Gated, tmp_path: Path) -> SegmentCache:
    """An empty cache of it."""
    return SegmentCache(DiskCache(tmp_path / "cache", store, 1_000_000))


def stored(store: Gated, data: bytes) -> Item:
    """A published object."""
    store.put("v/t.1/a", data)
    return Item("v/t.1/a", len(data), hashlib.sha256(data).hexdigest()[:32], "video/mp4", None)


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (a thread's doing, which sets no event of this loop)
            await asyncio.sleep(0.005)


def test_a_crowd_fetches_once(store: Gated, cache: SegmentCache) -> None:
    """A hundred players ask for a new segment at the same moment; the store is asked once, and never again."""
    data = os.urandom(50_000)
    item = stored(store, data)

    async def crowd() -> None:
        asking = [asyncio.create_task(cache.path(item)) for _ in range(100)]
        await until(lambda: store.fetches == 1)
        store.gate.set()
        paths = await asyncio.gather(*asking)
        assert {path.read_bytes() for path in paths if path} == {data}
        assert await cache.path(item) == paths[0]

    asyncio.run(crowd())
    assert store.fetches == 1


def test_who_leaves_takes_nothing_along(store: Gated, cache: SegmentCache) -> None:
    """The first to ask goes away while the object is fetched; the others get it."""
    item = stored(store, b"segment")

    async def leave() -> None:
        first, second = (asyncio.create_task(cache.path(item)) for _ in range(2))
        await until(lambda: store.fetches == 1)
        first.cancel()
        store.gate.set()
        path = await second
        assert path is not None
        assert path.read_bytes() == b"segment"
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(leave())
    assert store.fetches == 1


def test_damage_is_said_and_not_kept(store: Gated, cache: SegmentCache) -> None:
    """Bytes that are not the published ones reach nobody, and a repaired object is fetched again."""
    item = stored(store, b"segment")
    store.gate.set()
    store.put(item.key, b"segmemt")

    async def ask() -> Path | None:
        return await cache.path(item)

    with pytest.raises(ObjectDamaged):
        asyncio.run(ask())
    store.put(item.key, b"segment")
    path = asyncio.run(ask())
    assert path is not None
    assert path.read_bytes() == b"segment"


def test_a_store_that_is_away_is_asked_again_next_time(store: Gated, cache: SegmentCache) -> None:
    """An outage is an error for those who asked, and is not remembered."""
    item = stored(store, b"segment")
    store.gate.set()

    async def ask() -> Path | None:
        return await cache.path(item)

    store.fault = StorageUnavailable("No answer.")
    with pytest.raises(StorageUnavailable):
        asyncio.run(ask())
    store.fault = StorageFull("No room on this disk.")
    assert asyncio.run(ask()) is None  # then it is sent without being kept
    store.fault = None
    assert asyncio.run(ask()) is not None
