from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.cli.configuration import Setting, as_page, describe, documentation
from penstock.settings import Settings

ROOT = Path(__file__).parents[3]


@dataclass
class Example:
    """Both ways of documenting a field."""

    below: int = 1
    """What it means,
    over two lines."""

    beside: int = 2  # what it means


def by_name(**overrides: str) -> dict[str, Setting]:
    """All settings."""
    return {setting.name: setting for setting in describe(Settings.load(**overrides))}


def test_the_meaning_is_read_from_where_the_field_is_defined() -> None:
    """A string below the field or a comment beside it, in one line."""
    assert documentation(Example) == {"below": "What it means, over two lines.", "beside": "what it means"}


def test_every_setting_says_what_it_means() -> None:
    """A field without a word about it is not finished."""
    assert [setting.name for setting in by_name().values() if len(setting.meaning) < 20] == []


def test_a_changed_setting_is_told_from_its_default() -> None:
    """The present value stands beside the default."""
    port = by_name(port="9000")["PENSTOCK_PORT"]
    assert (port.default, port.value, port.changed) == ("8800", "9000", True)
    assert not by_name()["PENSTOCK_ACCESS_ACTIVATION_DELAY"].changed


def test_passwords_are_not_shown() -> None:
    """What a screen or a bug report shows may be seen by anybody."""
    url = "postgresql://me:hunter2@localhost/penstock"
    assert by_name(database_url=url)["PENSTOCK_DATABASE_URL"].value == "postgresql://***@localhost/penstock"
    url = "postgresql://localhost/penstock?sslmode=require&password=hunter2&user=me"
    assert "hunter2" not in by_name(database_url=url)["PENSTOCK_DATABASE_URL"].value


def test_keys_are_not_shown_even_if_they_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a slip in it is nearly the key."""
    for key in ("pst_abc_def", "st_abc_def", " pst_abc_def"):
        monkeypatch.setenv("PENSTOCK_API_KEY", key)
        assert by_name()["PENSTOCK_API_KEY"].value == "***"


def test_the_page_of_the_documentation_is_up_to_date() -> None:
    """It is written anew with: penstock settings --page > docs/configuration.md."""
    assert (ROOT / "docs" / "configuration.md").read_text() == as_page(describe(Settings.load()))


def test_a_number_says_what_it_may_be() -> None:
    """Nobody has to be refused to find out."""
    assert by_name()["PENSTOCK_PLAN_CHUNK_SEGMENTS"].meaning.endswith("Allowed: 1 to 64.")
