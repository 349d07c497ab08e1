"""A TCP proxy on loopback that a test makes unreachable, silent, slow, or deaf for one kind of answer."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """Forwards to ``target``; its attributes may be changed while it runs."""

    target: tuple[str, int]
    endpoint: str = ""
    down: bool = False  # connections are closed as soon as they are made
    silent: bool = False  # requests arrive nowhere, and nobody says so
    pause_s: float = 0  # before each piece of an answer
    lose: bytes | None = (
        None  # the answer to the next request that contains this is dropped, with its connection
    )
    held: set[int] = field(default_factory=set)  # threads whose request was met by the silence
    lost: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def is_cut(self) -> bool:
        """Whether connections end now; asked anew, as the test changes it from its own thread."""
        return self.down

    def serve(self, listener: socket.socket) -> None:
        """Until the block ends."""
        while not self.ended.is_set():
            with suppress(OSError):
                client, _ = listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        if self.down:
            client.close()
            return
        try:
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
            return
        losing = threading.Event()
        back = threading.Thread(target=self._answers, args=(server, client, losing), daemon=True)
        back.start()
        with client, server, suppress(OSError):
            while data := client.recv(65536):
                if self.is_cut():
                    return
                if self.lose is not None and self.lose in data:
                    self.lose = None
                    losing.set()
                while self.silent and not self.ended.is_set():
                    self.held.add(threading.get_ident())
                    time.sleep(0.05)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            back.join(60)

    def _answers(self, server: socket.socket, client: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if losing.is_set():
                    self.lost.set()
                    break
                if self.is_cut():
                    break
                if self.pause_s:
                    time.sleep(self.pause_s)
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(endpoint: str) -> Iterator[Proxy]:
    """A proxy before the server at ``endpoint`` (``http://host:port``)."""
    parts = urlsplit(endpoint)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.settimeout(0.2)
        proxy = Proxy((parts.hostname or "", parts.port or 80))
        proxy.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.ended.set()
            thread.join(10)
