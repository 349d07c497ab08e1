"""The promises of the staging port, over every adapter there is."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.storage.local import LocalStore
from penstock.storage.open import open_staging
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from penstock.storage.staging import Durable, Staged, Staging
from penstock.storage.store import KeyMalformed, ObjectMissing, ObjectStore
from penstock.video.errors import Cancelled
from tests.servers import s3
from tests.servers.s3 import S3Server

MIB = 1024 * 1024
PART = 5 * MIB  # what a bucket wants of each part but the last
VIDEO = "01kq3v5d2m8r1x9c7b4n6t0hsz"


@pytest.fixture(params=["folder", *s3.KINDS])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], ObjectStore]:
    """Opens one and the same store of sources, as each node does for itself."""
    if request.param == "folder":
        return lambda: LocalStore(tmp_path / "store")
    server: S3Server = request.getfixturevalue(request.param)
    config = server.new()
    return lambda: S3Store(config, Pace.WORK)


@pytest.fixture
def store(make_store: Callable[[], ObjectStore]) -> ObjectStore:
    """An empty store of sources."""
    return make_store()


@pytest.fixture
def staging(store: ObjectStore) -> Staging:
    """Its staging."""
    return open_staging(store)


def new(staging: Staging, name: str = "u", most: int = 0) -> Staged:
    """A place for an upload."""
    staging.create(name)
    return Staged(name, f"{VIDEO}/source.{name}", most)


def append(staging: Staging, staged: Staged, offset: int, data: bytes, *, whole: bool = False) -> Durable:
    """One request's bytes."""
    with staging.writing(staged, offset=offset, whole=whole) as writer:
        for start in range(0, len(data), MIB):
            writer.write(data[start : start + MIB])
        return writer.sync()


def some(size: int, seed: int = 1) -> bytes:
    """Bytes that repeat nowhere."""
    return Random(seed).randbytes(size)


def names(staging: Staging) -> list[str]:
    """What is left behind."""
    return sorted(left.name for left in staging.leftovers())


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 17])
def test_a_whole_upload_becomes_the_object(staging: Staging, store: ObjectStore, size: int) -> None:
    """Any number of bytes in one request: durable with its digest, no object before the adoption, and that object after."""
    staged, data = new(staging), some(size)
    durable = append(staging, staged, 0, data, whole=True)
    assert (durable.size, durable.sha256) == (size, hashlib.sha256(data).hexdigest())
    with pytest.raises(ObjectMissing):
        store.head(staged.key or "")
    staged = replace(staged, mark=durable.mark)
    with staging.sealed(staged) as sealed:
        assert sealed.size == size
        assert sealed.digest() in {None, durable.sha256}
        sealed.adopt()
    assert store.get(staged.key or "") == data
    staging.remove(staged)
    assert names(staging) == []
    assert [info.key for info in store.list("")] == [staged.key]


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(1, 7 * MIB), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_appends_of_any_size_by_other_nodes(
    make_store: Callable[[], ObjectStore], cuts: list[int], seed: int
) -> None:
    """Each append is of another node that knows the record alone; whatever the sizes, the object is the bytes in order."""
    name = f"u{seed}-{len(cuts)}-{sum(cuts)}"
    staged, data, offset = new(open_staging(make_store()), name), b"", 0
    for number, size in enumerate(cuts):
        piece = some(size, seed + number)
        durable = append(open_staging(make_store()), staged, offset, piece)
        assert durable.size == size
        staged, data, offset = replace(staged, mark=durable.mark), data + piece, offset + size
    store = make_store()
    with open_staging(store).sealed(staged) as sealed:
        assert sealed.size == len(data)
        sealed.adopt()
    assert store.get(staged.key or "") == data
    open_staging(store).remove(staged)
    assert list(store.list("staging/")) == []


def test_what_was_synced_is_kept_and_the_rest_is_not(staging: Staging, store: ObjectStore) -> None:
    """A writer that dies after its sync loses what came later, and the next one goes on from the mark."""
    staged, data = new(staging), some(2 * PART)
    with staging.writing(staged, offset=0) as writer:
        writer.write(data[: PART + 10])
        first = writer.sync()
        writer.write(data[PART + 10 : PART + 99])
        second = writer.sync()
        assert (first.size, second.size) == (PART + 10, PART + 99)
        writer.write(b"lost")
    # The record may have either mark: the second commit may have failed.
    append(staging, replace(staged, mark=first.mark), first.size, data[first.size :])
    again = append(staging, replace(staged, mark=second.mark), second.size, data[second.size :])
    staged = replace(staged, mark=again.mark)
    with staging.sealed(staged) as sealed:
        sealed.adopt()
    assert store.get(staged.key or "") == data


def test_syncing_again_without_bytes_changes_nothing(staging: Staging) -> None:
    """A request that brought nothing leaves the mark as it was."""
    staged = new(staging)
    durable = append(staging, staged, 0, b"abc")
    staged = replace(staged, mark=durable.mark)
    again = append(staging, staged, 3, b"")
    assert (again.size, again.mark) == (0, durable.mark)


def test_a_single_part_starts_over(staging: Staging, store: ObjectStore) -> None:
    """A second, shorter attempt at a whole upload leaves nothing of the first."""
    staged = new(staging)
    for size in (2 * PART + 5, 1000):
        durable = append(staging, staged, 0, some(size, size), whole=True)
        staged = replace(staged, mark=durable.mark)
    with staging.sealed(staged) as sealed:
        assert sealed.size == 1000
        sealed.adopt()
    assert store.get(staged.key or "") == some(1000, 1000)
    staging.remove(staged)
    assert names(staging) == []


@pytest.mark.parametrize("size", [100, PART, PART + 100])
def test_adopting_what_a_dead_process_adopted(staging: Staging, store: ObjectStore, size: int) -> None:
    """Where the record of an adopted upload was never written, it is found: by adopting again, or as the object."""
    staged, data = new(staging), some(size)
    staged = replace(staged, mark=append(staging, staged, 0, data, whole=True).mark)
    with staging.sealed(staged) as sealed:
        sealed.adopt()
    try:
        with staging.sealed(staged) as sealed:
            sealed.adopt()
    except ObjectMissing:
        pass
    assert store.get(staged.key or "") == data


def test_removing_wins_over_a_writer(staging: Staging, store: ObjectStore) -> None:
    """A cancelled upload is gone at once; nothing that is still written to it becomes an object."""
    staged = new(staging)
    kept = append(staging, staged, 0, some(PART + 5))
    staged = replace(staged, mark=kept.mark)
    staging.remove(staged)
    staging.remove(staged)
    assert names(staging) == []
    with pytest.raises(ObjectMissing) as caught, staging.sealed(staged) as sealed:
        sealed.adopt()
    assert caught.value.code == "upload_missing"
    with pytest.raises(ObjectMissing):
        append(staging, staged, PART + 5, some(2 * PART))
    assert list(store.list("")) == []


def test_leftovers_are_found_without_a_record(staging: Staging, store: ObjectStore) -> None:
    """What a crash left is listed by its name and removed by what the listing says, and objects are not touched."""
    store.put(f"{VIDEO}/source.other", b"an object")
    small, large = new(staging, "small"), new(staging, "large")
    append(staging, small, 0, b"x")
    append(staging, large, 0, some(PART + 1))
    assert names(staging) == ["large", "small"]
    for left in list(staging.leftovers()):
        staging.remove(left)
    assert names(staging) == []
    assert [info.key for info in store.list("")] == [f"{VIDEO}/source.other"]


def test_uploads_do_not_meet(staging: Staging, store: ObjectStore) -> None:
    """Several at once, in threads that share one staging, each become their own bytes."""

    def upload(number: int) -> bool:
        staged, data = new(staging, f"u{number}"), some(PART + 1000, number)
        staged = replace(staged, mark=append(staging, staged, 0, data, whole=True).mark)
        with staging.sealed(staged) as sealed:
            sealed.adopt()
        staging.remove(staged)
        return store.get(staged.key or "") == data

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(upload, range(6)))


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\0"])
def test_only_plain_names(staging: Staging, name: str) -> None:
    """A staged name can leave the staging as little as a key can leave the store."""
    with pytest.raises(KeyMalformed):
        staging.create(name)
    with pytest.raises(KeyMalformed):
        staging.remove(Staged(name, None))


def test_a_closed_writer_writes_no_more(staging: Staging) -> None:
    """Who was told to stop cannot go on."""
    with staging.writing(new(staging), offset=0) as writer:
        writer.write(b"x")
        writer.close()
        with pytest.raises(Cancelled):
            writer.write(b"late")
        with pytest.raises(Cancelled):
            writer.sync()
