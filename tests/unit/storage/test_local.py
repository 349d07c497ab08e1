import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import faults
from penstock.faults import Point
from penstock.storage.local import LocalStore
from penstock.storage.open import open_store
from penstock.storage.s3_access import Pace, StoreConfig
from penstock.storage.store import CHUNK, ObjectMissing
from penstock.video.errors import ConfigurationError, PermanentError, StorageUnavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the store will be."""
    return tmp_path / "deep" / "store"


def test_the_root_is_made_for_its_owner_alone(root: Path) -> None:
    """A new store is closed to other users, since sources are private."""
    LocalStore(root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_processes_that_start_at_once_share_the_root_that_one_of_them_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look whether it is there and its making, another may have made it."""
    is_dir = Path.is_dir

    def overtaken(path: Path) -> bool:
        if path == root and not is_dir(root):
            monkeypatch.undo()
            LocalStore(root).put("v/a", b"theirs")
            return False
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", overtaken)
    assert LocalStore(root).get("v/a") == b"theirs"


def test_a_file_in_the_place_of_the_root_is_refused(root: Path) -> None:
    """It is not taken for a store, and not touched."""
    root.parent.mkdir()
    root.write_bytes(b"a file")
    with pytest.raises(StorageUnavailable):
        LocalStore(root)
    assert root.read_bytes() == b"a file"


def test_links_below_the_root_are_neither_followed_nor_listed(root: Path, tmp_path: Path) -> None:
    """A link to a file or a folder elsewhere gives nothing away and takes nothing in."""
    store = LocalStore(root)
    store.put("v/real", b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "v" / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    for key in ("v/file", "folder/secret", "folder/new"):
        for call in (
            store.get,
            store.head,
            store.local_path,
            lambda key: store.put(key, b"y"),
            lambda key: store.delete([key]),
        ):
            with pytest.raises(StorageUnavailable):
                call(key)
    assert [info.key for info in store.list("")] == ["v/real"]
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    """An operator may point the data folder at another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    LocalStore(tmp_path / "data").put("a", b"x")
    assert (tmp_path / "disk" / "a").read_bytes() == b"x"


def test_special_files_are_no_objects(root: Path) -> None:
    """A pipe in the store neither blocks a reader nor is listed."""
    store = LocalStore(root)
    os.mkfifo(root / "pipe")
    done = threading.Event()

    def look() -> None:
        with pytest.raises(PermanentError):
            store.head("pipe")
        done.set()

    threading.Thread(target=look, daemon=True).start()
    assert done.wait(10)
    assert list(store.list("")) == []


def test_opening_removes_what_a_dead_process_left(root: Path) -> None:
    """Temporary files that nobody has touched for a day go; one that is being written stays."""
    LocalStore(root)
    old, young = root / ".tmp" / "old", root / ".tmp" / "young"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (time.time() - 90_000, time.time() - 90_000))
    LocalStore(root)
    assert [path.name for path in (root / ".tmp").iterdir()] == ["young"]


def test_hidden_folders_are_of_the_same_file_system(root: Path) -> None:
    """Where a rename could not make an object of a staged file, the store is refused at the start."""
    store = LocalStore(root)
    (root / ".staging").symlink_to("/proc")
    with pytest.raises(ConfigurationError) as caught:
        store.hidden_folder("staging")
    assert caught.value.code == "storage_divided"


def test_emptied_folders_go(root: Path) -> None:
    """A deleted video leaves no empty folders behind, and the root stays."""
    store = LocalStore(root)
    store.put("v/task.1/720p/00000001.m4s", b"x")
    store.delete(["v/task.1/720p/00000001.m4s"])
    assert [path.name for path in root.iterdir()] == [".tmp"]


def test_a_file_that_another_removes_while_it_is_adopted_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelling an upload that is being completed is no fault of the storage."""
    store = LocalStore(root)
    staged = store.hidden_folder("staging") / "data"
    staged.write_bytes(b"x")
    monkeypatch.setattr(store, "_make_folders", lambda _: staged.unlink())
    with pytest.raises(ObjectMissing):
        store.adopt(staged, "v/source")


def test_an_object_that_another_deletes_before_it_is_durable_is_missing(root: Path) -> None:
    """With its folder, which was empty but for it: there is nothing left to be made durable."""
    store = LocalStore(root)
    staged = store.hidden_folder("staging") / "data"
    staged.write_bytes(b"x")
    faults.arm(lambda point: store.delete(["v/source"]) if point is Point.OBJECT_NAMED else None)
    try:
        with pytest.raises(ObjectMissing):
            store.adopt(staged, "v/source")
    finally:
        faults.disarm()


def test_a_key_is_no_folder_of_another(root: Path) -> None:
    """What a folder cannot hold and a bucket could is refused as a defect, not retried as an outage."""
    store = LocalStore(root)
    store.put("a/b", b"x")
    store.put("c", b"x")
    for key in ("a", "c/d"):
        with pytest.raises(PermanentError) as caught:
            store.put(key, b"y")
        assert caught.value.code == "key_malformed"
    assert [info.key for info in store.list("")] == ["a/b", "c"]


def test_a_url_opens_the_folder(tmp_path: Path) -> None:
    """A file URL names an absolute folder, percent-encoded where it must be."""
    store = open_store(StoreConfig((tmp_path / "with space").as_uri()), Pace.WORK)
    store.put("a", b"x")
    assert (tmp_path / "with space" / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/data",
        "ftp://host/x",
        "file:relative",
        "file://host/data",
        "file:///data?x=1",
        "s3://",
        "s3://b",
        "s3://bucket/../x",
        "s3://bucket?x=1",
        "s3://key:secret@bucket/",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """A storage URL of another form stops the start with a configuration error."""
    with pytest.raises(ConfigurationError) as caught:
        open_store(StoreConfig(url), Pace.WORK)
    assert caught.value.code == "storage_url_invalid"


def test_a_second_put_replaces_in_one_step(tmp_path: Path) -> None:
    """While one key is written over and over, a reader sees one of the whole objects, never a mixture."""
    store = LocalStore(tmp_path / "store")
    values = [bytes([byte]) * (CHUNK + byte) for byte in range(1, 9)]
    store.put("k", values[0])

    def read(_: int) -> bool:
        return store.get("k") in values

    with ThreadPoolExecutor(4) as pool:
        seen = pool.map(read, range(40))
        for value in values:
            store.put("k", value)
        assert all(seen)
    assert store.get("k") == values[-1]
