import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from typing_extensions import override

from penstock.client.connection import Connection, Patience
from penstock.client.errors import ClientError

HASTE = Patience(tries=4, first=0.01, longest=0.02)
PROBLEM = {
    "detail": "No such video.",
    "code": "video_not_found",
    "request_id": "r1",
    "errors": [{"pointer": "/x", "detail": "y"}],
}

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by script; tells what arrived."""

    protocol_version = "HTTP/1.1"
    script: list[Answer]
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def _next(self) -> None:
        """One exchange."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.seen.append(
            (self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        )
        self.script.pop(0)(self)

    do_GET = do_POST = do_PUT = _next  # noqa: N815  (the names that http.server calls)

    @override
    def log_message(self, *_: Any) -> None:
        pass


def answer(status: int, body: Any = None, content_type: str = "application/json", **headers: str) -> Answer:
    """An answer to be given next."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def give(handler: Handler) -> None:
        handler.send_response(status)
        given = {"content-type": content_type, "content-length": str(len(raw)), **headers}
        for name, value in given.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(raw)

    return give


def hang_up(handler: Handler) -> None:
    """No answer: the connection closes."""
    handler.close_connection = True


class Server:
    """A server of this machine that follows a script."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        handler = type("Scripted", (Handler,), {"script": self.script, "seen": self.seen})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that follows a script."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    """A client of it, in haste."""
    with Connection(server.url, api_key="pst_key", patience=HASTE) as connection:
        yield connection


def test_the_key_goes_to_the_server_and_nowhere_else(server: Server, connection: Connection) -> None:
    """A signed URL carries its own permission, and may belong to somebody else."""
    server.script += [answer(200, {}), answer(200, {})]
    connection.json("GET", "/api/videos", params={"limit": 2, "cursor": None})
    connection.json("GET", f"{server.url}/signed?sig=x")
    assert [(path, headers.get("authorization")) for _, path, headers, _ in server.seen] == [
        ("/api/videos?limit=2", "Bearer pst_key"),
        ("/signed?sig=x", None),
    ]


def test_a_problem_becomes_an_error_with_its_code(server: Server, connection: Connection) -> None:
    """What the server says is kept: code, detail, request id, fields."""
    server.script.append(answer(404, PROBLEM, "application/problem+json"))
    with pytest.raises(ClientError) as refusal:
        connection.json("GET", "/api/videos/x")
    error = refusal.value
    assert (error.code, error.detail, error.status, error.request_id, error.fields) == (
        "video_not_found",
        "No such video.",
        404,
        "r1",
        (("/x", "y"),),
    )


@pytest.mark.parametrize(
    "trouble", [hang_up, answer(503, PROBLEM), answer(502, b"<html>"), answer(429, PROBLEM, retry_after="0")]
)
def test_passing_trouble_is_sat_out(server: Server, connection: Connection, trouble: Answer) -> None:
    """A question that changes nothing is asked again until it is answered."""
    server.script += [trouble, trouble, answer(200, {"id": 1})]
    assert connection.json("GET", "/api/videos/x") == {"id": 1}


def test_a_body_is_made_anew_for_each_try(server: Server, connection: Connection) -> None:
    """A repeated upload sends all of its bytes again."""
    server.script += [answer(503, PROBLEM), answer(200, {})]
    connection.request("PUT", "/part", content=lambda: iter([b"ab", b"cd"]))
    assert [body for *_, body in server.seen] == [b"abcd", b"abcd"]


def test_what_may_not_be_repeated_is_not(server: Server, connection: Connection) -> None:
    """A POST without an idempotency key could create twice; with one it is safe."""
    server.script += [hang_up, hang_up, answer(201, {})]
    with pytest.raises(ClientError, match="broke"):
        connection.json("POST", "/api/uploads/initiate", body={})
    connection.json("POST", "/api/uploads/initiate", body={}, headers={"Idempotency-Key": "k"})
    assert len(server.seen) == 3


def test_patience_ends(server: Server, connection: Connection) -> None:
    """After the last try the server's own words are raised."""
    server.script += [answer(503, PROBLEM)] * 4
    with pytest.raises(ClientError) as refusal:
        connection.json("GET", "/api/videos")
    assert (refusal.value.code, len(server.seen)) == ("video_not_found", 4)


def test_a_refusal_is_not_repeated(server: Server, connection: Connection) -> None:
    """What the client did wrong stays wrong."""
    server.script.append(answer(403, PROBLEM))
    with pytest.raises(ClientError):
        connection.json("GET", "/api/videos")
    assert len(server.seen) == 1


def test_nothing_there_is_told_at_once_with_the_remedy() -> None:
    """The text says what to start or what to set; patience is for servers that were there before."""
    server = Server()
    server.close()
    with (
        Connection(server.url, patience=Patience(first=3600, longest=3600)) as connection,
        pytest.raises(ClientError, match="PENSTOCK_URL") as refusal,
    ):
        connection.json("GET", "/api/videos")
    assert refusal.value.code == "unreachable"


def test_somebody_elses_answer_is_recognised(server: Server, connection: Connection) -> None:
    """A page of a proxy is no JSON of ours."""
    server.script.append(answer(200, b"<html>", "text/html"))
    with pytest.raises(ClientError) as refusal:
        connection.json("GET", "/api/videos")
    assert refusal.value.code == "unexpected_answer"


def test_events_arrive_as_lines(server: Server, connection: Connection) -> None:
    """A stream of events is read line by line, going on after the last one known."""
    server.script.append(answer(200, b"id: 4\ndata: a\n\n", "text/event-stream"))
    with connection.lines("/events", headers={"Last-Event-ID": "3"}) as lines:
        assert list(lines) == ["id: 4", "data: a", ""]
    assert server.seen[0][2]["last-event-id"] == "3"
