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

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from penstock.telemetry.lines import ENCODER, FIRST, Lines, Patient, ShortWay, now
from penstock.telemetry.redaction import redact

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

    def __init__(self, output: TextIO, lines: Lines, *, owned: bool, tracer_provider: Any) -> None:
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
    lines = Lines(output)
    shared = _shared_processors(config)
    renderer = _renderer(config, colours=output.isatty())
    level = logging.getLevelNamesMapping()[config.level.upper()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=_logger_class(level, _short_way(config)),
        logger_factory=lines.logger,
        cache_logger_on_first_use=False,  # module-level loggers must follow a later configure(); the cost is 2 us a line
    )
    _configure_standard_logging(shared, renderer, lines, level)
    provider = _configure_tracing(config) if config.otlp_endpoint else None
    owned = output is not stream and output is not sys.stderr
    return Telemetry(output, lines, owned=owned, tracer_provider=provider)


def _logger_class(level: int, short_way: ShortWay | None) -> type[Any]:
    """The logger that rooms get: arguments pass through five calls of structlog's, so plain facts at ``info`` go a shorter way."""
    filtering: Any = structlog.make_filtering_bound_logger(level)
    if level > logging.INFO:
        return cast("type[Any]", filtering)

    class Logger(filtering):  # type: ignore[misc]  # made at run time
        def info(self, event: str, *arguments: Any, **facts: Any) -> None:
            if arguments:
                super().info(event, *arguments, **facts)
                return
            if short_way is not None and type(self._logger) is Patient:
                text = short_way.line(self._context, event, facts)
                if text is not None:
                    self._logger.info(text)
                    return
            line: Any = {**self._context, **facts, "event": event}
            try:
                for processor in self._processors:
                    line = processor(self._logger, "info", line)
            except structlog.DropEvent:
                return
            self._logger.info(line)

    return Logger


def _short_way(config: TelemetryConfig) -> ShortWay | None:
    """None where lines are for people, or carry the span that they belong to."""
    if config.format == "console" or config.otlp_endpoint:
        return None
    return ShortWay({"service": config.service, "node": config.node})


def _open(path: Path | None) -> TextIO:
    if path is None:
        return sys.stderr
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", buffering=1, encoding="utf-8")


def _shared_processors(config: TelemetryConfig) -> list[Processor]:
    constants = {"service": config.service, "node": config.node}

    def begin(_logger: Any, method: str, event: EventDict) -> EventDict:
        """What every line has, and first, so that people can read along where machines are meant to."""
        line: EventDict = dict.fromkeys(FIRST)
        line.update(event)
        line.update(constants)
        line["time"] = now()
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
        return ENCODER.encode(event).decode()
    except (ValueError, TypeError, msgspec.MsgspecError):
        return json.dumps(event, default=str)


def _configure_standard_logging(
    shared: list[Processor], renderer: list[Processor], lines: Lines, level: int
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
