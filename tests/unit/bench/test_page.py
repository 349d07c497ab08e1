from pathlib import Path

import pytest

from bench import page


def test_a_section_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    """What other benchmarks and people wrote stays, and writing twice is writing once."""
    path = tmp_path / "page.md"
    path.write_text(
        "# Head\n<!-- begin one -->\nold\n<!-- end one -->\n<!-- begin two -->\nkept\n<!-- end two -->\n"
    )
    page.write("one", "new\n\nlines\n", path)
    page.write("one", "new\n\nlines\n", path)
    assert path.read_text() == (
        "# Head\n<!-- begin one -->\nnew\n\nlines\n<!-- end one -->\n<!-- begin two -->\nkept\n<!-- end two -->\n"
    )


def test_a_page_without_the_section_is_left_alone(tmp_path: Path) -> None:
    """A misspelt section is an error, not a second copy."""
    path = tmp_path / "page.md"
    path.write_text("# Head\n")
    with pytest.raises(ValueError, match="no section other"):
        page.write("other", "text", path)
    assert path.read_text() == "# Head\n"


def test_a_goal_is_a_bound_from_one_side() -> None:
    """At most for what is wanted small, at least for what is wanted large."""
    assert page.verdict(1.05, 1.05) == page.verdict(2.0, 1.0, most=False) == "kept"
    assert page.verdict(1.06, 1.05) == page.verdict(0.9, 1.0, most=False) == "**missed**"
