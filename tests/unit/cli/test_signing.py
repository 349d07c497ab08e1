import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.access.keyring import Keyring
from penstock.cli.app import app


def run(*arguments: str) -> Result:
    """One command."""
    return CliRunner().invoke(app, arguments)


def test_a_rotation_adds_a_key_that_signs_later(tmp_path: Path) -> None:
    """The old key goes on signing until every service has read the new one; the secrets stay in the file."""
    path = tmp_path / "keyring.json"
    first = Keyring(path).signing_key()
    result = run("signing-keys", "rotate", "--data", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    old, fresh = json.loads(result.stdout)
    assert (old["id"], old["state"]) == (first.id.hex(), "signs")
    assert (fresh["state"], fresh["activates"] > old["activates"]) == ("waits", True)
    listed = run("signing-keys", "list", "--data", str(tmp_path))
    assert fresh["id"] in listed.stdout
    for key in json.loads(path.read_text())["keys"]:
        assert key["secret"] not in result.output + listed.output


@pytest.mark.parametrize("command", ["list", "rotate"])
def test_without_keys_nothing_is_made(tmp_path: Path, command: str) -> None:
    """A wrong folder gets no keys of its own, which nobody would know."""
    result = run("signing-keys", command, "--data", str(tmp_path / "elsewhere"))
    assert result.exit_code == 3
    assert "keyring_missing" in result.stderr
    assert not (tmp_path / "elsewhere").exists()
