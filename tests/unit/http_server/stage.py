"""An application and a responder that do what their address says, and clients that speak to them byte by byte."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import h11

from penstock.http_server.calls import Receive, Scope, Send
from penstock.http_server.files import FilePart, OpenFile
from penstock.http_server.messages import Answer, Header, Request, Steps, lines
from penstock.wiring.server import Site

PATIENCE = 30.0  # seconds until something that must happen is given up on
FILE = bytes(range(256)) * 40_000  # 10 MB

_PIECES: dict[str, list[Header]] = {
    "/pieces": [],
    "/breaks": [],
    "/short": [(b"content-length", b"30")],
    "/long": [(b"content-length", b"5")],
}
_AT_ONCE: dict[str, tuple[int, bytes, list[Header]]] = {
    "/refuses": (413, b"too much", []),
    "/empty": (204, b"", []),
    "/splits": (200, b"", [(b"x", b"a\r\nset-cookie: b")]),
    "/large": (200, FILE, []),
}


class Stage:
    """What a test sees of the server's side."""

    def __init__(self, folder: Path) -> None:
        self.sent: list[tuple[int, bool]] = []  # what responders were told
        self.disconnected = 0
        self.asked: list[bytes] = []  # by whom: the targets of responders' requests
        self.called = 0  # applications
        self.unaccounted = 0  # responders that were found to have been told nothing of their answers
        self.waiting = threading.Event()  # somebody waits to be released
        self.block = threading.Event()  # lets go on who holds up the whole loop
        self._gate = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.file = folder / "file"
        self.file.write_bytes(FILE)

    def told(self, count: int) -> list[tuple[int, bool]]:
        """What responders were told, once it is so much."""
        deadline = time.monotonic() + PATIENCE
        while len(self.sent) < count:
            assert time.monotonic() < deadline, f"{count} awaited, {self.sent}"
            time.sleep(0.01)
        return self.sent

    def unaccounted_now(self) -> int:
        """How many more responders were asked than were told what became of their answers."""
        return len(self.asked) - (len(self.sent) - self.disconnected)

    def release(self) -> None:
        """Lets go on who waits."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._gate.set)

    @property
    def site(self) -> Site:
        """Everything below ``/direct/`` is the responder's."""
        return Site(self.app, {"/direct/": self.respond})

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tells what it was asked, after reading the body; or does what the path says."""
        if scope["type"] == "lifespan":
            return
        path = scope["path"]
        self.called += 1
        if path in _PIECES:
            await self._in_pieces(send, path)
            return
        if path in _AT_ONCE:
            await answer(send, *_AT_ONCE[path])
            return
        if path == "/bare":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"bare"})
            return
        if path == "/lists":
            headers = iter([[b"x", b"y"]])
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body"})
            return
        if path == "/raises":
            raise ValueError("no reason")
        if path == "/waits":
            self._loop = asyncio.get_running_loop()
            self.waiting.set()
            await self._gate.wait()
        size, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                self.sent.append((len(size), False))
                return
            size += message["body"]
            more = message["more_body"]
        told = {
            "method": scope["method"],
            "path": path,
            "query": scope["query_string"].decode(),
            "headers": sorted(name.decode() for name, _ in scope["headers"]),
            "body": bytes(size).decode("latin-1") if len(size) < 10_000 else len(size),
        }
        await answer(send, 200, json.dumps(told).encode(), [])

    @staticmethod
    async def _in_pieces(send: Send, path: str) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _PIECES[path]})
        for piece in (b"one ", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if path == "/breaks":
            raise ValueError("in the middle")
        await send({"type": "http.response.body"})

    def respond(self, request: Request) -> Steps:
        """What the last part of the path says."""
        name = request.target.rpartition(b"/")[2]
        self.asked.append(name)
        sent = partial(self._told, fails=name == b"untold")
        body: bytes | FilePart | Generator[bytes, None, None] = b"direct " + name
        length = len(b"direct " + name)
        if name == b"file":
            body, length = FilePart(OpenFile(os.open(self.file, os.O_RDONLY)), 0, len(FILE)), len(FILE)
        if name == b"part":
            body, length = FilePart(OpenFile(os.open(self.file, os.O_RDONLY)), 1000, 3000), 2000
        if name in (b"generated", b"breaks"):
            body, length = self._generated(breaks=name == b"breaks"), 6
        if name == b"later":
            yield asyncio.sleep(0.01)
        if name == b"held":
            self._loop = asyncio.get_running_loop()
            self.waiting.set()
            yield self._gate.wait()
        if name == b"blocks":
            self.waiting.set()
            self.block.wait(PATIENCE)
        if name == b"raises":
            raise ValueError("no reason")
        if name == b"large":
            body, length = FILE, len(FILE)
        head = lines([(b"content-length", b"%d" % length)])
        if request.method == "HEAD":
            body = b""
        return Answer(200, head, body, sent)

    def _told(self, count: int, whole: bool, *, fails: bool) -> None:
        self.sent.append((count, whole))
        if fails:
            raise ValueError("no reason")

    @staticmethod
    def _generated(*, breaks: bool) -> Generator[bytes, None, None]:
        yield b"abc"
        if breaks:
            raise OSError("the store is gone")
        yield b"def"


async def answer(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    """A whole answer of an application."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Waits for what another thread does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def open_descriptors() -> int:
    """Of this process, the server's part of it included."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def descriptors(file: Path) -> int:
    """How many of this process are open on a file."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += descriptor.readlink() == file
        except FileNotFoundError:
            continue
    return found


@dataclass
class Told:
    """An answer as a client understood it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of the problem."""
        return str(json.loads(self.body)["code"])


def address(base: str) -> tuple[str, int]:
    """Where to connect."""
    parts = urlsplit(base)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


class Client:
    """One connection; answers are read by an implementation of the protocol that was written elsewhere."""

    def __init__(self, base: str) -> None:
        self.socket = socket.create_connection(address(base), timeout=60)
        self._rest = b""

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.socket.sendall(data)

    def read(self, method: str = "GET", *, expected: int = 1) -> list[Told]:
        """So many answers to requests of this method. Raises where one is cut off or is none."""
        found = []
        for _ in range(expected):
            parser = h11.Connection(h11.CLIENT)
            parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
            parser.send(h11.EndOfMessage())
            if self._rest:
                parser.receive_data(self._rest)
            head, body = None, b""
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    parser.receive_data(self.socket.recv(65536))
                elif isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
            assert head is not None
            self._rest = parser.trailing_data[0]
            names = {name.decode(): value.decode() for name, value in head.headers}
            found.append(Told(head.status_code, names, body))
        return found

    def ask(self, path: str, *, method: str = "GET", rest: str = "", body: bytes = b"") -> Told:
        """One request and its answer."""
        length = f"content-length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {path} HTTP/1.1\r\nhost: x\r\n{length}{rest}\r\n".encode() + body)
        return self.read(method)[0]

    def reset(self) -> None:
        """Leaves at once, without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def closed(self) -> bytes:
        """What comes until the server closes."""
        told = b""
        while data := self.socket.recv(65536):
            told += data
        return told


@contextmanager
def connected(base: str) -> Iterator[Client]:
    """A client until the end of the block."""
    client = Client(base)
    with client.socket:
        yield client
