"""The streaming service as an ASGI application: playback below ``/stream/``, and what every service answers beside it."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.access.keyring import Keyring
from penstock.storage.exercise import reach
from penstock.storage.store import ObjectStore
from penstock.streaming import routes
from penstock.streaming.config import StreamingConfig
from penstock.streaming.playback import Playback
from penstock.web_api.config import WebConfig
from penstock.web_api.service import create_service


def create_app(
    config: StreamingConfig, web: WebConfig, *, outputs: ObjectStore, keyring: Keyring
) -> "StreamingService":
    """The service. It reads ``outputs`` and ``keyring`` and needs nothing else, no database above all."""
    app = create_service(
        web,
        title="Penstock streaming",
        description="HLS and DASH playback of published videos.",
        routers=(),
        checks={"outputs": lambda: reach(outputs)},
    )
    own_document = app.openapi

    def document() -> dict[str, Any]:
        described = own_document()
        described["paths"].update(routes.openapi_paths())
        return described

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return StreamingService(Playback(outputs, keyring, config), app, document)


class StreamingService:
    """Takes playback requests out before the framework, whose layers cost a tenth of what a segment does."""

    def __init__(self, playback: ASGIApp, others: ASGIApp, document: Callable[[], dict[str, Any]]) -> None:
        """``others`` answers what lies not below ``/stream/``; ``document`` is the OpenAPI document of both."""
        self._playback = playback
        self._others = others
        self.openapi = document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        ours = scope["type"] == "http" and scope["path"].startswith(routes.PREFIX)
        await (self._playback if ours else self._others)(scope, receive, send)
