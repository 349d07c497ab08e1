"""What the server takes for a request, however it arrives, and what it refuses."""

import json
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.http_server import body
from penstock.http_server.body import Body
from tests.serving import serving
from tests.unit.http_server.stage import PATIENCE, Client, Stage, connected, eventually

GET = b"GET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n"


def test_an_application_hears_the_request_as_it_was_sent(client: Client) -> None:
    """Method, decoded path, query, headers in lower case, body."""
    told = json.loads(
        client.ask("/%C3%A4/b%2fc?d=%20", method="POST", rest="X-One: 1\r\n", body=b"hello").body
    )
    assert told == {
        "method": "POST",
        "path": "/ä/b/c",
        "query": "d=%20",
        "headers": ["content-length", "host", "x-one"],
        "body": "hello",
    }


def test_a_connection_is_used_again(client: Client) -> None:
    """Application and responder in turns, with bodies and without."""
    for path, method, content in [("/a", "GET", b""), ("/direct/x", "GET", b""), ("/b", "POST", b"12"), ("/direct/y", "HEAD", b""), ("/empty", "GET", b""), ("/direct/part", "GET", b"")]:  # fmt: skip
        answer = client.ask(path, method=method, body=content)
        assert answer.status in (200, 204)
        assert "connection" not in answer.headers


REQUESTS = (
    (b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n", "GET /1 "),
    (b"POST /2 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello", "POST /2 hello"),
    (b"PUT /3 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3;e=f\r\ncde\r\n0\r\nt: u\r\n\r\n", "PUT /3 abcde"),
    (b"GET /direct/4 HTTP/1.1\r\nhost: x\r\n\r\n", "direct 4"),
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A site for all examples."""
    with serving(Stage(tmp_path_factory.mktemp("stage")).site) as base:
        yield base


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6), st.lists(st.integers(1, 400), max_size=8))
def test_how_bytes_are_cut_makes_no_difference(
    shared: str, requests: list[tuple[bytes, str]], cuts: list[int]
) -> None:
    """Requests sent ahead, in pieces of any size: each is answered, in order, and none takes another's bytes."""
    data = b"".join(request for request, _ in requests)
    with connected(shared) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = 0
        for end in [*sorted({cut for cut in cuts if cut < len(data)}), len(data)]:
            client.send(data[start:end])
            start = end
        for _, expected in requests:
            [answer] = client.read()
            if answer.body.startswith(b"{"):
                told = json.loads(answer.body)
                assert f"{told['method']} {told['path']} {told['body']}" == expected
                assert "t" not in told["headers"], "what trails a body is no header"
            else:
                assert answer.body.decode() == expected


def test_thousands_of_requests_sent_ahead_are_answered_in_order(client: Client) -> None:
    """Neither memory nor the depth of calls grows with them."""
    client.send(b"".join(b"GET /direct/%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(3000)))
    assert [answer.body for answer in client.read(expected=3000)] == [b"direct %d" % n for n in range(3000)]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "request_malformed"),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "request_malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "request_malformed"),  # TLS
        (b"GET / HTTP/1.1\r\nhost : x\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/1.1\r\na: b\x00c\r\n\r\n", 400, "request_malformed"),
        (b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "request_malformed"),
        (b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400, "request_malformed"),
        (b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\nhello", 400, "request_malformed"),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\nhello", 400, "request_malformed"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "coding_unsupported"),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "request_malformed"),
        (b"GET /\r\n\r\n", 400, "request_malformed"),  # HTTP/0.9
        (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", 400, "request_malformed"),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "request_malformed"),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 400, "request_malformed"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70_000, 431, "head_too_large"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_connection_ended(
    client: Client, request_: bytes, status: int, code: str
) -> None:
    """With a code, even in the middle of a head that would never end."""
    client.send(request_)
    [answer] = client.read()
    assert (answer.status, answer.code, answer.headers["connection"]) == (status, code, "close")
    assert client.closed() == b""


def test_a_body_that_is_framed_wrongly_ends_with_one_answer(client: Client, stage: Stage) -> None:
    """The application hears that no more comes, and the client why, once."""
    client.send(b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n")
    [answer] = client.read()
    assert (answer.status, answer.code) == (400, "request_malformed")
    assert client.closed() == b""
    assert stage.sent == [(2, False)]


@pytest.mark.parametrize("endless", [b"0\r\na: ", b"2;", b"0\r\n"])
def test_what_surrounds_a_body_has_an_end(client: Client, endless: bytes) -> None:
    """A trailing header, an extension of a chunk, trailing headers without number: the parser would keep any amount."""
    client.send(b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n" + endless)
    for _ in range(20):
        client.send((b"a: b\r\n" if endless == b"0\r\n" else b"aaaaaa") * 10_000)
    assert client.read()[0].status == 431


def test_a_good_request_before_a_bad_one_is_answered(client: Client) -> None:
    """The bad one is told after it."""
    client.send(GET + b"GET / HTTP/1.1\r\nhost : x\r\n\r\n" + GET)
    assert [answer.status for answer in client.read(expected=2)] == [200, 400]
    assert client.closed() == b""


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://example.org/a?b=c", "/a", "b=c"),
        ("HTTP://example.org:80/a?b=c", "/a", "b=c"),
        ("http://example.org", "/", ""),
        ("http://example.org?b=/c", "/", "b=/c"),
    ],
)
def test_a_target_may_name_the_server(client: Client, target: str, path: str, query: str) -> None:
    """As proxies send it (RFC 9112, section 3.2.2)."""
    told = json.loads(client.ask(target).body)
    assert (told["path"], told["query"]) == (path, query)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_no_other_protocol_is_spoken(client: Client, upgrade: str) -> None:
    """The request is answered as if nothing else had been offered, and is the last."""
    answer = client.ask("/a", rest=f"connection: upgrade\r\nupgrade: {upgrade}\r\n")
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.closed() == b""


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"content-length: 5", b"hello"), (b"transfer-encoding: chunked", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")],
)
def test_the_body_of_a_request_that_offers_another_protocol_is_read(
    client: Client, stage: Stage, framing: bytes, body: bytes, *, apart: bool
) -> None:
    """Some clients offer HTTP/2 with each request, uploads included."""
    head = b"POST /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n" + framing + b"\r\n\r\n"
    client.send(head if apart else head + body)
    if apart:
        eventually(lambda: stage.called == 1, "the head was read")
        client.send(body)
    assert json.loads(client.read()[0].body)["body"] == "hello"


def test_space_around_a_value_is_not_of_it(client: Client) -> None:
    """Of a framing header neither (RFC 9110, section 5.5)."""
    client.send(b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding:  chunked  \r\n\r\n2\r\nab\r\n0\r\n\r\n")
    assert json.loads(client.read()[0].body)["body"] == "ab"


def test_a_client_of_http_1_0_is_told_only_what_it_understands(client: Client) -> None:
    """It knows no interim answers, and that the connection stays only where it is told so."""
    client.send(
        b"POST /a HTTP/1.0\r\nconnection: keep-alive\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"
    )
    client.send(b"x")
    [answer] = client.read()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.closed() == b""


def test_a_client_that_asks_first_is_told_to_go_on(client: Client) -> None:
    """``Expect: 100-continue``; whose body is not wanted is not told."""
    client.send(b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    assert client.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert json.loads(client.read()[0].body)["body"] == "hello"
    answer = client.ask("/refuses", method="POST", rest="expect: 100-continue\r\ncontent-length: 5\r\n")
    assert answer.status == 413
    assert client.closed() == b""


def test_a_refusal_is_heard_by_who_sends_everything_first(client: Client) -> None:
    """What is still sent is read and dropped; closing at once would take the answer away."""
    client.send(b"POST /refuses HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\n\r\n" + b"x" * 20_000_000)
    [answer] = client.read()
    assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"too much", "close")


def test_a_refusal_that_read_nothing_leaves_room_for_the_next_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the body had arrived and filled the buffer, and nobody took it: it must not stand before what follows."""
    monkeypatch.setattr(body, "_FULL", 10)
    for _ in range(3):
        answer = client.ask("/refuses", method="POST", body=b"x" * 10)
        assert (answer.status, "connection" in answer.headers) == (413, False)
    assert client.ask("/a").status == 200


def test_what_arrived_before_the_client_left_is_read(base: str, stage: Stage) -> None:
    """Uploads keep it."""
    for _ in range(5):
        with connected(base) as client:
            client.send(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n" + b"x" * 400_000)
            client.socket.shutdown(socket.SHUT_WR)
            client.closed()
    assert stage.sent == [(400_000, False)] * 5


def test_a_client_whose_line_breaks_has_left_when_the_rest_is_read(base: str, stage: Stage) -> None:
    """A reset comes behind bytes that wait in the system: they are read, and then whoever reads hears it."""
    with connected(base) as client:
        client.send(b"POST /waits HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
        assert stage.waiting.wait(PATIENCE)
        client.socket.settimeout(1)
        sent_until_nobody_takes(client)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stage.release()
    [(count, whole)] = stage.told(1)
    assert (count > 600_000, whole) == (True, False)


def sent_until_nobody_takes(client: Client) -> int:
    """Bytes."""
    sent = 0
    while True:
        try:
            sent += client.socket.send(b"x" * 100_000)
        except TimeoutError:
            return sent


def test_a_body_waits_with_its_sender_until_somebody_reads(
    base: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is sent, some hundred kilobytes of it are here."""
    largest = 0
    feed = Body.feed

    def watched(body: Body, data: bytes) -> None:
        nonlocal largest
        feed(body, data)
        largest = max(largest, body._size)

    monkeypatch.setattr(Body, "feed", watched)
    with connected(base) as client:
        client.send(b"POST /waits HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
        client.socket.settimeout(1)
        sent = sent_until_nobody_takes(client)
        client.socket.settimeout(60)
        stage.release()
        while sent < 50_000_000:
            sent += client.socket.send(b"x" * min(100_000, 50_000_000 - sent))
        assert json.loads(client.read()[0].body)["body"] == 50_000_000
    assert largest <= 1 << 20


def test_one_http_1_0_request_is_answered(client: Client) -> None:
    """To the end of the connection, without chunks."""
    client.send(b"GET /pieces HTTP/1.0\r\n\r\n")
    head, _, body = client.closed().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"one two"
