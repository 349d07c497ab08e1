import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.openapi import rendered
from scripts.check_contract import FILE, complaints, former_text

CHANGELOG = "# Changelog\n\n## 0.2.0\n\nThe path is gone.\n"


def described(version: str = "0.1.0", *paths: str) -> dict[str, Any]:
    """A document with these paths."""
    operation: dict[str, Any] = {"get": {"responses": {"200": {}}}}
    return {"info": {"version": version}, "paths": {path: deepcopy(operation) for path in paths}}


def test_a_file_that_differs_from_the_code_is_told() -> None:
    """With the command that writes it."""
    (complaint,) = complaints(described("0.1.0", "/a"), rendered(described()), None, CHANGELOG)
    assert "penstock openapi > docs/openapi.json" in complaint


def test_a_compatible_change_needs_nothing() -> None:
    """New paths may come at any time."""
    present = described("0.1.0", "/a", "/b")
    assert not complaints(present, rendered(present), described("0.1.0", "/a"), CHANGELOG)


@pytest.mark.parametrize(
    ("version", "changelog", "last"),
    [
        ("0.1.0", CHANGELOG, "another version than 0.1.0"),
        ("0.2.0", "# Changelog\n\n## 0.1.0\n", "CHANGELOG.md must say so under a heading for 0.2.0"),
    ],
)
def test_a_breaking_change_needs_a_version_and_words(version: str, changelog: str, last: str) -> None:
    """Either one missing is told, after what breaks."""
    present = described(version, "/b")
    found = complaints(present, rendered(present), described("0.1.0", "/a"), changelog)
    assert found[0] == "/a: the path is gone"
    assert last in found[-1]


def test_a_breaking_change_with_both_is_accepted() -> None:
    """The version says that something broke, and the changelog says what."""
    present = described("0.2.0", "/b")
    assert not complaints(present, rendered(present), described("0.1.0", "/a"), CHANGELOG)


def test_the_former_document_is_that_before_the_last_change(tmp_path: Path) -> None:
    """Before a commit it is the committed one; after it, and after later commits of other files, the one before."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / FILE
    file.parent.mkdir()
    assert former_text(tmp_path, "one") is None
    git("init")
    file.write_text("one")
    git("add", ".")
    git("commit", "-m", "one")
    assert former_text(tmp_path, "one") is None
    file.write_text("two")
    assert former_text(tmp_path, "two") == "one"
    git("commit", "-a", "-m", "two")
    assert former_text(tmp_path, "two") == "one"
    (tmp_path / "other").touch()
    git("add", ".")
    git("commit", "-m", "other")
    assert former_text(tmp_path, "two") == "one"
