"""Logs and traces: configured once per process, by whoever starts it.

Rooms log with ``structlog.get_logger()``, declare Prometheus metrics with ``prometheus_client`` and open spans with the
OpenTelemetry API; none of them imports this file. It must never know a room, and it decides nothing but form and
destination: one JSON object per line (or a readable rendering on a terminal), and nothing secret in either.

Bind what a fact belongs to with ``structlog.contextvars``: ``video_id``, ``task_id``, ``session_id``; ``service`` and
``node`` are on every line.

A room that writes a line for every request gets its logger with ``structlog.get_logger("frequent")``: its lines up to ``info``
may wait for a tenth of a second and are written together, before whatever is logged after them. Only a process that is
killed loses those that wait.
"""

import atexit
import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor

REDACTED = "[redacted]"

_SECRET_NAMES = re.compile(
    r"(?:^|[_\-.])(?:authorization|cookie|passwords?|passphrase|secrets?|tokens?|api[_-]?keys?|private[_-]?key|signature|credentials?)$",
    re.IGNORECASE,
)
# Secrets inside longer texts: each pattern keeps what says where the secret stood, and drops the secret.
_SECRET_TEXT = re.compile(
    r"(?P<lead>/(?:stream|images)/)[^/\s\"']+"  # a playback token in a path
    r"|(?P<query>[?&](?:t|sig|signature|token|key|secret|X-Amz-(?:Signature|Credential|Security-Token))=)[^&\s\"']+"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=\-]+"
    r"|(?P<login>\b[a-z][a-z0-9+.\-]*://[^/\s:@]*:)[^/\s@]+(?=@)"  # user:password@ in a URL
    r"|(?P<apikey>\bpst_)[A-Za-z0-9_\-]+",
    re.IGNORECASE,
)
_ENCODER = msgspec.json.Encoder(enc_hook=str)
_FIRST = ("time", "level", "event", "service", "node")
_PLAIN = frozenset({int, float, bool, type(None)})
_FREQUENT = "frequent"
_WAIT_S = 0.1  # how long a line waits for others at most
_MOST_WAITING = (
    8192  # lines, a few megabytes: whoever writes one more waits for the file, as with every other line
)
# What each third-party logger may say: below this its lines are about its own workings, not about a video.
_LIBRARY_LEVELS = {"httpx": logging.WARNING, "alembic": logging.WARNING}


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """How one process speaks about itself."""

    service: str  # ``web``, ``processing``, ``upload`` ...: on every line and every span
    node: str  # name of this machine in logs, metrics and traces
    version: str
    level: str = "info"  # debug | info | warning | error
    format: str = (
        "json"  # ``json``: one object per line, for machines; ``console``: aligned and coloured, for people
    )
    file: Path | None = (
        None  # appended to; None: standard error. Rotation is the operator's (logrotate copytruncate)
    )
    otlp_endpoint: str | None = (
        None  # base URL of an OTLP/HTTP collector; None: no spans, and no SDK is even imported
    )
    trace_ratio: float = 1.0  # share of new traces that are recorded; an incoming decision is respected


class Telemetry:
    """What one configuration holds open; to be closed when the process ends, so that the last spans leave it."""

    def __init__(self, output: TextIO, lines: "_Lines", *, owned: bool, tracer_provider: Any) -> None:
        self._output = output
        self._lines = lines
        self._owned = owned
        self._tracer_provider = tracer_provider

    def close(self) -> None:
        """Sends the buffered spans, giving up after the exporter's own timeout, writes what waits, and closes the log file."""
        if self._tracer_provider is not None:
            self._tracer_provider.shutdown()
        self._lines.close()
        if self._owned:
            logging.getLogger().handlers = []
            structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
            self._output.close()


def configure(config: TelemetryConfig, *, stream: TextIO | None = None) -> Telemetry:
    """Sets up logging for the whole process, and tracing where an endpoint is given.

    ``stream`` replaces standard error. Calling it again replaces the former configuration (as tests do).
    """
    output = stream or _open(config.file)
    lines = _Lines(output)
    shared = _shared_processors(config)
    renderer = _renderer(config, colours=output.isatty())
    level = logging.getLevelNamesMapping()[config.level.upper()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=_logger_class(level),
        logger_factory=lines.logger,
        cache_logger_on_first_use=False,  # module-level loggers must follow a later configure(); the cost is 2 us a line
    )
    _configure_standard_logging(shared, renderer, lines, level)
    provider = _configure_tracing(config) if config.otlp_endpoint else None
    owned = output is not stream and output is not sys.stderr
    return Telemetry(output, lines, owned=owned, tracer_provider=provider)


def _logger_class(level: int) -> type[Any]:
    """The logger that rooms get: arguments pass through five calls of structlog's, so plain facts at ``info`` go a shorter way."""
    filtering: Any = structlog.make_filtering_bound_logger(level)
    if level > logging.INFO:
        return cast("type[Any]", filtering)

    class Logger(filtering):  # type: ignore[misc]  # made at run time
        def info(self, event: str, *arguments: Any, **facts: Any) -> None:
            if arguments:
                super().info(event, *arguments, **facts)
                return
            line: Any = {**self._context, **facts, "event": event}
            try:
                for processor in self._processors:
                    line = processor(self._logger, "info", line)
            except structlog.DropEvent:
                return
            self._logger.info(line)

    return Logger


class _Lines:
    """Where lines go, in the order in which they were logged; those of a frequent logger wait for company."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._waiting: list[str] = []
        self._some = Event()
        self._closing = Event()
        self._writing = Lock()
        self._writer: Thread | None = None

    def logger(self, *names: str) -> Any:
        """What structlog writes with; it passes on what ``get_logger`` was called with."""
        return _Patient(self) if names == (_FREQUENT,) else structlog.WriteLogger(cast("TextIO", self))

    def write(self, text: str) -> None:
        """Writes what waits, and then ``text``."""
        with self._writing:
            self._write(text)

    def flush(self) -> None:
        """See the standard library's streams."""
        self._output.flush()

    def put(self, line: str) -> None:
        """Lets a line wait. Neither a lock nor the file is waited for, unless too many wait already."""
        self._waiting.append(line)
        if not self._some.is_set():
            self._some.set()
            if self._writer is None:
                self._begin()
        if len(self._waiting) > _MOST_WAITING:
            self.write("")

    def close(self) -> None:
        """Writes what waits."""
        self._closing.set()
        self._some.set()
        if self._writer is not None:
            self._writer.join()
            atexit.unregister(self.close)
        self.write("")

    def _begin(self) -> None:
        self._writer = Thread(target=self._run, name="log lines", daemon=True)
        self._writer.start()
        atexit.register(self.close)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._closing.wait(_WAIT_S)
            self._some.clear()  # first, so that a line which comes while others are written is not forgotten
            try:
                self.write("")
            except OSError:  # a full disk: these lines are lost, as any line then is; later ones may not be
                continue

    def _write(self, text: str) -> None:
        """To be called with the lock. Lines are only ever added at the end, by whoever, and taken from the front here."""
        count = len(self._waiting)
        if count:
            text = "".join((*self._waiting[:count], text))
            del self._waiting[:count]
        if text:
            self._output.write(text)
            self._output.flush()


class _Patient:
    """structlog's side of lines that may wait. A warning does not."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines

    def info(self, line: str) -> None:
        """Lets the line wait."""
        self._lines.put(f"{line}\n")

    debug = info

    def error(self, line: str) -> None:
        """Writes the line now."""
        self._lines.write(f"{line}\n")

    warning = critical = exception = error


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: hides values under secret names, and secrets inside texts, at any depth."""
    texts: list[str] = []
    if _gathered(event, texts) and not _is_suspect("\0".join(texts)):
        return event  # as nearly all: told in a third of the time that looking at each value takes
    return {name: _redact_value(name, value) for name, value in event.items()}


def redact_text(text: str) -> str:
    """``text`` without tokens, keys, signatures and passwords."""
    return _SECRET_TEXT.sub(_keep_lead, text) if _is_suspect(text) else text


def _open(path: Path | None) -> TextIO:
    if path is None:
        return sys.stderr
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", buffering=1, encoding="utf-8")


def _shared_processors(config: TelemetryConfig) -> list[Processor]:
    constants = {"service": config.service, "node": config.node}

    def begin(_logger: Any, method: str, event: EventDict) -> EventDict:
        """What every line has, and first, so that people can read along where machines are meant to."""
        line: EventDict = dict.fromkeys(_FIRST)
        line.update(event)
        line.update(constants)
        line["time"] = _now()
        line["level"] = method
        return line

    processors: list[Processor] = [structlog.contextvars.merge_contextvars, begin]
    if config.otlp_endpoint:
        processors.append(_add_trace)
    return processors


def _renderer(config: TelemetryConfig, *, colours: bool) -> list[Processor]:
    if config.format == "console":
        return [redact, structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="time")]
    return [
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
        redact,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: EventDict, **_: Any) -> str:
    """The line's text, in any case: what a fast encoder refuses (half a character), a patient one spells out."""
    try:
        return _ENCODER.encode(event).decode()
    except (ValueError, TypeError, msgspec.MsgspecError):
        return json.dumps(event, default=str)


def _configure_standard_logging(
    shared: list[Processor], renderer: list[Processor], lines: _Lines, level: int
) -> None:
    """Lines of libraries take the same form and the same way out."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = logging.StreamHandler(cast("TextIO", lines))
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))
    for name, least in _LIBRARY_LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(max(level, least))
    logging.captureWarnings(capture=True)


def _add_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Ids of the current span, so that a line is found from its trace and the reverse."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    return event


def _configure_tracing(config: TelemetryConfig) -> Any:
    # Imported here: the SDK costs 12 MB and 150 ms, which a process without a collector does not pay.
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    resource = Resource.create(
        {
            "service.namespace": "penstock",
            "service.name": f"penstock-{config.service}",
            "service.version": config.version,
            "host.name": config.node,
        }
    )
    provider = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(config.trace_ratio))
    endpoint = f"{str(config.otlp_endpoint).rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    return provider


def _now() -> str:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _gathered(facts: Mapping[str, Any], texts: list[str]) -> bool:
    """Adds all texts to ``texts``; False where there is a secret name, or something that has to be looked at by itself."""
    if _names_secret(tuple(facts)):
        return False
    for value in facts.values():
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind is dict:
            if not _gathered(value, texts):
                return False
        elif kind not in _PLAIN:
            return False
    return True


def _is_suspect(text: str) -> bool:
    """Whether a text has what every pattern of a secret has: most texts of a line are ids and names, and have not."""
    return "/" in text or "=" in text or "pst_" in text.casefold() or text.split(None, 1) != [text]


def _redact_value(name: str, value: Any) -> Any:
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if _is_secret(name):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {str(key): _redact_value(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redact_value(name, item) for item in value]
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    return value


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


@lru_cache(maxsize=1024)
def _names_secret(names: tuple[str, ...]) -> bool:
    return any(_is_secret(str(name)) for name in names)


def _keep_lead(match: re.Match[str]) -> str:
    lead = next((text for text in match.groups() if text is not None), "")
    return f"{lead}{REDACTED}"
