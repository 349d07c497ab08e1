import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.storage import durable, folder_staging
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.storage.staging import Staged, StagingBusy
from penstock.storage.store import KeyMalformed, ObjectMissing
from penstock.video.errors import Cancelled

U = Staged("u", "v/source")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty folder store."""
    return LocalStore(tmp_path / "store")


@pytest.fixture
def staging(store: LocalStore) -> FolderStaging:
    """The store's staging."""
    return FolderStaging(store)


def write(staging: FolderStaging, offset: int, data: bytes) -> str:
    """One part, written and synced; its digest."""
    with staging.writing(U, offset=offset) as part:
        part.write(data)
        return part.sync().sha256


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(min_size=1, max_size=500),
    part_size=st.integers(1, 200),
    order=st.randoms(use_true_random=False),
)
def test_parts_in_any_order_make_the_whole(
    staging: FolderStaging, store: LocalStore, data: bytes, part_size: int, order: object
) -> None:
    """Parts written in any order, some twice, adopted, are the object; each part's digest is its own bytes'."""
    offsets = list(range(0, len(data), part_size))
    shuffled = sorted([*offsets, offsets[0]], key=lambda _: order.random())  # type: ignore[attr-defined]
    staging.create("u")
    for offset in shuffled:
        piece = data[offset : offset + part_size]
        assert write(staging, offset, piece) == hashlib.sha256(piece).hexdigest()
    with staging.sealed(U) as sealed:
        assert sealed.size == len(data)
        assert sealed.digest() == hashlib.sha256(data).hexdigest()
        sealed.adopt()
    assert store.get("v/source") == data
    staging.remove(U)
    assert list(staging.leftovers()) == []


def test_staged_bytes_are_not_objects(staging: FolderStaging, store: LocalStore) -> None:
    """Nothing of an unfinished upload is listed or readable as an object."""
    staging.create("u")
    write(staging, 0, b"x")
    assert list(store.list("")) == []
    assert [left.name for left in staging.leftovers()] == ["u"]


def test_the_disk_begins_while_bytes_still_come(
    staging: FolderStaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was written, each byte once, where it lies in the file; and nothing is lost if the system will not."""
    begun: list[tuple[int, int]] = []

    def begin(descriptor: int, offset: int, size: int) -> None:
        begun.append((offset, offset + size))
        durable.begin_sync(descriptor, offset, size)
        durable.begin_sync(-1, offset, size)  # an error is the sync's to tell

    monkeypatch.setattr(folder_staging, "begin_sync", begin)
    staging.create("u")
    data = random.Random(1).randbytes(3 << 20)
    with staging.writing(U, offset=1000) as part:
        for _ in range(10):
            part.write(data)
        assert part.sync().sha256 == hashlib.sha256(data * 10).hexdigest()
    assert begun[0][0] == 1000
    assert [end for _, end in begun[:-1]] == [start for start, _ in begun[1:]]
    assert 0 <= 1000 + 10 * len(data) - begun[-1][1] < folder_staging._WORTH_BEGINNING


def test_one_writer_per_part(staging: FolderStaging) -> None:
    """Two requests for one part exclude each other; different parts do not."""
    staging.create("u")
    with staging.writing(U, offset=0), staging.writing(U, offset=10):
        with pytest.raises(StagingBusy) as caught, staging.writing(U, offset=10):
            pass
        assert caught.value.retry_after == 1
    with staging.writing(U, offset=10):
        pass


def test_no_sealing_while_someone_writes_and_no_writing_when_sealed(staging: FolderStaging) -> None:
    """What is hashed and adopted is what nobody can change any more."""
    staging.create("u")
    with staging.writing(U, offset=0), pytest.raises(StagingBusy), staging.sealed(U):
        pass
    with staging.sealed(U) as sealed:
        with pytest.raises(StagingBusy), staging.writing(U, offset=0):
            pass
        with pytest.raises(StagingBusy), staging.sealed(U):
            pass
        sealed.adopt()
    with pytest.raises(ObjectMissing) as caught, staging.writing(U, offset=0):
        pass
    assert caught.value.code == "upload_missing"


def test_threads_exclude_each_other(staging: FolderStaging) -> None:
    """Of many threads that write one part at the same moment, every byte of the result is from one of them."""
    staging.create("u")
    barrier = threading.Barrier(8)

    def attempt(number: int) -> bool:
        barrier.wait()
        try:
            with staging.writing(U, offset=0) as part:
                for _ in range(50):
                    part.write(bytes([number]) * 1000)
                part.sync()
        except StagingBusy:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert any(pool.map(attempt, range(8)))
    with staging.sealed(U) as sealed:
        sealed.adopt()
    content = LocalStore.get(staging._store, "v/source")
    assert len(content) == 50_000
    assert len(set(content)) == 1


def test_a_single_part_starts_over(staging: FolderStaging, store: LocalStore) -> None:
    """A second, shorter attempt at a whole upload leaves no tail of the first."""
    staging.create("u")
    for data in (b"a long first attempt", b"short"):
        with staging.writing(U, offset=0, whole=True) as part:
            part.write(data)
            part.sync()
    with staging.sealed(U) as sealed:
        sealed.adopt()
    assert store.get("v/source") == b"short"


def test_removing_wins_over_a_writer(staging: FolderStaging) -> None:
    """A cancelled upload is gone at once; whoever still writes it can neither finish nor bring it back."""
    staging.create("u")
    with staging.writing(U, offset=0) as part:
        part.write(b"x")
        staging.remove(U)
        part.sync()
    staging.remove(U)
    for attempt in (lambda: staging.writing(U, offset=0), lambda: staging.sealed(U)):
        with pytest.raises(ObjectMissing), attempt():
            pass
    assert list(staging.leftovers()) == []


def test_creating_twice_keeps_the_bytes(staging: FolderStaging) -> None:
    """A repeated creation changes nothing."""
    staging.create("u")
    write(staging, 0, b"kept")
    staging.create("u")
    with staging.sealed(U) as sealed:
        assert sealed.size == 4


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\0"])
def test_only_plain_names(staging: FolderStaging, name: str) -> None:
    """A staged name can leave the staging folder as little as a key can leave the store."""
    with pytest.raises(KeyMalformed):
        staging.create(name)
    with pytest.raises(KeyMalformed):
        staging.remove(Staged(name, None))


def test_closing_waits_for_a_write_under_way(staging: FolderStaging) -> None:
    """A descriptor is never closed under a thread that writes through it: its number may be another file's next."""
    staging.create("u")
    closed = threading.Event()
    with staging.writing(U, offset=0) as part, part._transfer.used():  # as a write holds it

        def close() -> None:
            part.close()
            closed.set()

        closing = threading.Thread(target=close)
        closing.start()
        assert not closed.wait(0.05)
    assert closed.wait(10)
    closing.join()
    with pytest.raises(Cancelled):
        part.write(b"late")
    with pytest.raises(Cancelled):
        part.sync()


def test_who_writes_alone_excludes_everybody(staging: FolderStaging) -> None:
    """Neither another range nor the sealing goes beside a writer that must be alone, whichever came first."""
    staging.create("one")
    one = Staged("one", "a/b")
    with staging.writing(one, offset=0, alone=True):
        with pytest.raises(StagingBusy), staging.writing(one, offset=10, alone=True):
            pass
        with pytest.raises(StagingBusy), staging.writing(one, offset=10):
            pass
        with pytest.raises(StagingBusy), staging.sealed(one):
            pass
    with (
        staging.writing(one, offset=0),
        pytest.raises(StagingBusy),
        staging.writing(one, offset=9, alone=True),
    ):
        pass
    with staging.writing(one, offset=10, alone=True):
        pass


def test_what_lies_beyond_the_declared_size_is_cut_off(staging: FolderStaging, store: LocalStore) -> None:
    """Bytes that were written and never counted do not become part of the object."""
    staging.create("one")
    one = Staged("one", "a/b", most=3)
    with staging.writing(one, offset=0, alone=True) as writer:
        writer.write(b"123456")
    with staging.sealed(one) as sealed:
        assert sealed.size == 3
        sealed.adopt()
    assert store.get("a/b") == b"123"
