"""What the server makes of answers: framing, files, and what those who gave them are told."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from penstock.http_server import connection, files
from tests.serving import serving
from tests.unit.http_server.stage import (
    FILE,
    Client,
    Stage,
    connected,
    descriptors,
    eventually,
    open_descriptors,
)


def test_a_body_of_unknown_length_comes_in_chunks(client: Client) -> None:
    """And the connection stays."""
    answer = client.ask("/pieces")
    assert (answer.body, answer.headers["transfer-encoding"]) == (b"one two", "chunked")
    assert client.ask("/a").status == 200


@pytest.mark.parametrize("path", ["/pieces", "/a", "/direct/file", "/direct/generated", "/direct/large"])
def test_head_has_no_body(client: Client, path: str) -> None:
    """And the next answer is found where it begins."""
    assert client.ask(path, method="HEAD").body == b""
    assert client.ask("/a").status == 200


def test_an_answer_without_content_is_bare(client: Client) -> None:
    """204 has neither length nor chunks."""
    answer = client.ask("/empty")
    assert answer.status == 204
    assert not {"content-length", "transfer-encoding"} & set(answer.headers)


def test_a_date_is_on_every_answer(client: Client) -> None:
    """As RFC 9110 asks of a server with a clock."""
    for path in ("/a", "/direct/x"):
        assert client.ask(path).headers["date"].endswith(" GMT")


def test_an_application_that_fails_is_told_of(client: Client) -> None:
    """Nothing of the reason, and the connection ends."""
    answer = client.ask("/raises")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"no reason" not in answer.body


@pytest.mark.parametrize("path", ["/breaks", "/short", "/long", "/direct/breaks"])
def test_an_answer_that_breaks_off_is_cut(client: Client, path: str) -> None:
    """A client must not take a part for the whole, nor more than the whole."""
    client.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    told = client.closed()
    assert not told.endswith(b"0\r\n\r\n")
    head, _, body = told.partition(b"\r\n\r\n")
    if b"content-length" in head:
        assert body in {b"one ", b"one two", b"abc"}


def test_a_header_cannot_begin_another(client: Client) -> None:
    """Whatever an application puts into one."""
    answer = client.ask("/splits")
    assert answer.status == 500
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(("name", "body"), [("file", FILE), ("part", FILE[1000:3000]), ("large", FILE), ("generated", b"abcdef"), ("later", b"direct later")])  # fmt: skip
def test_a_responder_answers_with_what_it_has(client: Client, stage: Stage, name: str, body: bytes) -> None:
    """Bytes, files, generators; at once or later; and it hears that all of it went out."""
    for _ in range(2):
        assert client.ask(f"/direct/{name}").body == body
    assert stage.told(2) == [(len(body), True)] * 2


def test_a_file_is_sent_to_a_slow_reader_as_fast_as_it_reads(base: str, stage: Stage) -> None:
    """In many turns, while others are answered between them."""
    with connected(base) as slow, connected(base) as other:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        slow.send(b"GET /direct/file HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        first = slow.socket.recv(4096)
        assert other.ask("/direct/x").status == 200
        assert stage.told(1) == [(len(b"direct x"), True)], "the file is on its way"
        assert (first + slow.closed()).partition(b"\r\n\r\n")[2] == FILE
    assert stage.told(2)[1] == (len(FILE), True)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are listed by Linux alone")
@pytest.mark.parametrize("path", ["file", "large", "generated", "later"])
def test_who_leaves_in_the_middle_leaves_nothing_open(base: str, stage: Stage, path: str) -> None:
    """The responder hears how far it went; the file is closed."""
    for _ in range(3):
        with connected(base) as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            client.send(f"GET /direct/{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            if path in ("file", "large"):
                client.socket.recv(1000)
    told = stage.told(3)
    if path in ("file", "large"):
        assert all(count < len(FILE) and not whole for count, whole in told)
    eventually(lambda: descriptors(stage.file) == 0, "no file stays open")


def test_what_the_disk_has_to_be_asked_for_is_read_in_a_thread(
    client: Client, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system says that it has not got the bytes; then the loop does not wait for the disk."""
    threads = set()
    load, ready, cold = files.FilePart.load, files.FilePart.ready, set(range(20))

    def cold_at_first(part: files.FilePart, moment: float) -> bool:
        piece = part._position // files._PIECE
        if part._position >= part._in_memory and piece in cold:
            cold.discard(piece)
            return False
        return ready(part, moment)

    def noted(part: files.FilePart) -> None:
        threads.add(threading.current_thread().name)
        load(part)

    monkeypatch.setattr(files.FilePart, "ready", cold_at_first)
    monkeypatch.setattr(files.FilePart, "load", noted)
    assert client.ask("/direct/file").body == FILE
    assert threads
    assert not any("thread" in name.lower() and "run" in name for name in threads), "the loop's own thread"
    assert stage.told(1) == [(len(FILE), True)]


@pytest.mark.skipif(files._NOWAIT is None, reason="only Linux says what it has in memory")
def test_the_system_says_what_it_has_in_memory(tmp_path: Path) -> None:
    """A file that was just written is."""
    path = tmp_path / "file"
    path.write_bytes(FILE)
    part = files.FilePart(files.OpenFile(os.open(path, os.O_RDONLY)), 0, len(FILE))
    assert part.ready(1.0)


@pytest.mark.skipif(files._NOWAIT is None, reason="only Linux says what it has in memory")
def test_the_system_is_asked_once_in_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the same bytes, or fewer; not for more of them, and not later."""
    path = tmp_path / "file"
    path.write_bytes(FILE)
    file = files.OpenFile(os.open(path, os.O_RDONLY))
    asked: list[int] = []
    preadv = os.preadv

    def noted(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        asked.append(offset)
        return preadv(descriptor, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", noted)

    def ready(start: int, end: int, moment: float) -> int:
        """How often it was asked so far."""
        assert files.FilePart(file, start, end).ready(moment)
        return len(asked)

    assert ready(0, 1000, 1.0) == 1
    assert ready(0, 1000, 1.0) == 1
    assert ready(500, 900, 1.0) == 1
    assert ready(0, 1001, 1.0) == 2
    assert ready(0, 1000, 2.0) == 3
    assert asked == [999, 1000, 999]


def test_a_file_that_became_shorter_cuts_the_answer(client: Client, stage: Stage) -> None:
    """Its length was told before."""
    os.truncate(stage.file, 5_000_000)
    client.send(b"GET /direct/file HTTP/1.1\r\nhost: x\r\n\r\n")
    assert len(client.closed().partition(b"\r\n\r\n")[2]) == 5_000_000
    assert stage.told(1) == [(5_000_000, False)]


def test_an_application_that_waits_hears_that_its_client_left(base: str, stage: Stage) -> None:
    """Whether it left in the middle of its request or after it."""
    with connected(base) as client:
        client.send(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
    eventually(lambda: stage.disconnected == 1, "it is told")


def test_json_of_a_large_answer_comes_whole(client: Client) -> None:
    """An application's answer that the socket does not take at once."""
    told = json.loads(client.ask("/a", method="POST", body=b"y" * 9_999).body)
    assert told["body"] == "y" * 9_999


def test_answers_do_not_pile_up_before_who_reads_none(base: str, stage: Stage) -> None:
    """An application is asked for the next when the client has taken the last."""
    with connected(base) as client:
        client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" * 12 + b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        with connected(base) as other:
            for _ in range(20):
                assert other.ask("/a").status == 200
        assert stage.called < 20 + 6
        assert all(answer.body == FILE for answer in client.read(expected=12))
        assert client.read()[0].status == 200


@pytest.mark.parametrize("path", ["direct/x", "direct/file", "direct/generated", "a"])
def test_who_left_before_the_answer_is_not_said_to_have_got_any(base: str, stage: Stage, path: str) -> None:
    """The connection is broken when the answer is given, and nobody knows it yet; the next client is served."""
    with connected(base) as blocker, connected(base) as client:
        blocker.send(b"GET /direct/blocks HTTP/1.1\r\nhost: x\r\n\r\n")
        assert stage.waiting.wait(30)
        client.send(f"GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * 2)
        client.reset()
        stage.block.set()
        assert blocker.read()[0].status == 200
    with connected(base) as other:
        assert other.ask("/direct/y").status == 200
    eventually(lambda: stage.sent.count((8, True)) == 1, "it is told")
    assert [told for told in stage.sent if told not in ((13, True), (8, True))] in ([], [(0, False)])


def test_who_left_while_an_answer_was_sought_got_nothing(base: str, stage: Stage) -> None:
    """Which is what its responder is told."""
    with connected(base) as client, connected(base) as other:
        client.send(b"GET /direct/held HTTP/1.1\r\nhost: x\r\n\r\n")
        assert stage.waiting.wait(30)
        client.reset()
        for _ in range(3):
            assert other.ask("/a").status == 200
        stage.release()
        assert stage.told(1) == [(0, False)]


def test_a_responder_that_fails_is_told_of(client: Client) -> None:
    """As an application is: what must not happen leaves no connection behind."""
    answer = client.ask("/direct/raises")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert client.closed() == b""


def test_a_log_that_cannot_be_written_leaves_no_client_waiting(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no descriptor is left, drawing a trace may fail as well; the client is told first."""
    monkeypatch.setattr(connection, "_log", None)
    assert client.ask("/direct/raises").status == 500
    assert client.closed() == b""


def test_who_fails_when_told_harms_no_connection(client: Client) -> None:
    """The answer was given, and the next one is."""
    for _ in range(2):
        assert client.ask("/direct/untold").body == b"direct untold"


def test_head_has_no_body_where_the_application_fails(client: Client) -> None:
    """The refusal says how long it would be."""
    assert client.ask("/raises", method="HEAD").status == 500
    assert client.closed() == b""


def test_headers_may_come_in_any_shape(client: Client) -> None:
    """ASGI asks for pairs in anything that can be gone through, or for none."""
    assert client.ask("/lists").headers["x"] == "y"
    assert client.ask("/bare").body == b"bare"


def test_a_client_that_sent_all_and_reads_late_is_let_go(stage: Stage) -> None:
    """Its answer was complete before it closed its side; the connection ends with it."""
    with serving(stage.site, idle_s=3000) as base, connected(base) as client:
        client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        client.socket.recv(1000)
        with connected(base) as other:
            assert other.ask("/a").status == 200
        client.socket.shutdown(socket.SHUT_WR)
        assert client.closed().endswith(FILE[-1000:])


def test_many_requests_sent_ahead_hold_up_nobody(base: str, stage: Stage) -> None:
    """Others have their turn between them."""
    with connected(base) as greedy, connected(base) as other:
        greedy.send(b"GET /direct/blocks HTTP/1.1\r\nhost: x\r\n\r\n")
        assert stage.waiting.wait(30)
        greedy.send(b"GET /direct/x HTTP/1.1\r\nhost: x\r\n\r\n" * 3000)
        other.send(b"GET /direct/y HTTP/1.1\r\nhost: x\r\n\r\n")
        stage.block.set()
        assert other.read()[0].body == b"direct y"
        assert len(greedy.read(expected=3001)) == 3001
    assert stage.asked.index(b"y") < 1000


@pytest.mark.parametrize(
    "begun", [b"GET /direct", b"\r\n", b"PUT /a HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc"]
)
def test_who_begins_and_leaves_at_once_is_noticed(stage: Stage, begun: bytes) -> None:
    """The bytes and the break are there at the same moment, and the loop tells of both only once."""
    with serving(stage.site, idle_s=3000) as base, connected(base) as blocker:
        blocker.send(b"GET /direct/blocks HTTP/1.1\r\nhost: x\r\n\r\n")
        assert stage.waiting.wait(30)
        before = open_descriptors()
        with connected(base) as client:
            client.send(begun)
            client.reset()
        stage.block.set()
        assert blocker.read()[0].status == 200
        with connected(base) as other:  # which comes in after it
            assert other.ask("/a").status == 200
        eventually(lambda: open_descriptors() <= before, "its connection is closed")
