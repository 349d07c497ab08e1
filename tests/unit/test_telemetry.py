import errno
import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from structlog.contextvars import bound_contextvars
from typing_extensions import override

from penstock import telemetry
from penstock.telemetry import TelemetryConfig, redaction
from penstock.telemetry.redaction import redact_text

CONFIG = TelemetryConfig(service="web", node="node-1", version="0.1.0")


@pytest.fixture(autouse=True)
def former_logging() -> Iterator[None]:
    """Each test configures logging for the whole process, so each puts the former one back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was written, line by line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_what_is_bound() -> None:
    """Event, level, UTC time, service, node and every bound name are on the line."""
    stream = io.StringIO()
    telemetry.configure(CONFIG, stream=stream)
    with bound_contextvars(video_id="v1", task_id="t1"):
        structlog.get_logger().info("chunk_encoded", frames=96)
    (line,) = lines(stream)
    assert list(line)[:5] == ["time", "level", "event", "service", "node"]
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "chunk_encoded",
        "level": "info",
        "service": "web",
        "node": "node-1",
        "video_id": "v1",
        "task_id": "t1",
        "frames": 96,
    }


def test_a_line_is_written_whatever_is_on_it() -> None:
    """Half a character from a file's name, a path, a set, an infinite number: nothing keeps a fact out of the log."""
    stream = io.StringIO()
    telemetry.configure(CONFIG, stream=stream)
    log = structlog.get_logger()
    log.info("odd", name="clip\ud83c.mp4", at=Path("/data"), rate=float("inf"), rungs={"240p"})
    log.info("plain", name="Grüße", at=Path("/data"))
    odd, plain = lines(stream)
    assert (odd["name"], odd["at"], odd["rungs"]) == ("clip\ud83c.mp4", "/data", ["240p"])
    assert (plain["name"], plain["at"]) == ("Grüße", "/data")


@given(
    st.lists(
        st.sampled_from(
            [
                "/stream/",
                "?t=",
                "Bearer ",
                "s3://ann:",
                "@",
                "PST_",
                "pst_",
                "abc",
                "\t",
                "\N{NO-BREAK SPACE}",
                "=",
                "/",
                "_",
            ]
        )
    )
)
def test_what_spares_the_search_for_secrets_misses_none(parts: list[str]) -> None:
    """Texts that cannot hold a secret are told by a glance; those that do are never among them."""
    text = "".join(parts)
    assert redaction.redact(None, "info", {"note": text})["note"] == redaction._SECRET_TEXT.sub(
        redaction._keep_lead, text
    )


def test_lines_of_libraries_take_the_same_form() -> None:
    """The standard library's logging ends in the same stream, as JSON, with what is bound."""
    stream = io.StringIO()
    telemetry.configure(CONFIG, stream=stream)
    with bound_contextvars(video_id="v1"):
        logging.getLogger("some.library").warning("took %d tries", 3)
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["video_id"]) == ("took 3 tries", "some.library", "v1")


def test_lines_below_the_level_are_not_written() -> None:
    """A level keeps quieter events out, of Penstock and of libraries."""
    stream = io.StringIO()
    telemetry.configure(TelemetryConfig(service="web", node="n", version="0", level="warning"), stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    assert not stream.getvalue()


def test_an_exception_is_part_of_its_line() -> None:
    """A traceback is data within the JSON object, without the values of local variables."""
    stream = io.StringIO()
    telemetry.configure(CONFIG, stream=stream)
    secret = "do-not-show"  # noqa: F841  (a local of the failing frame)
    try:
        int("broken")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert "do-not-show" not in stream.getvalue()


def test_console_lines_are_for_people() -> None:
    """The console form is no JSON and still names the event."""
    stream = io.StringIO()
    telemetry.configure(
        TelemetryConfig(service="web", node="n", version="0", format="console"), stream=stream
    )
    structlog.get_logger().info("started", port=8800)
    assert "started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_log_file_is_appended_to(tmp_path: Path) -> None:
    """Two configurations of one file, as of two processes, keep each other's lines."""
    path = tmp_path / "logs" / "penstock.log"
    for service in ("web", "processing"):
        handle = telemetry.configure(TelemetryConfig(service=service, node="n", version="0", file=path))
        structlog.get_logger().info("started")
        handle.close()
    assert [json.loads(line)["service"] for line in path.read_text().splitlines()] == ["web", "processing"]


def test_frequent_lines_wait_for_the_next_line_and_come_before_it(tmp_path: Path) -> None:
    """Lines of a frequent logger are the same JSON, in the order in which they and all others were logged."""
    path = tmp_path / "log"
    handle = telemetry.configure(TelemetryConfig(service="web", node="n", version="0", file=path))
    frequent, other = structlog.get_logger("frequent"), structlog.get_logger("other")
    for number in range(3):
        frequent.info("served", number=number)
    other.info("told")
    frequent.info("served", number=3)
    logging.getLogger("library").warning("old")
    frequent.info("served", number=4)
    frequent.warning("odd")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    handle.close()
    assert [line.get("number", line["event"]) for line in told] == [0, 1, 2, "told", 3, "old", 4, "odd"]
    assert {tuple(line) for line in told[:3]} == {("time", "level", "event", "service", "node", "number")}


FACTS = st.dictionaries(
    st.sampled_from(["a", "b", "node", "service", "level", "time", "name", "api_key", "session_id", "cmcd"]),
    st.one_of(
        st.integers(),
        st.booleans(),
        st.none(),
        st.floats(allow_nan=False),
        st.text(max_size=8),
        st.sampled_from(["/stream/secret/x", "Bearer abc", "Bearer\u2003abc", "Bearer\tabc", "pst_01x_abc", "PST_01x_abc", "?t=abc", "a:b@c", "s://u:p@h", "\n{"]),
        st.dictionaries(st.sampled_from(["token", "sid"]), st.text(max_size=4), max_size=2),
    ),
    max_size=5,
)  # fmt: skip


@given(bound=FACTS, facts=FACTS, task=st.sampled_from([{}, {"video_id": "v"}]))
@example(
    bound={}, facts={"name": "a\x85b\u2028c"}, task={}
)  # ends a line for Python, and for no reader of logs
def test_a_frequent_line_says_what_any_other_would(
    bound: dict[str, Any], facts: dict[str, Any], task: dict[str, str]
) -> None:
    """It is made in a shorter way, with the same secrets hidden."""
    stream = io.StringIO()
    handle = telemetry.configure(CONFIG, stream=stream)
    with bound_contextvars(**task):
        for name in ("frequent", "other"):
            structlog.get_logger(name).bind(**bound).info("served", **facts)
    handle.close()
    frequent, other = ([(k, v) for k, v in json.loads(line).items() if k != "time"] for line in stream.getvalue().split("\n")[:-1])  # fmt: skip
    assert dict(frequent) == dict(other)
    assert [name for name, _ in frequent][:4] == ["level", "event", "service", "node"]


def test_a_frequent_line_is_written_though_nothing_follows_it(tmp_path: Path) -> None:
    """Whoever reads along sees it in a moment."""
    path = tmp_path / "log"
    handle = telemetry.configure(TelemetryConfig(service="web", node="n", version="0", file=path))
    for number in range(3):
        structlog.get_logger("frequent").info("served", number=number)
        deadline = time.monotonic() + 60
        while len(path.read_text().splitlines()) <= number:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    handle.close()


def test_no_frequent_line_is_lost_or_written_twice(tmp_path: Path) -> None:
    """Four threads, more lines than may wait, and whatever waits at the end: each is there once, each thread's in order."""
    path = tmp_path / "log"
    handle = telemetry.configure(TelemetryConfig(service="web", node="n", version="0", file=path))

    def log(name: int) -> None:
        frequent = structlog.get_logger("frequent").bind(name=name)
        for number in range(5000):
            frequent.info("served", number=number)

    threads = [Thread(target=log, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.close()
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [[line["number"] for line in told if line["name"] == name] for name in range(4)] == [
        list(range(5000))
    ] * 4


@pytest.mark.parametrize("end", ["", "raise RuntimeError", "sys.exit(3)"])
def test_a_process_that_ends_by_itself_leaves_no_line_behind(tmp_path: Path, end: str) -> None:
    """Also where nobody closed the log: only a process that is killed loses the lines that wait."""
    program = (
        "import sys, structlog; from pathlib import Path; from penstock import telemetry\n"
        "telemetry.configure(telemetry.TelemetryConfig(service='web', node='n', version='0', file=Path(sys.argv[1])))\n"
        f"for number in range(10): structlog.get_logger('frequent').info('served', number=number)\n{end}\n"
    )
    path = tmp_path / "log"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, stderr=subprocess.DEVNULL)
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == list(range(10))


def test_a_disk_that_was_full_for_a_while_does_not_end_the_log() -> None:
    """What it does not take is lost; what is logged when there is room again is written."""
    refused, written = Event(), Event()

    class Disk(io.StringIO):
        @override
        def write(self, text: str) -> int:
            if not refused.is_set():
                refused.set()
                raise OSError(errno.ENOSPC, "full")
            written.set()
            return super().write(text)

    stream = Disk()
    handle = telemetry.configure(CONFIG, stream=stream)
    structlog.get_logger("frequent").info("lost")
    assert refused.wait(60)
    structlog.get_logger("frequent").info("kept")
    assert written.wait(60)
    handle.close()
    assert [line["event"] for line in lines(stream)] == ["kept"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /stream/eyJhbGciOi.x.y/video/gen/master.m3u8", "GET /stream/[redacted]/video/gen/master.m3u8"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer [redacted]"),
        (
            "/api/uploads/1/parts/2?expires=9&sig=abc&x=1",
            "/api/uploads/1/parts/2?expires=9&sig=[redacted]&x=1",
        ),
        (
            "postgresql+psycopg://me:hunter2@db:5432/penstock",
            "postgresql+psycopg://me:[redacted]@db:5432/penstock",
        ),
        ("the key pst_01k2_0123abcd was refused", "the key pst_[redacted] was refused"),
        ("http://localhost:8800/watch/abc?t=x.y", "http://localhost:8800/watch/abc?t=[redacted]"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_inside_texts_are_hidden(text: str, shown: str) -> None:
    """Tokens in paths, bearer credentials, signatures, passwords in URLs and API keys never reach a log."""
    assert redact_text(text) == shown


def test_values_under_secret_names_are_hidden_at_any_depth() -> None:
    """What is called a secret is hidden whatever it looks like; its neighbours stay."""
    stream = io.StringIO()
    telemetry.configure(CONFIG, stream=stream)
    structlog.get_logger().info(
        "request",
        headers={"Authorization": "abc", "Accept": "text/html", "Cookie": "s=1"},
        values=[{"api_key": "k"}, {"key_id": "public"}],
        password="p",
        tokens_issued=3,
    )
    (line,) = lines(stream)
    assert line["headers"] == {"Authorization": "[redacted]", "Accept": "text/html", "Cookie": "[redacted]"}
    assert line["values"] == [{"api_key": "[redacted]"}, {"key_id": "public"}]
    assert (line["password"], line["tokens_issued"]) == ("[redacted]", 3)


def test_secrets_in_a_traceback_are_hidden() -> None:
    """An error that quotes a database URL does not leak its password."""
    stream = io.StringIO()
    telemetry.configure(CONFIG, stream=stream)
    try:
        int("postgresql://me:hunter2@db/penstock")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "hunter2" not in stream.getvalue()


def test_spans_leave_for_the_collector_and_lines_name_them() -> None:
    """With an endpoint, spans arrive there over OTLP, and a log line inside one carries its ids."""
    arrived, received = Event(), []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            arrived.set()

        @override
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = Thread(target=server.serve_forever)
    thread.start()
    stream = io.StringIO()
    config = TelemetryConfig(
        service="processing", node="n", version="0", otlp_endpoint=f"http://127.0.0.1:{server.server_port}"
    )
    try:
        handle = telemetry.configure(config, stream=stream)
        with trace.get_tracer("test").start_as_current_span("encode") as span:
            structlog.get_logger().info("inside")
        handle.close()
        assert arrived.wait(30)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert received[0][0] == "/v1/traces"
    assert b"encode" in received[0][1]
    assert lines(stream)[0]["trace_id"] == format(span.get_span_context().trace_id, "032x")
