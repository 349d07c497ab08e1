"""A line that breaks: a proxy on a port that stays, before a server that may go and come back on another."""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # close with RST, as a lost network looks to both ends


class Proxy:
    """Passes bytes on until it is told to break off. ``upstream`` is asked for the server's port at each connection."""

    def __init__(self, upstream: Callable[[], int]) -> None:
        self._upstream = upstream
        self._lock = Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._budget: int | None = None
        self._then: Callable[[], None] = lambda: None
        self._unanswered: bytes | None = None
        self._refusing = False
        self.received = 0
        """Bytes that came from clients, heads included."""
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self._reset()

    def cut_after(self, count: int, then: Callable[[], None] = lambda: None) -> None:
        """Once so many more bytes have come from clients: calls ``then``, and resets every connection."""
        with self._lock:
            self._budget, self._then = count, then

    def lose_answer_to(self, request: str) -> None:
        """The next request that begins so reaches the server and is answered; the answer is lost with its connection."""
        self._unanswered = request.encode()

    def refuse(self, refusing: bool) -> None:
        """Whether new connections are reset at once."""
        self._refusing = refusing

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _break(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream()), timeout=60)
            except OSError:
                _break(client)
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.append(pair)
            state = {"lose": False}
            Thread(target=self._up, args=(pair, state), daemon=True).start()
            Thread(target=self._down, args=(pair, state), daemon=True).start()

    def _up(self, pair: tuple[socket.socket, socket.socket], state: dict[str, bool]) -> None:
        client, server = pair
        with suppress(OSError):
            while data := client.recv(65536):
                if self._unanswered is not None and data.startswith(self._unanswered):
                    self._unanswered, state["lose"] = None, True
                allowed = self._spend(len(data))
                server.sendall(data[:allowed])
                if allowed < len(data):
                    self._then()
                    self.cuts += 1
                    self._reset()
                    return
            server.shutdown(socket.SHUT_WR)

    def _down(self, pair: tuple[socket.socket, socket.socket], state: dict[str, bool]) -> None:
        client, server = pair
        with suppress(OSError):
            while data := server.recv(65536):
                if state["lose"] and not data.startswith(b"HTTP/1.1 100 "):
                    self.cuts += 1
                    break
                client.sendall(data)
        self._end(pair)

    def _spend(self, count: int) -> int:
        with self._lock:
            allowed = count
            if self._budget is not None:
                allowed = min(count, self._budget)
                self._budget = None if allowed < count else self._budget - allowed
            self.received += allowed
            return allowed

    def _reset(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                _break(one)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.remove(pair)
        for one in pair:
            _break(one)


def _break(one: socket.socket) -> None:
    """So that a thread that reads from it wakes up too."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RDWR)
    one.close()
