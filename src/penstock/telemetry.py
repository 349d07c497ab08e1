"""Logs and traces: configured once per process, by whoever starts it.

Rooms log with ``structlog.get_logger()``, declare Prometheus metrics with ``prometheus_client`` and open spans with the
OpenTelemetry API; none of them imports this file. It must never know a room, and it decides nothing but form and
destination: one JSON object per line (or a readable rendering on a terminal), and nothing secret in either.

Bind what a fact belongs to with ``structlog.contextvars``: ``video_id``, ``task_id``, ``session_id``; ``service`` and
``node`` are on every line.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

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
# Without one of these a text holds nothing that any of the patterns matches, and most texts of a line are ids and names.
_SUSPECT = re.compile(r"[/=\s]|pst_", re.IGNORECASE)
_ENCODER = msgspec.json.Encoder(enc_hook=str)
_FIRST = ("time", "level", "event", "service", "node")
# What each third-party logger may say: below this its lines are about its own workings, not about a video.
_LIBRARY_LEVELS = {"_granian": logging.WARNING, "httpx": logging.WARNING, "alembic": logging.WARNING}


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

    def __init__(self, output: TextIO, *, owned: bool, tracer_provider: Any) -> None:
        self._output = output
        self._owned = owned
        self._tracer_provider = tracer_provider

    def close(self) -> None:
        """Sends the buffered spans, giving up after the exporter's own timeout, and closes the log file."""
        if self._tracer_provider is not None:
            self._tracer_provider.shutdown()
        if self._owned:
            logging.getLogger().handlers = []
            structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
            self._output.close()


def configure(config: TelemetryConfig, *, stream: TextIO | None = None) -> Telemetry:
    """Sets up logging for the whole process, and tracing where an endpoint is given.

    ``stream`` replaces standard error. Calling it again replaces the former configuration (as tests do).
    """
    output = stream or _open(config.file)
    shared = _shared_processors(config)
    renderer = _renderer(config, colours=output.isatty())
    level = logging.getLevelNamesMapping()[config.level.upper()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=False,  # module-level loggers must follow a later configure(); the cost is 2 us a line
    )
    _configure_standard_logging(shared, renderer, output, level)
    provider = _configure_tracing(config) if config.otlp_endpoint else None
    return Telemetry(
        output, owned=output is not stream and output is not sys.stderr, tracer_provider=provider
    )


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: hides values under secret names, and secrets inside texts, at any depth."""
    return {
        name: value if _is_plain(name, value) else _redact_value(name, value) for name, value in event.items()
    }


def redact_text(text: str) -> str:
    """``text`` without tokens, keys, signatures and passwords."""
    return _SECRET_TEXT.sub(_keep_lead, text) if _SUSPECT.search(text) else text


def _open(path: Path | None) -> TextIO:
    if path is None:
        return sys.stderr
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", buffering=1, encoding="utf-8")


def _shared_processors(config: TelemetryConfig) -> list[Processor]:
    constants = {"service": config.service, "node": config.node}

    def add_constants(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event.update(constants)
        return event

    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        add_constants,
    ]
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
        _in_order,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: EventDict, **_: Any) -> str:
    """The line's text, in any case: what a fast encoder refuses (half a character), a patient one spells out."""
    try:
        return _ENCODER.encode(event).decode()
    except (ValueError, TypeError, msgspec.MsgspecError):
        return json.dumps(event, default=str)


def _in_order(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What every line has comes first, so that people can read along where machines are meant to."""
    return {name: event.pop(name) for name in _FIRST if name in event} | dict(event)


def _configure_standard_logging(
    shared: list[Processor], renderer: list[Processor], output: TextIO, level: int
) -> None:
    """Lines of libraries take the same form and the same way out."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = logging.StreamHandler(output)
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


def _is_plain(name: str, value: Any) -> bool:
    """Whether there is nothing to hide in a text or number, as in nearly all: told in a third of the time."""
    kind = type(value)
    return (
        kind is int or kind is float or (kind is str and not _is_secret(name) and not _SUSPECT.search(value))
    )


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


def _keep_lead(match: re.Match[str]) -> str:
    lead = next((text for text in match.groups() if text is not None), "")
    return f"{lead}{REDACTED}"
