import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from penstock.membership.config import MembershipConfig
from penstock.settings import Settings
from penstock.wiring import registration
from penstock.wiring.registration import Served, ask, describe, registering
from tests.simulation.workshop import await_that

WEB = Served("web-8800", ("upload", "library"), "0.0.0.0", 8800)
NODE: dict[str, Any] = {
    "id": "aa", "name": "a", "host": "10.0.0.5", "port": 7946, "state": "alive", "epoch": 1, "incarnation": 0,
    "metadata": {}, "age": 0.0, "me": True,
}  # fmt: skip


class Program:
    """Something that answers HTTP on a loopback port: a member agent by script, or a service with a status."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {"status": "ok"}
        self.seen: list[tuple[str, str, Any]] = []
        program = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                program.seen.append((self.command, self.path, json.loads(body) if body else None))
                shown = program.status if self.path == "/status" else NODE
                content = json.dumps(shown).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_DELETE = _answer  # noqa: N815

            @override
            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def start() -> Iterator[Callable[[], Program]]:
    """Starts programs, which end with the test."""
    started: list[Program] = []

    def starter() -> Program:
        started.append(Program())
        return started[-1]

    yield starter
    for program in started:
        program.close()


def test_a_wildcard_is_told_as_the_nodes_address() -> None:
    """Others cannot reach 0.0.0.0; an address that was chosen is told as it is, also one that only this machine reaches."""
    told = describe(WEB, {"status": "ok"}, version="1", node_host="10.0.0.5")
    assert told == {
        "roles": ["upload", "library"],
        "url": "http://10.0.0.5:8800",
        "version": "1",
        "health": "ok",
    }
    local = replace(WEB, host="127.0.0.1")
    assert describe(local, None, version="1", node_host="10.0.0.5")["url"] == "http://127.0.0.1:8800"
    six = replace(WEB, host="::")
    assert describe(six, None, version="1", node_host="fd00::5")["url"] == "http://[fd00::5]:8800"


@pytest.mark.parametrize("status", [None, {"status": "down"}, {}])
def test_a_service_that_does_not_say_ok_is_down(status: dict[str, Any] | None) -> None:
    """No answer counts as one that is not good."""
    assert describe(WEB, status, version="1", node_host="x")["health"] == "down"


def test_the_load_is_the_places_taken_in_all_lanes() -> None:
    """Of processing; other services have none."""
    slots = {"encode": {"places": 2, "free": 0}, "audio": {"places": 2, "free": 1}}
    status = {"status": "ok", "processing": {"slots": slots}}
    assert describe(WEB, status, version="1", node_host="x")["load"] == [3, 4]


def test_a_service_is_asked_as_others_would(start: Callable[[], Program]) -> None:
    """At the address where it listens; whoever does not answer says nothing."""
    program = start()
    assert ask(Served("x", (), "0.0.0.0", program.port)) == {"status": "ok"}
    program.close = lambda: None  # type: ignore[method-assign]
    Program.close(program)
    assert ask(Served("x", (), "127.0.0.1", program.port)) is None


def agent_config(folder: Path, port: int) -> MembershipConfig:
    """Of a node whose control interface is at this port."""
    folder.mkdir(exist_ok=True)
    (folder / "control.port").write_text(f"{port}\n")
    (folder / "control.token").write_text("secret\n")
    return MembershipConfig(folder=folder, name="a")


def test_a_service_is_registered_until_it_ends(
    start: Callable[[], Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told again and again; an agent that comes back at another port is found; at the end it is taken back."""
    monkeypatch.setattr(registration, "INTERVAL", 0.02)
    service, agent, successor = start(), start(), start()
    for program in (agent, successor):
        program.status = {
            "version": "1", "status": "ok", "cluster": "c", "node": NODE, "members": {}, "health": 0,
            "round_trip_ms": None, "news_queued": 0,
        }  # fmt: skip
    config = agent_config(tmp_path, agent.port)
    kept = registration.Registration(config, Served("web-1", ("upload",), "0.0.0.0", service.port), "1")
    kept.start()

    def told(program: Program) -> list[Any]:
        return [
            body for method, path, body in program.seen if (method, path) == ("PUT", "/v1/services/web-1")
        ]

    await_that(lambda: len(told(agent)) >= 2, what="it is told twice")
    assert told(agent)[0]["metadata"]["url"] == f"http://10.0.0.5:{service.port}"
    assert told(agent)[0]["ttl"] >= 3 * 5.0 - 0.1
    agent_config(tmp_path, successor.port)
    Program.close(agent)
    agent.close = lambda: None  # type: ignore[method-assign]
    await_that(lambda: told(successor), what="the successor is told")
    kept.end()
    assert successor.seen[-1][:2] == ("DELETE", "/v1/services/web-1")


def test_without_a_cluster_nothing_is_told(tmp_path: Path) -> None:
    """No thread, no file, no question."""
    before = threading.active_count()
    with registering(Settings.load(data=tmp_path / "data")) as register:
        register(WEB)
        assert threading.active_count() == before
    assert not (tmp_path / "data").exists()
