import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from penstock.client.memory import Memory, Remembered, label

KNOWN = Remembered("attempt", "digest", "upload", "video")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a memory that is not there yet."""
    return tmp_path / "state" / "uploads.db"


def test_another_program_finds_what_one_noted(path: Path) -> None:
    """And nothing under any other label."""
    assert Memory(path).recall("a") == Remembered()
    Memory(path).remember("a", Remembered("older"))
    Memory(path).remember("a", KNOWN)
    assert Memory(path).recall("a") == KNOWN
    assert Memory(path).recall("b") == Remembered()


def test_it_is_the_users_own(path: Path) -> None:
    """Nobody else may read which files were sent where, and no key or path stands in it."""
    line = label("http://here key", "/home/me/secret.mp4")
    Memory(path).remember(line, KNOWN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert b"secret" not in path.read_bytes()


def test_every_fact_counts() -> None:
    """Facts that are joined do not become each other's."""
    assert len({label("a", "bc"), label("ab", "c"), label("a", "b"), label("\udcff", "b")}) == 4


@pytest.mark.parametrize("damage", [b"no database at all, but long enough to be taken for one" * 40, b""])
def test_a_damaged_file_is_begun_anew(path: Path, damage: bytes) -> None:
    """It is a convenience: losing it costs bytes that are sent again, and stops nobody."""
    path.parent.mkdir()
    path.write_bytes(damage)
    memory = Memory(path)
    assert memory.recall("a") == Remembered()
    memory.remember("a", KNOWN)
    assert memory.recall("a") == KNOWN


def test_a_table_of_another_form_is_replaced(path: Path) -> None:
    """A version that knew other facts leaves nothing that this one would misread."""
    Memory(path).remember("a", KNOWN)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA user_version = 99")
    assert Memory(path).recall("a") == Remembered()


def test_what_nobody_asks_for_is_dropped(path: Path) -> None:
    """After a quarter of a year."""
    Memory(path).remember("a", KNOWN)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE uploads SET touched = touched - 91 * 86400")
    assert Memory(path).recall("a") == Remembered()


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path) -> None:
    """A home that is a file, or cannot be written to, does not stop an upload."""
    (tmp_path / "state").write_text("a file")
    memory = Memory(tmp_path / "state" / "uploads.db")
    memory.remember("a", KNOWN)
    assert memory.recall("a") == Remembered()
