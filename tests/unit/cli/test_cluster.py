import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.cli import cluster as command
from penstock.cli.app import app
from tests.unit.client.scripted import Server, answer

SERVICES = [
    {"name": "web-8800", "roles": ["library", "upload"], "url": "http://10.0.0.5:8800", "version": "1.0", "health": "ok", "load": None},
    {"name": "processing-0", "roles": ["processing"], "url": None, "version": "1.1", "health": "down", "load": {"used": 1, "total": 4}},
]  # fmt: skip
ALIVE = {
    "name": "amber", "id": "aa", "here": True, "state": "alive", "since": "2026-11-20T12:00:00Z", "address": "10.0.0.5:7946",
    "roles": ["library", "processing", "upload"], "versions": ["1.0", "1.1"], "health": "down",
    "load": {"used": 1, "total": 4}, "services": SERVICES,
}  # fmt: skip
DEAD = {
    **ALIVE,
    "name": "basalt",
    "id": "bb",
    "here": False,
    "state": "dead",
    "health": None,
    "load": None,
    "services": [],
}
ALONE = {**ALIVE, "id": None, "address": None}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The server that the command talks to."""
    server = Server()
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    monkeypatch.setenv("PENSTOCK_API_KEY", "pst_key")
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    yield server
    server.close()


def run(*arguments: str) -> Result:
    """One command."""
    return CliRunner().invoke(app, ["cluster", *arguments])


def test_a_node_is_read_at_a_glance(server: Server) -> None:
    """Name, state, health, roles, load, version, address; below it its services with theirs."""
    server.script.append(answer(200, {"name": "home", "nodes": [ALIVE, DEAD]}))
    shown = run().stdout.splitlines()
    assert shown[0] == "cluster home"
    amber = next(line for line in shown if "amber (here)" in line)
    for word in ("alive", "down", "library, processing, upload", "1/4", "1.0, 1.1", "10.0.0.5:7946"):
        assert word in amber
    assert any("web-8800" in line and "http://10.0.0.5:8800" in line for line in shown)
    basalt = next(line for line in shown if "basalt" in line)
    assert "dead" in basalt
    assert server.seen[0][2]["authorization"] == "Bearer pst_key"


def test_one_machine_is_said_to_be_one(server: Server) -> None:
    """Nobody looks for the others in vain."""
    server.script.append(answer(200, {"name": None, "nodes": [ALONE]}))
    assert run().stdout.splitlines()[0] == "no cluster is configured: this machine alone"


def test_json_is_what_the_server_answers(server: Server) -> None:
    """For scripts."""
    server.script.append(answer(200, {"name": "home", "nodes": [ALIVE]}))
    assert json.loads(run("--json").stdout) == {"name": "home", "nodes": [ALIVE]}


def test_a_watched_cluster_is_printed_when_it_changes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a pipe: the first view, and each that differs by more than its age; it ends with the server's refusal."""
    monkeypatch.setattr(command, "REFRESH_SECONDS", 0.0)
    later = {**ALIVE, "since": "2026-11-20T12:00:01Z"}
    problem = {"detail": "Gone.", "code": "forbidden"}
    for nodes in ([ALIVE], [later], [ALIVE, DEAD]):
        server.script.append(answer(200, {"name": "home", "nodes": nodes}))
    server.script.append(answer(403, problem, "application/problem+json"))
    result = run("--watch")
    assert result.exit_code == 5
    assert result.stdout.count("cluster home") == 2
    assert result.stdout.count("basalt") == 1
