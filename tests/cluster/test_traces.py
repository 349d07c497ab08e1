"""One trace follows a video from the upload through every task, over both processes."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import override

from tests.cluster.conftest import Starter


class Collector:
    """An OTLP collector that remembers (service, span name, trace id)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.receive(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            @override
            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def receive(self, body: bytes) -> None:
        """One batch of spans."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [
                    (names["service.name"], span.name, span.trace_id.hex()) for span in scope.spans
                ]

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on this machine."""
    collector = Collector()
    yield collector
    collector.close()


def test_one_trace_follows_a_video_over_both_processes(
    start: Starter, collector: Collector, clips: Path
) -> None:
    """The request that opened the upload and every task that came of it are spans of one trace."""
    platform = start({"OTLP_ENDPOINT": collector.url, "PLAN_MAX_RUNG": "240"})
    with platform.client() as client:
        video_id = client.upload(clips / "bigbuckbunny.mp4").id
        assert client.wait(video_id).state == "ready"
    assert platform.stop() == 0  # the last spans leave with their process
    tasks = [
        trace
        for service, name, trace in collector.spans
        if service == "penstock-processing" and name.startswith("task ")
    ]
    assert len(tasks) >= 6
    (trace,) = set(tasks)
    assert any(service == "penstock-web" and found == trace for service, _, found in collector.spans)
    assert any(line.get("trace_id") == trace for line in platform.log("chunk_encoded"))
