from pathlib import Path

import pytest

from scripts.check_docs import MILESTONES, anchor, check_guarantees, check_milestones, complaints, rows

MILESTONE_TABLE = "| # | running | command | page |\n| --- | --- | --- | --- |\n" + "\n".join(
    f"| {name} | it runs | not yet | |" for name in MILESTONES
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose documents are in order."""
    for folder in ("docs", "tests/unit"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "Makefile").write_text("demo: environment\n\t@true\nenvironment:\n\t@true\n")
    (tmp_path / "tests/unit/test_a.py").write_text(
        "def test_it_holds(): ...\nclass TestB:\n    def test_inside(self): ...\nTestMachine = object\n"
    )
    (tmp_path / "README.md").write_text("# Title of it\n\nSee [guarantees](docs/guarantees.md#what-holds).\n")
    (tmp_path / "docs/guarantees.md").write_text(
        "# Guarantees\n\n## What holds\n\n| promise | shown by |\n| --- | --- |\n| It holds. | `tests/unit/test_a.py::test_it_holds[x]` |\n"
    )
    (tmp_path / "docs/milestones.md").write_text(MILESTONE_TABLE)
    return tmp_path


def _said(project: Path, addition: str) -> list[str]:
    (project / "docs/page.md").write_text(addition)
    return complaints(project, project.rglob("*.md"), {"up", "show"})


def test_documents_in_order_draw_no_complaint(project: Path) -> None:
    """What exists may be named: tests, classes, targets, commands, files, headings, other sites."""
    assert not _said(
        project,
        "# Page\n\n[up](#page) [out](https://example.org/x) `tests/unit/test_a.py::TestB::test_inside` `make demo`"
        " `tests/unit/test_a.py::TestMachine` `penstock show ID` `penstock` `make` `tests/unit/test_a.py`\n\n"
        "```sh\nmake demo\npenstock up --port 9000\n```\n",
    )


@pytest.mark.parametrize(
    ("addition", "complaint"),
    [
        ("[gone](gone.md)", "link to gone.md: no such file"),
        ("[gone](guarantees.md#elsewhere)", "link to guarantees.md#elsewhere: no such heading"),
        ("`tests/unit/test_a.py::test_gone`", "`tests/unit/test_a.py::test_gone`: no such test"),
        ("`tests/unit/test_b.py::test_it_holds`", "`tests/unit/test_b.py::test_it_holds`: no such test"),
        ("`make tea`", "`make tea`: no such command"),
        ("`penstock fly`", "`penstock fly`: no such command"),
        ("`src/penstock/gone.py`", "`src/penstock/gone.py`: no such file"),
        ("```sh\n$ penstock fly\n```", "`penstock fly`: no such command"),
    ],
)
def test_what_is_gone_is_named(project: Path, addition: str, complaint: str) -> None:
    """Each kind of name that no longer exists is one complaint with its page."""
    assert _said(project, addition) == [f"docs/page.md: {complaint}"]


def test_code_in_another_language_is_not_read_as_commands(project: Path) -> None:
    """A listing that is no shell example may say anything."""
    assert not _said(project, "```python\nmake tea\n```")


def test_a_promise_without_proof_is_refused() -> None:
    """A guarantee must name a test or a command, or admit that it is not shown yet."""
    table = "| promise | shown by |\n| --- | --- |\n| One. | trust us |\n| Two. | not yet |\n| Three. | `make demo` |\n"
    assert list(check_guarantees(table)) == ["row 'One.' names no test and no command"]


def test_milestones_must_all_stand_once() -> None:
    """A lost row and a doubled one are both noticed."""
    without = MILESTONE_TABLE.replace("| V3 |", "| V4 |")
    assert list(check_milestones(without)) == ["row V3 stands 0 times", "row V4 stands 2 times"]


def test_a_shown_milestone_links_its_page() -> None:
    """A milestone that is shown has a page that describes it."""
    shown = MILESTONE_TABLE.replace("| V1 | it runs | not yet | |", "| V1 | it runs | `make demo` | |")
    assert list(check_milestones(shown)) == ["row V1 links no page"]


def test_table_rows_exclude_headers() -> None:
    """The header and the ruler of a table are not rows."""
    assert list(rows("| a | b |\n|---|:-:|\n| 1 | 2 |\n\ntext\n")) == [["1", "2"]]


def test_anchors_follow_the_renderer() -> None:
    """Headings become fragments as a reader's browser will see them."""
    assert anchor("What `make demo` does, [here](x.md)") == "what-make-demo-does-here"
