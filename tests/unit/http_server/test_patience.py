"""How long the server waits for whom, how many it lets in, and how it ends."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from penstock.http_server import connection, files, server
from tests.serving import serving
from tests.unit.http_server.stage import FILE, PATIENCE, Client, Stage, connected, descriptors


@pytest.fixture
def impatient(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A site that gives a client a quarter of a second."""
    monkeypatch.setattr(server, "_TICK_S", 0.05)
    monkeypatch.setattr(connection, "_STALLED_S", 0.25)
    monkeypatch.setattr(connection, "_LINGER_S", 0.25)
    with serving(stage.site, idle_s=0.25) as base:
        yield base


def test_silence_is_ended_without_a_word(impatient: str) -> None:
    """Before the first request and between two."""
    with connected(impatient) as client:
        assert client.closed() == b""
    with connected(impatient) as client:
        assert client.ask("/a").status == 200
        assert client.closed() == b""


@pytest.mark.parametrize("half", [b"", b"GET /a HTTP/1.1\r\n"])
def test_who_spoke_while_the_server_did_not_listen_is_heard(
    impatient: str, stage: Stage, half: bytes
) -> None:
    """The machine stood still, or one client held up all: whatever came meanwhile came in time."""
    with connected(impatient) as client, connected(impatient) as blocker:
        assert client.ask("/a").status == 200
        client.send(half)
        blocker.send(b"GET /direct/blocks HTTP/1.1\r\nhost: x\r\n\r\n")
        assert stage.waiting.wait(PATIENCE)
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"[len(half) :])
        threading.Event().wait(0.5)
        stage.block.set()
        assert client.read()[0].status == 200


@pytest.mark.parametrize("drip", [b"", b"a: b\r\n"])
def test_a_head_that_never_ends_is_told_so(impatient: str, drip: bytes) -> None:
    """Bytes that drip buy no time."""
    with connected(impatient) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        client.socket.settimeout(0.02)
        told = b""
        while not told:
            try:
                client.send(drip)
                told = client.socket.recv(65536)
            except TimeoutError:
                continue
        assert b" 408 " in told
        assert b"head_stalled" in told


def test_who_takes_nothing_is_given_up(impatient: str, stage: Stage) -> None:
    """An answer that nobody reads holds its file and its memory no longer than that."""
    for name in ("file", "large"):
        with connected(impatient) as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
            client.send(f"GET /direct/{name} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            told = stage.told(len(stage.sent) + 1)[-1]
            assert told[0] < len(FILE)
            assert not told[1]


def test_who_takes_nothing_and_asks_for_more_is_given_up(impatient: str) -> None:
    """Further requests are no sign of life."""
    with connected(impatient) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            send_for_ever(client, pause=0.02)


def test_who_reads_slowly_is_not(impatient: str) -> None:
    """Every byte taken buys the whole time again."""
    with connected(impatient) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        client.send(b"GET /direct/file HTTP/1.1\r\nhost: x\r\n\r\n")
        pause, read = threading.Event(), 0
        for _ in range(12):  # together far longer than the patience
            pause.wait(0.05)
            read += len(client.socket.recv(300_000))
        while read < len(FILE):
            read += len(client.socket.recv(1 << 20))


def test_an_application_may_take_its_time(impatient: str, stage: Stage) -> None:
    """It is not the client's turn then."""
    with connected(impatient) as client:
        client.send(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        threading.Event().wait(0.8)
        stage.release()
        assert client.read()[0].status == 200


def send_for_ever(client: Client, pause: float = 0) -> None:
    """Until the system says that nobody is there."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        client.send(b"\r\n" if pause else b"x" * 1000)
        time.sleep(pause)


def test_a_refused_client_that_goes_on_sending_is_given_up(impatient: str) -> None:
    """Its bytes are dropped for a while, and then it is cut off."""
    with connected(impatient) as client:
        client.send(b"POST /refuses HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        assert client.read()[0].status == 413
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            send_for_ever(client)


def test_more_than_there_is_room_for_wait(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the socket's queue, until somebody leaves."""
    monkeypatch.setattr(server, "_TICK_S", 0.05)
    monkeypatch.setattr(server, "_CONNECTIONS", 3)
    with serving(stage.site) as base:
        clients = [Client(base) for _ in range(3)]
        assert [client.ask("/direct/x").status for client in clients] == [200] * 3
        late = Client(base)
        late.send(b"GET /direct/y HTTP/1.1\r\nhost: x\r\n\r\n")
        late.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.socket.recv(1)
        clients.pop().socket.close()
        late.socket.settimeout(60)
        assert late.read()[0].body == b"direct y"
        for client in (*clients, late):
            client.socket.close()


def test_the_end_lets_answers_finish_and_takes_no_more(stage: Stage) -> None:
    """A file in flight comes whole; an idle connection ends; who comes now waits for the successor."""
    with serving(stage.site, patience=30) as base:
        idle, busy = Client(base), Client(base)
        assert idle.ask("/direct/x").status == 200
        busy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        busy.send(b"GET /direct/file HTTP/1.1\r\nhost: x\r\n\r\n")
        first = busy.socket.recv(1000)
        got: list[bytes] = [first]
        reading = threading.Thread(target=lambda: got.append(idle.closed() + busy.closed()))
        reading.start()
    reading.join()
    assert b"".join(got).partition(b"\r\n\r\n")[2] == FILE
    for client in (idle, busy):
        client.socket.close()


def test_what_does_not_end_is_cut_at_the_end(stage: Stage) -> None:
    """An application that waits for ever is told to stop, and its client that the server does."""
    with serving(stage.site, patience=0.2) as base:
        client = Client(base)
        client.send(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        stage.waiting.wait(30)
    [answer] = client.read()
    assert (answer.status, answer.code) == (503, "stopping")
    client.socket.close()


def test_an_answer_that_is_still_taken_at_the_end_ends_the_connection(stage: Stage) -> None:
    """An application's too, and at once, not when all patience is spent."""
    with serving(stage.site, idle_s=3000, patience=3000) as base:
        client = Client(base)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        got = [client.socket.recv(1000)]
        reading = threading.Thread(target=lambda: got.append(client.closed()))
        reading.start()
    reading.join()
    assert b"".join(got).partition(b"\r\n\r\n")[2] == FILE
    client.socket.close()


@pytest.mark.parametrize("name", ["file", "generated"])
def test_who_waits_for_the_disk_at_the_end_is_told_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A thread that reads is waited for a little, so that nobody takes its file away."""
    begun, go_on = threading.Event(), threading.Event()
    load = files.FilePart.load

    def slow(part: files.FilePart) -> None:
        begun.set()
        go_on.wait(PATIENCE)
        load(part)

    def pieces(*, breaks: bool) -> Iterator[bytes]:
        yield b"abc"
        assert not breaks
        begun.set()
        go_on.wait(PATIENCE)
        yield b"def"

    monkeypatch.setattr(files.FilePart, "ready", lambda part, _moment: part._position < part._in_memory)
    monkeypatch.setattr(files.FilePart, "load", slow)
    monkeypatch.setattr(stage, "_generated", pieces)
    with serving(stage.site, patience=0.05) as base:
        client = Client(base)
        client.send(f"GET /direct/{name} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert begun.wait(PATIENCE)
        threading.Timer(0.4, go_on.set).start()
    assert stage.sent == [(0 if name == "file" else 3, False)]
    assert descriptors(stage.file) == 0
    client.socket.close()
