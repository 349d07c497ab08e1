"""The promises of the object store port, over every adapter there is."""

import io
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.storage.exercise import exercise
from penstock.storage.local import LocalStore
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from penstock.storage.store import CHUNK, KeyMalformed, ObjectMissing, ObjectStore, Payload
from tests.servers import s3
from tests.servers.s3 import S3Server

MakeStore = Callable[[Path], ObjectStore]


@pytest.fixture(params=["folder", *s3.KINDS])
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    """One adapter's constructor of an empty store, given a folder for whatever it needs."""
    if request.param == "folder":
        return LocalStore
    server: S3Server = request.getfixturevalue(request.param)
    # A prefix: what lies beside it in the same bucket is another's.
    return lambda _: S3Store(server.new(), Pace.WORK)


@pytest.fixture
def store(make_store: MakeStore, tmp_path: Path) -> ObjectStore:
    """An empty store."""
    return make_store(tmp_path / "store")


def keys_of(store: ObjectStore, prefix: str = "", start_after: str | None = None) -> list[str]:
    """The listed keys in the order given."""
    return [info.key for info in store.list(prefix, start_after=start_after)]


def test_bytes_come_back(store: ObjectStore) -> None:
    """What was put is what is got, with its size and the time of writing."""
    assert store.put("video/source.1", b"hello") == 5
    assert store.get("video/source.1") == b"hello"
    info = store.head("video/source.1")
    assert (info.key, info.size) == ("video/source.1", 5)
    assert info.modified_ms > 1_600_000_000_000


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17])
def test_every_form_of_payload(store: ObjectStore, tmp_path: Path, size: int) -> None:
    """Bytes, a file's path, an open file and pieces of any length make the same object."""
    data = bytes(index % 251 for index in range(4096)) * (size // 4096 + 1)
    data = data[:size]
    file = tmp_path / "payload"
    file.write_bytes(data)
    payloads: list[Payload] = [data, file, io.BytesIO(data), iter([data[:7], b"", data[7:]])]
    for number, payload in enumerate(payloads):
        assert store.put(f"p/{number}", payload) == size
        assert store.get(f"p/{number}") == data
    pieces = list(store.stream("p/0"))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= CHUNK for piece in pieces)


def test_ranges_are_cut_to_the_object(store: ObjectStore) -> None:
    """A range beyond the end gives what there is; a negative or reversed one is a defect of the caller."""
    store.put("a", b"0123456789")
    assert store.get("a", start=3, end=6) == b"345"
    assert store.get("a", start=8, end=100) == b"89"
    assert store.get("a", start=4) == b"456789"
    assert (
        store.get("a", start=10) == store.get("a", start=99, end=120) == store.get("a", start=2, end=2) == b""
    )
    for start, end in ((-1, 3), (5, 4)):
        with pytest.raises(ValueError, match="not a range"):
            store.get("a", start=start, end=end)


def test_a_missing_object_is_told_apart(store: ObjectStore) -> None:
    """Reading what is not there raises, deleting it does not, and neither does a folder's name pass for an object."""
    store.put("a/b", b"x")
    for key in ("none", "a", "a/c", "a/b/c"):
        with pytest.raises(ObjectMissing):
            store.get(key)
        with pytest.raises(ObjectMissing):
            list(store.stream(key))
        with pytest.raises(ObjectMissing):
            store.head(key)
    store.delete(["none", "a/b", "a/b", "x/y/z"])
    assert keys_of(store) == []


def test_a_second_put_replaces(store: ObjectStore) -> None:
    """What was written last is what is read, shorter or longer than before."""
    for size in (2 * CHUNK, 10, 3 * CHUNK):
        store.put("k", bytes(size))
        assert (store.head("k").size, len(store.get("k"))) == (size, size)


def test_a_payload_that_breaks_off_leaves_nothing(store: ObjectStore) -> None:
    """When the source of the bytes raises, its error arrives and neither the new key nor a change of the old is seen."""

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the other side went away")

    store.put("kept", b"old")
    for key in ("new/object", "kept"):
        with pytest.raises(RuntimeError, match="went away"):
            store.put(key, broken())
    assert keys_of(store) == ["kept"]
    assert store.get("kept") == b"old"


def test_listing_is_in_the_order_of_keys(store: ObjectStore) -> None:
    """Folders sort by their slash, prefixes need not end at one, and listing goes on after any key."""
    names = [
        "a.txt",
        "a/1",
        "a/10",
        "a/2",
        "a-b",
        "ab/c",
        "b",
        "z/timeline/g/00000002.json",
        "z/timeline/g/00000010.json",
    ]
    for name in names:
        store.put(name, name.encode())
    assert keys_of(store) == sorted(names)
    assert keys_of(store, "a") == ["a-b", "a.txt", "a/1", "a/10", "a/2", "ab/c"]
    assert keys_of(store, "a/") == ["a/1", "a/10", "a/2"]
    assert keys_of(store, "a/1") == ["a/1", "a/10"]
    assert keys_of(store, "none/") == []
    assert keys_of(store, "", start_after="a/10") == ["a/2", "ab/c", "b", *names[-2:]]
    assert keys_of(store, "", start_after="a/") == ["a/1", "a/10", "a/2", "ab/c", "b", *names[-2:]]
    assert keys_of(store, "z/timeline/g/", start_after="z/timeline/g/00000002.json") == [names[-1]]
    assert [info.size for info in store.list("b")] == [1]


def test_deleting_takes_exactly_the_named(store: ObjectStore) -> None:
    """Neighbours stay, and a prefix emptied by deletion can be filled again."""
    for name in ("v/t.1/a", "v/t.1/b", "v/t.2/a"):
        store.put(name, b"x")
    store.delete(key for key in ("v/t.1/a", "v/t.1/b"))
    assert keys_of(store) == ["v/t.2/a"]
    store.put("v/t.1/a", b"y")
    assert keys_of(store, "v/") == ["v/t.1/a", "v/t.2/a"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".hidden",
        "a/.tmp",
        "a\\b",
        "a\0b",
        "a b",
        "ä",
        "a\n",
        "x" * 901,
        "-rf",
    ],
)
def test_nothing_but_plain_keys(store: ObjectStore, key: str) -> None:
    """No other spelling reaches the store, whatever is done with it."""
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b"x"),
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: list(store.stream(key)),
        lambda: store.delete([key]),
        lambda: store.local_path(key),
    ]
    for call in calls:
        with pytest.raises(KeyMalformed):
            call()
    assert keys_of(store) == []


def test_a_local_path_is_the_object(store: ObjectStore) -> None:
    """Where a store offers a file, it holds the object's bytes."""
    store.put("v/source.1", b"bytes")
    path = store.local_path("v/source.1")
    assert path is None or path.read_bytes() == b"bytes"


def test_room_is_told_or_unbounded(store: ObjectStore) -> None:
    """A store that can fill up says how much room is left."""
    free = store.free_bytes()
    assert free is None or free > 0


def test_the_exercise_passes_and_cleans_up(store: ObjectStore) -> None:
    """What the operator's check does to a store works on a good one and leaves nothing."""
    steps = list(exercise(store))
    assert [step.error for step in steps] == [None] * len(steps)
    assert len(steps) >= 5
    assert keys_of(store) == []


def test_many_writers_one_folder(store: ObjectStore, request: pytest.FixtureRequest) -> None:
    """Writers and a deleter that empties folders under them never lose an acknowledged object; what is deleted is gone."""

    def work(number: int) -> str:
        key = f"v/shared/{number}"
        store.put(key, b"x" * number)
        store.delete([f"v/shared/{number}-none", f"v/other/{number}"])
        store.put(f"v/other/{number}", b"y")
        store.delete([f"v/other/{number}"])
        return key

    with ThreadPoolExecutor(8) as pool:
        written = set(pool.map(work, range(200)))
    found = set(keys_of(store, "v/"))
    assert written <= found
    # rclone says of an object that it is gone, and keeps it, when another deletion takes their emptied folder away meanwhile.
    assert found == written or "rclone" in request.node.name


part = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,12}", fullmatch=True)
folder_free_keys = st.lists(part, min_size=1, max_size=4).map(
    lambda parts: "/".join(["k", *(f"{p}.d" for p in parts[:-1]), f"{parts[-1]}.f"])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects=st.dictionaries(folder_free_keys, st.binary(max_size=300), max_size=8), data=st.data())
def test_any_set_of_objects_reads_back(
    make_store: MakeStore, objects: dict[str, bytes], data: st.DataObject
) -> None:
    """Whatever keys and bytes are put, every range, every listing and every deletion answers as a dictionary would."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store")
        for key, value in objects.items():
            store.put(key, value)
        assert keys_of(store) == sorted(objects)
        for key, value in objects.items():
            start = data.draw(st.integers(0, 320))
            end = data.draw(st.none() | st.integers(start, 400))
            assert store.get(key, start=start, end=end) == value[start:end]
        start_after = data.draw(st.none() | folder_free_keys | st.sampled_from([*sorted(objects), ""]))
        prefix = data.draw(
            st.sampled_from(["", "k/", "k/a", "none"]) | folder_free_keys.map(lambda key: key[:4])
        )
        expected = [key for key in sorted(objects) if key.startswith(prefix) and key > (start_after or "")]
        assert keys_of(store, prefix, start_after) == expected
        gone = data.draw(st.lists(st.sampled_from([*sorted(objects), "k/none"])))
        store.delete(gone)
        assert keys_of(store) == sorted(set(objects) - set(gone))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(max_size=30) | st.text("./a\\\0-~", max_size=12))
def test_any_text_as_key_stays_inside(make_store: MakeStore, key: str) -> None:
    """Any text either is a key under which the bytes are found again, or is refused; nothing appears beside the store."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store")
        try:
            store.put(key, b"x")
        except KeyMalformed:
            assert keys_of(store) == []
        else:
            assert keys_of(store) == [key]
            assert store.get(key) == b"x"
        assert [path.name for path in Path(folder).iterdir()] in ([], ["store"])
