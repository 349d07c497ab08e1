from pathlib import Path

import pytest

from penstock.processing.scratch import Scratch
from penstock.video.errors import StorageUnavailable


def test_an_attempts_folder_ends_with_it(tmp_path: Path) -> None:
    """Whether it succeeds or raises, nothing stays."""
    scratch = Scratch(tmp_path, 0)
    with scratch.attempt("task", 1) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"x")
    with pytest.raises(FileExistsError), scratch.attempt("task", 2) as folder:
        folder.mkdir()
    assert list(scratch.folder.iterdir()) == []


def test_a_start_clears_what_a_dead_process_left_in_its_slot_alone(tmp_path: Path) -> None:
    """The slot's lock is held, so its folder belongs to nobody alive; the neighbour's is not touched."""
    for slot in (0, 1):
        left = tmp_path / str(slot) / "task.1"
        left.mkdir(parents=True)
        (left / "segment").write_bytes(b"x")
    scratch = Scratch(tmp_path, 0)
    assert list(scratch.folder.iterdir()) == []
    assert scratch.folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "1" / "task.1" / "segment").exists()
    assert scratch.free_bytes() > 0


def test_a_folder_that_was_moved_away_is_told_with_the_remedy(tmp_path: Path) -> None:
    """An operator who moved the data folder under a running instance reads what to do, not a traceback."""
    scratch = Scratch(tmp_path / "data", 0)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageUnavailable, match="Put it back, or restart"):
        scratch.free_bytes()
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    assert scratch.free_bytes() > 0
