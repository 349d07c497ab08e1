"""Files of objects that are kept open for who asks next."""

import asyncio
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from penstock.storage.store import ObjectMissing
from penstock.streaming import open_files
from penstock.streaming.open_files import OpenFiles
from penstock.streaming.problems import ObjectDamaged
from penstock.streaming.publication import Item

SIZE = 10_000


def item(key: str) -> Item:
    """An object whose bytes are its key, again and again."""
    return Item(key, SIZE, sha256(body(key)).hexdigest()[:32], "video/mp4")


def body(key: str) -> bytes:
    """Its bytes."""
    return (key.encode() * SIZE)[:SIZE]


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the file of an object."""

    def make(key: str) -> Path:
        path = tmp_path / key
        path.write_bytes(body(key))
        return path

    return make


def open_on(folder: Path) -> int:
    """How many descriptors of this process are on files below a folder, removed ones too."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += descriptor.readlink().is_relative_to(folder)
        except FileNotFoundError:
            continue
    return found


def test_what_is_asked_for_again_is_still_open(stored: Callable[[str], Path]) -> None:
    """The same file and the same lines."""

    async def scenario() -> None:
        files = OpenFiles(8)
        assert files.find(item("a")) is None
        kept = files.open(stored("a"), item("a"), b"head")
        assert files.find(item("a")) is kept
        assert os.pread(kept.file.descriptor, SIZE, 0) == body("a")

    asyncio.run(scenario())


def test_however_many_are_asked_for_few_are_open(stored: Callable[[str], Path], tmp_path: Path) -> None:
    """And what is asked for again and again is among them."""

    async def scenario() -> None:
        files = OpenFiles(8)
        files.open(stored("hot"), item("hot"), b"")
        for number in range(100):
            files.open(stored(f"{number}"), item(f"{number}"), b"")
            assert files.find(item("hot")) is not None
            assert open_on(tmp_path) <= 8 + 1
        sent = files.find(item("hot"))
        assert sent is not None
        for number in range(20):
            files.open(stored(f"{number}"), item(f"{number}"), b"")
        assert files.find(item("hot")) is None
        assert os.pread(sent.file.descriptor, 3, 0) == b"hot", "who sends it has it still"

    asyncio.run(scenario())


def test_what_nobody_asks_for_is_closed(
    stored: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted video's files give their room on the disk back without another request."""
    monkeypatch.setattr(open_files, "_TURN_S", 0.01)

    async def scenario() -> None:
        files = OpenFiles(8)
        files.open(stored("a"), item("a"), b"")
        (tmp_path / "a").unlink()
        while open_on(tmp_path):  # noqa: ASYNC110 - the system closes it, and tells nobody
            await asyncio.sleep(0.01)
        assert files.find(item("a")) is None

    asyncio.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("change", ["removed", "replaced", "shorter", "longer"])
def test_a_file_that_is_not_what_it_was_is_opened_anew(stored: Callable[[str], Path], change: str) -> None:
    """What an operator restores is sent; what is damaged is not, a second later at the latest."""
    now = 0.0

    async def scenario() -> None:
        nonlocal now
        files = OpenFiles(8, clock=lambda: now)
        path = stored("a")
        kept = files.open(path, item("a"), b"")
        now = 1.0
        assert files.find(item("a")) is kept
        if change in ("removed", "replaced"):
            path.unlink()
        if change == "replaced":
            path.write_bytes(body("a"))
        if change in ("shorter", "longer"):
            path.write_bytes(body("a") + b"?" if change == "longer" else b"?")
        now = 2.0
        assert files.find(item("a")) is None
        if change == "replaced":
            files.open(path, item("a"), b"")
        else:
            with pytest.raises((ObjectMissing, ObjectDamaged)):
                files.open(path, item("a"), b"")

    asyncio.run(scenario())


@pytest.mark.parametrize("damaged", [b"", body("a")[:-1], b"b" + body("a")[1:]])
def test_what_is_not_what_was_published_is_refused(stored: Callable[[str], Path], damaged: bytes) -> None:
    """Shorter or with another byte: it is told, and not kept."""

    async def scenario() -> None:
        files = OpenFiles(8)
        path = stored("a")
        path.write_bytes(damaged)
        with pytest.raises(ObjectDamaged):
            files.open(path, item("a"), b"")
        assert files.find(item("a")) is None

    asyncio.run(scenario())
