from collections.abc import Iterator

import pytest

from penstock.client.connection import Connection, Patience
from penstock.client.errors import ClientError
from tests.unit.client.scripted import Answer, Server, answer, hang_up

HASTE = Patience(tries=4, first=0.01, longest=0.02)
PROBLEM = {
    "detail": "No such video.",
    "code": "video_not_found",
    "request_id": "r1",
    "errors": [{"pointer": "/x", "detail": "y"}],
}


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


@pytest.mark.parametrize("key", ["pst_a\nb", "pst_\u00e9", "pst_\udcff"])
def test_a_key_that_cannot_be_one_is_told_so(key: str) -> None:
    """Not as trouble with the address, and never shown."""
    with pytest.raises(ClientError) as refused:
        Connection("http://127.0.0.1:9", api_key=key)
    assert refused.value.code == "api_key_invalid"
    assert key not in refused.value.detail


def test_what_is_no_text_is_told_so(server: Server, connection: Connection) -> None:
    """A word of the command line may have been written in another encoding."""
    with pytest.raises(ClientError) as in_the_query:
        connection.request("GET", "/x", params={"title": "\udcff"})
    with pytest.raises(ClientError) as in_the_body:
        connection.request("POST", "/x", body={"title": "\udcff"})
    assert in_the_query.value.code == in_the_body.value.code == "invalid_request"
    assert server.seen == []


def test_a_refusal_is_not_repeated(server: Server, connection: Connection) -> None:
    """What the client did wrong stays wrong."""
    server.script.append(answer(403, PROBLEM))
    with pytest.raises(ClientError):
        connection.json("GET", "/api/videos")
    assert len(server.seen) == 1


def test_pauses_are_announced_with_their_reason(server: Server) -> None:
    """Whoever watches learns how long and why; what the server asked for is neither shortened nor stretched."""
    told: list[tuple[float, str]] = []
    server.script += [answer(429, PROBLEM, retry_after="1"), hang_up, answer(200, {})]
    with Connection(
        server.url, patience=HASTE, waiting=lambda seconds, reason: told.append((seconds, reason.code))
    ) as connection:
        connection.json("GET", "/api/videos")
    assert told[0] == (1.0, "video_not_found")
    assert told[1][0] <= HASTE.longest
    assert told[1][1] == "unreachable"


def test_a_pause_that_is_too_long_is_no_pause(server: Server, connection: Connection) -> None:
    """A quota that is free again tomorrow is told at once, not in five minutes' steps."""
    server.script.append(answer(429, PROBLEM, retry_after="86400"))
    with pytest.raises(ClientError) as refusal:
        connection.json("GET", "/api/videos")
    assert refusal.value.retry_after == 86400


def test_closing_ends_a_pause(server: Server) -> None:
    """A program that is interrupted does not sit out what it no longer needs."""
    lines: list[Connection] = []
    patience = Patience(first=3600, longest=3600)
    lines.append(Connection(server.url, patience=patience, waiting=lambda *_: lines[0].close()))
    server.script.append(answer(503, PROBLEM))
    with pytest.raises(ClientError):
        lines[0].json("GET", "/api/videos")


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
