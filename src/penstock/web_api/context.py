"""What is known of the request being served: its id, its trace, and what handlers note about it.

A pure ASGI layer, outermost in every service, so that streaming bodies pass through untouched. It binds the request's
id to every log line, opens its span, writes one ``http_request`` line at the end with everything noted, and answers the
failures that nothing else caught. It knows no room; queries are never logged, since they may carry signatures.
"""

import re
import secrets
import time
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.video import identity
from penstock.video.errors import InvalidRequest, PenstockError
from penstock.web_api import metrics

Render = Callable[[Exception], ASGIApp]

_log = structlog.get_logger()
_tracer = trace.get_tracer("penstock.web_api")
_propagator = TraceContextTextMapPropagator()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_QUIET = frozenset({"/health", "/status", "/metrics"})  # asked every few seconds by machines
# A client may invent others without end, and each word would be a time series for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class BodyIncomplete(InvalidRequest):
    """The request's body broke off, or is not framed as HTTP has it."""

    code = "body_incomplete"
    status = 400


@dataclass(slots=True)
class _Current:
    """The request being served. One object for all its threads, so that a note made in one is seen by the others."""

    request_id: str
    traceparent: str
    notes: MutableMapping[str, Any] = field(default_factory=dict)


_current: ContextVar[_Current | None] = ContextVar("penstock_request", default=None)


def request_id() -> str | None:
    """The id of the request being served, None outside of one."""
    current = _current.get()
    return current.request_id if current else None


def traceparent() -> str | None:
    """The W3C trace context to store with what this request sets in motion, None outside of a request."""
    current = _current.get()
    return current.traceparent if current else None


def note(**facts: Any) -> None:
    """Adds facts (``video_id``, ``session_id``, a rung) to the request's own log line and to the lines from here on."""
    current = _current.get()
    if current is not None:
        current.notes.update(facts)
    structlog.contextvars.bind_contextvars(**facts)


class RequestContext:
    """The ASGI layer. ``service`` names it in metrics; ``render`` makes the answer to what no handler caught."""

    def __init__(self, app: ASGIApp, *, service: str, render: Render) -> None:
        self._app = app
        self._service = service
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; other kinds of connection pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        parent = _propagator.extract({"traceparent": headers.get("traceparent", "")})
        with _tracer.start_as_current_span(
            f"{scope['method']} {self._service}", parent, SpanKind.SERVER, record_exception=False
        ) as span:
            current = _Current(_chosen_id(headers), _chosen_trace(headers, span))
            token = _current.set(current)
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(request_id=current.request_id)
            try:
                await _Exchange(self._app, self._service, self._render, current, span).serve(
                    scope, receive, send
                )
            finally:
                structlog.contextvars.clear_contextvars()
                _current.reset(token)


class _Exchange:
    """One request and its response, counted."""

    def __init__(
        self, app: ASGIApp, service: str, render: Render, current: _Current, span: trace.Span
    ) -> None:
        self._app = app
        self._service = service
        self._render = render
        self._current = current
        self._span = span
        self._send: Send | None = None
        self._status = 0
        self._sent = 0

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        begun = time.perf_counter()
        try:
            await self._app(scope, receive, self._counted)
        except ClientDisconnect:
            self._current.notes["client_gone"] = True
            # Where it is gone indeed nobody hears this; one that sent a malformed body is still there and waits.
            await self._answered(
                BodyIncomplete("The request's body ended before it was whole."), scope, receive
            )
        except Exception as error:
            if not await self._answered(error, scope, receive):
                raise  # the response had begun: only the server can now cut it short
        finally:
            self._record(scope, time.perf_counter() - begun)

    async def _counted(self, message: Message) -> None:
        assert self._send is not None
        if message["type"] == "http.response.start":
            self._status = message["status"]
            identifier = self._current.request_id.encode()
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", identifier)]}
        elif message["type"] == "http.response.body":
            self._sent += len(message.get("body", b""))
        await self._send(message)

    async def _answered(self, error: Exception, scope: Scope, receive: Receive) -> bool:
        """Renders what no handler caught; False where it is too late to answer."""
        expected = isinstance(error, PenstockError)
        if not expected:
            _log.error("request_failed", exc_info=error, method=scope["method"], path=scope["path"])
            self._span.set_status(Status(StatusCode.ERROR))
        if self._status:
            return False
        response = self._render(error)
        self._current.notes["code"] = error.code if isinstance(error, PenstockError) else PenstockError.code
        await response(scope, receive, self._counted)
        return True

    def _record(self, scope: Scope, seconds: float) -> None:
        route = (
            getattr(scope.get("route"), "path", None) or self._current.notes.pop("route", None) or "unmatched"
        )
        method = scope["method"] if scope["method"] in _METHODS else "other"
        metrics.REQUEST_SECONDS.labels(self._service, method, route, str(self._status)).observe(seconds)
        metrics.RESPONSE_BYTES.labels(self._service, route).inc(self._sent)
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", self._status)
        log = _log.debug if scope["path"] in _QUIET else _log.info
        log(
            "http_request",
            method=scope["method"],
            path=scope["path"],
            route=route,
            status=self._status,
            bytes_sent=self._sent,
            ms=round(seconds * 1000, 1),
            **self._current.notes,
        )


def _chosen_id(headers: dict[str, str]) -> str:
    """The caller's own id where it is a harmless word, so that its logs and ours meet; else a fresh one."""
    offered = headers.get("x-request-id", "")
    return offered if _REQUEST_ID.fullmatch(offered) else identity.new_id()


def _chosen_trace(headers: dict[str, str], span: trace.Span) -> str:
    """Of the span, where spans are recorded; else the caller's; else a fresh one, so that logs still join up."""
    own = span.get_span_context()
    if own.is_valid:
        return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
    offered = headers.get("traceparent", "")
    if _TRACEPARENT.fullmatch(offered):
        return offered
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
