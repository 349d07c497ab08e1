import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from penstock.access import api_keys
from penstock.catalog import Catalog, CatalogConfig, accounts
from penstock.cli.app import app
from penstock.web_api.key_store import catalog_lookup


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The records of an instance that was started once."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    made = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}"))
    made.migrate()
    with made.write() as tx:
        accounts.ensure_administrator(tx, login="admin", name="Administrator")
    yield made
    made.close()


def run(*arguments: str) -> Result:
    """One command."""
    return CliRunner().invoke(app, ["accounts", *arguments])


def done(*arguments: str) -> str:
    """What a command that succeeds says."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def opens(catalog: Catalog, key: str) -> bool:
    """Whether a server on these records would take the key."""
    return catalog_lookup(catalog)(api_keys.parse(key).digest) is not None


def test_an_account_gets_a_key_and_loses_it(catalog: Catalog) -> None:
    """The key is printed once and opens from then on, until it is revoked."""
    done("add", "Ann", "--name", "Ann A.")
    key = done("key", "ann", "--name", "laptop", "--scope", "upload").strip()
    found = catalog_lookup(catalog)(api_keys.parse(key).digest)
    assert found is not None
    assert list(found.scopes) == ["upload"]
    (listed,) = json.loads(done("keys", "ann", "--json"))
    assert (listed["name"], listed["revoked_at"]) == ("laptop", None)
    assert key not in done("keys", "ann")
    done("revoke", "ann", listed["id"])
    assert not opens(catalog, key)
    assert run("revoke", "admin", listed["id"]).exit_code == 6


def test_a_disabled_account_opens_nothing_until_it_is_enabled(catalog: Catalog) -> None:
    """All of its keys together; what was revoked stays so."""
    done("add", "ann")
    key = done("key", "ann").strip()
    done("disable", "ann")
    assert not opens(catalog, key)
    assert "disabled" in done("list")
    done("enable", "ann")
    assert opens(catalog, key)


def test_an_administrator_remains(catalog: Catalog) -> None:
    """The last one in force is neither disabled nor made a user; with another, both can be."""
    done("add", "ann")
    for arguments in (("disable", "admin"), ("role", "admin", "user")):
        refused = run(*arguments)
        assert (refused.exit_code, "last_administrator" in refused.stderr) == (1, True)
    done("role", "ann", "admin")
    done("disable", "admin")
    assert run("role", "ann", "user").exit_code == 1
    done("enable", "admin")
    done("role", "ann", "user")
    roles = {each["login"]: each["role"] for each in json.loads(done("list", "--json"))}
    assert roles == {"admin": "admin", "ann": "user"}


def test_limits_of_an_account_s_own(catalog: Catalog) -> None:
    """Each is set by itself, in the units of people, and given back to the settings."""
    done("add", "ann")
    done("limits", "ann", "--stored", "1.5GB", "--upload", "4GiB")
    done("limits", "ann", "--open", "10", "--rate", "60", "--upload", "default")
    (ann,) = [each for each in json.loads(done("list", "--json")) if each["login"] == "ann"]
    assert ann["limits"] == {
        "upload_size": None,
        "stored_bytes": 1_500_000_000,
        "open_uploads": 10,
        "uploads_per_minute": 60,
    }
    assert ann["uses"] == {"uploads": 0, "size": 0}
    assert "1500000000" in done("limits", "ann")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--stored", "-1"),
        ("--stored", "much"),
        ("--stored", "9999999TB"),
        ("--upload", "0"),
        ("--open", "0"),
        ("--rate", "1.5"),
    ],
)
def test_limits_that_are_none_are_refused(catalog: Catalog, arguments: tuple[str, str]) -> None:
    """And nothing is changed."""
    assert run("limits", "admin", *arguments).exit_code == 2
    assert "as the settings say" in done("limits", "admin")


def test_without_records_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong folder is told, and gets no records of its own; an unknown account is not found."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path / "elsewhere"))
    result = run("list")
    assert (result.exit_code, "records_missing" in result.stderr) == (3, True)
    assert not (tmp_path / "elsewhere").exists()


def test_an_unknown_account_is_not_found(catalog: Catalog) -> None:
    """Whatever is asked of it."""
    for arguments in (("disable",), ("enable",), ("keys",), ("key",), ("limits",), ("role", "admin")):
        command, *more = arguments
        assert run(command, "nobody", *more).exit_code == 6
    assert run("role", "admin", "king").exit_code == 2
