from pathlib import Path

import pytest

from scripts.error_table import page

TREE = '''
class PenstockError(Exception):
    """Base of the tree."""

    code = "internal_error"
    status = 500


class NotFound(PenstockError):
    """No such thing. A second sentence."""

    code = "not_found"
    status = 404


class Quiet(NotFound):
    """Groups others and has no code of its own."""


class VideoGone(Quiet):
    """It was | deleted."""

    code = "video_gone"
'''
RAISES = """
def find(name):
    raise errors.NotFound(f"There is no {name}.", code="part_missing")


def other():
    raise ValueError("not of the tree", code="never")
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small program with an error tree."""
    (tmp_path / "errors.py").write_text(TREE)
    (tmp_path / "raises.py").write_text(RAISES)
    return tmp_path


def test_the_table_has_every_code_once_with_its_status_and_meaning(source: Path) -> None:
    """From classes and from raises, by status; inherited statuses count, and nothing outside of the tree."""
    rows = [line for line in page(source).splitlines() if line.startswith("| `")]
    assert rows == [
        "| `not_found` | 404 | No such thing. |",
        "| `part_missing` | 404 | There is no …. |",
        "| `video_gone` | 404 | It was \\| deleted. |",
        "| `internal_error` | 500 | A failure that nobody foresaw; the log has its story under the request's id. |",
    ]
