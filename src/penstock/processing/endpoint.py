"""``/health``, ``/status`` and ``/metrics`` of the processing service.

Same paths and same JSON as the HTTP services answer, on the standard library's small server: a framework would double the
memory of an idle process that gets a request every few seconds.
"""

import errno
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from penstock.video.errors import ConfigurationError
from penstock.web_api.dependencies import Check, Dependencies

_log = structlog.get_logger()


class Endpoint:
    """Serves from its own threads between :meth:`start` and :meth:`close`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        constants: Mapping[str, str],
        checks: Mapping[str, Check],
        facts: Callable[[], Any],
    ) -> None:
        """``constants`` are service, version and node; ``facts`` is what else ``/status`` tells.

        A port that is taken is replaced by any free one: figures are no reason not to work. Raises ``ConfigurationError``
        where the address cannot be listened on at all.
        """
        started_at = datetime.now(UTC)
        asked = Dependencies(checks)

        def status() -> tuple[HTTPStatus, dict[str, Any]]:
            dependencies = [asdict(answer) for answer in asked.ask()]
            ready = all(item["status"] == "ok" for item in dependencies)
            return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, {
                **constants,
                "status": "ok" if ready else "down",
                "started_at": started_at.isoformat().replace("+00:00", "Z"),
                "dependencies": dependencies,
                "processing": facts(),
            }

        class Handler(_Handler):
            answers = {"/health": lambda: (HTTPStatus.OK, {"status": "ok"}), "/status": status}  # noqa: RUF012 - made per server

        self._server = _listening(host, port, Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stops listening; requests being answered are let go."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def _listening(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or port == 0:
            raise ConfigurationError(
                f"Port {port} on {host} cannot be listened on ({error.strerror}); set PENSTOCK_PROCESSING_HOST and "
                "PENSTOCK_PROCESSING_PORT to an address of this machine."
            ) from error
    server = _listening(host, 0, handler)
    _log.warning(
        "port_replaced",
        busy=port,
        port=server.server_address[1],
        detail="set PENSTOCK_PROCESSING_PORT to a free port, so that the figures are found at the same place after a restart",
    )
    return server


class _Handler(BaseHTTPRequestHandler):
    answers: Mapping[str, Callable[[], tuple[HTTPStatus, dict[str, Any]]]]
    timeout = 10  # seconds a silent client may hold a thread
    server_version = "penstock"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encoder, content_type = choose_encoder(self.headers.get("accept", ""))
            self._send(HTTPStatus.OK, content_type, encoder(REGISTRY))
        elif path in self.answers:
            status, document = self.answers[path]()
            self._send(status, "application/json", json.dumps(document).encode())
        else:
            problem = {"type": "about:blank", "title": "Not found", "status": 404, "code": "not_found"}
            self._send(HTTPStatus.NOT_FOUND, "application/problem+json", json.dumps(problem).encode())

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Nothing: probes come every few seconds and tell nothing."""
