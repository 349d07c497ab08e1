import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.storage.disk_cache import DiskCache, ObjectDiffers
from penstock.storage.local import LocalStore
from penstock.storage.store import ObjectMissing
from penstock.video.errors import Cancelled, StorageUnavailable


class Counting(LocalStore):
    """A store that counts what is fetched from it, slowly enough for others to come meanwhile."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetches: list[str] = []

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the store does."""
        self.fetches.append(key)
        for piece in super().stream(key, start=start, end=end):
            threading.Event().wait(0.02)
            yield piece


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    """A store that stands for a remote one."""
    return Counting(tmp_path / "store")


def cache_of(store: Counting, tmp_path: Path, limit: int = 1_000_000, grace_s: float = 0) -> DiskCache:
    """The cache of one process."""
    return DiskCache(tmp_path / "cache", store, limit, grace_s=grace_s)


def go_on() -> None:
    """Nobody calls it off."""


def digest(data: bytes) -> str:
    """As records hold it."""
    return hashlib.sha256(data).hexdigest()


def files(tmp_path: Path) -> int:
    """How many objects the folder has."""
    return sum(not path.suffix for path in (tmp_path / "cache").iterdir())


def aged(tmp_path: Path) -> None:
    """All entries were used long ago, in the order of their names' times."""
    for path in (tmp_path / "cache").iterdir():
        if not path.suffix:
            used = path.stat().st_mtime - 1000
            os.utime(path, (used, used))


def test_many_at_once_fetch_once(store: Counting, tmp_path: Path) -> None:
    """Threads with caches of their own, as processes have them, make one fetch together and get the same bytes."""
    data = os.urandom(300_000)
    store.put("v/a", data)

    def read(number: int) -> bytes:
        cache = cache_of(store, tmp_path)
        if number % 2:
            return cache.fetched("v/a", size=len(data), sha256=digest(data)).read_bytes()
        with cache.held("v/a", go_on) as path:
            return path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(16))) == {data}
    assert store.fetches == ["v/a"]
    assert cache_of(store, tmp_path).found("v/a", len(data)) is not None


def test_least_recently_used_goes_first(store: Counting, tmp_path: Path) -> None:
    """The folder stays within its limit, and what was used last stays in it."""
    cache = cache_of(store, tmp_path, limit=1000)
    for number in range(20):
        store.put(f"v/{number}", bytes([number]) * 100)
        cache.fetched(f"v/{number}", size=100, sha256=digest(bytes([number]) * 100))
        aged(tmp_path)
        with cache.held("v/0", go_on):
            pass
    assert files(tmp_path) <= 10
    assert store.fetches.count("v/0") == 1
    assert store.fetches == [f"v/{number}" for number in range(20)]


def test_what_is_held_is_never_removed(store: Counting, tmp_path: Path) -> None:
    """A file in use outlives any shortage, also one larger than the limit."""
    cache = cache_of(store, tmp_path, limit=100)
    store.put("v/large", b"x" * 500)
    with cache.held("v/large", go_on) as path:
        for number in range(5):
            store.put(f"v/{number}", b"y" * 90)
            aged(tmp_path)
            cache_of(store, tmp_path, limit=100).fetched(f"v/{number}", size=90, sha256=digest(b"y" * 90))
        assert path.read_bytes() == b"x" * 500
    aged(tmp_path)
    store.put("v/last", b"z")
    cache_of(store, tmp_path, limit=100).fetched("v/last", size=1, sha256=digest(b"z"))
    assert not path.exists()


def test_what_was_handed_out_stays_for_a_grace(store: Counting, tmp_path: Path) -> None:
    """A server opens a file some time after it was told of it."""
    cache = cache_of(store, tmp_path, limit=100, grace_s=60)
    given = []
    for number in range(5):
        store.put(f"v/{number}", bytes([number]) * 90)
        given.append(cache.fetched(f"v/{number}", size=90, sha256=digest(bytes([number]) * 90)))
    assert all(path.exists() for path in given)


def test_other_bytes_are_not_kept(store: Counting, tmp_path: Path) -> None:
    """What differs from its record in size or digest is refused and fetched anew the next time."""
    store.put("v/a", b"right")
    cache = cache_of(store, tmp_path)
    for size, sha256 in ((5, digest(b"wrong")), (4, digest(b"right"))):
        with pytest.raises(ObjectDiffers):
            cache.fetched("v/a", size=size, sha256=sha256)
    assert files(tmp_path) == 0
    assert cache.fetched("v/a", size=5, sha256=digest(b"right")).read_bytes() == b"right"


def test_a_fetch_that_fails_leaves_nothing(store: Counting, tmp_path: Path) -> None:
    """A missing object, a store that breaks off and a task that is called off leave no half file behind."""
    cache = cache_of(store, tmp_path)
    with pytest.raises(ObjectMissing), cache.held("v/none", go_on):
        pass
    store.put("v/a", bytes(3 * 1024 * 1024))
    seen = iter([None, None, None, None])

    def call_off() -> None:
        if next(seen, Cancelled) is Cancelled:
            raise Cancelled("The work was called off.")

    with pytest.raises(Cancelled), cache.held("v/a", call_off):
        pass
    assert [path.suffix for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"] == []
    with cache.held("v/a", go_on) as path:
        assert path.stat().st_size == 3 * 1024 * 1024


def test_waiting_for_another_can_be_called_off(store: Counting, tmp_path: Path) -> None:
    """Who waits while another process fetches is not stuck with it."""
    cache = cache_of(store, tmp_path)
    store.put("v/a", b"x")
    cache.fetched("v/a", size=1, sha256=digest(b"x"))
    lock = next(path for path in (tmp_path / "cache").iterdir() if path.suffix == ".lock")
    with lock.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        begun = time.monotonic()

        def impatient() -> None:
            if time.monotonic() - begun > 0.2:
                raise Cancelled("The work was called off.")

        with pytest.raises(Cancelled), cache.held("v/a", impatient):
            pass


def test_a_file_of_another_size_is_not_served(store: Counting, tmp_path: Path) -> None:
    """What somebody cut short on the disk does not reach a player."""
    store.put("v/a", b"right")
    cache = cache_of(store, tmp_path)
    path = cache.fetched("v/a", size=5, sha256=digest(b"right"))
    path.write_bytes(b"righ")
    assert cache.found("v/a", 5) is None
    assert cache.fetched("v/a", size=5, sha256=digest(b"right")).read_bytes() == b"right"


def test_a_folder_that_cannot_be_made_is_said(store: Counting, tmp_path: Path) -> None:
    """The operating system's refusal becomes an error that says so."""
    store.put("v/a", b"x")
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        cache_of(store, tmp_path).fetched("v/a", size=1, sha256=digest(b"x"))
