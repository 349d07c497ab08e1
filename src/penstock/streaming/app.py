"""The streaming service as an ASGI application: playback below ``/stream/``, and what every service answers beside it."""

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.access.keyring import Keyring
from penstock.storage.exercise import reach
from penstock.storage.store import ObjectStore
from penstock.streaming import routes
from penstock.streaming.config import StreamingConfig
from penstock.streaming.playback import Playback
from penstock.web_api.config import WebConfig
from penstock.web_api.service import create_service


def create_app(config: StreamingConfig, web: WebConfig, *, outputs: ObjectStore, keyring: Keyring) -> FastAPI:
    """The service. It reads ``outputs`` and ``keyring`` and needs nothing else, no database above all."""
    app = create_service(
        web,
        title="Penstock streaming",
        description="HLS and DASH playback of published videos.",
        routers=(),
        checks={"outputs": lambda: reach(outputs)},
    )
    _describe(app)
    playback, others = Playback(outputs, keyring, config), app.build_middleware_stack
    # Around the whole stack and not in it: the framework's own outermost layers cost a tenth of what a segment does.
    app.build_middleware_stack = lambda: _PlaybackFirst(others(), playback=playback)  # type: ignore[method-assign]
    return app


class _PlaybackFirst:
    """Takes playback requests out before the layers that the other requests pass through."""

    def __init__(self, app: ASGIApp, *, playback: Playback) -> None:
        self._app = app
        self._playback = playback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(routes.PREFIX):
            await self._playback(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _describe(app: FastAPI) -> None:
    """Adds the playback routes, which the framework does not serve, to its OpenAPI document."""
    own_document = app.openapi

    def document() -> dict[str, Any]:
        described = own_document()
        described["paths"].update(routes.openapi_paths())
        return described

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
