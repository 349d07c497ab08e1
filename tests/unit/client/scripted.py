"""A server of this machine that answers by script, for tests of the client."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from typing_extensions import override

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

    do_GET = do_POST = do_PUT = do_DELETE = _next  # noqa: N815  (the names that http.server calls)

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
