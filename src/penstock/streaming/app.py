"""The streaming service: playback below ``/stream/``, and what every service answers beside it."""

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from penstock.access.keyring import Keyring
from penstock.storage.exercise import reach
from penstock.storage.store import ObjectStore
from penstock.streaming import routes
from penstock.streaming.config import StreamingConfig
from penstock.streaming.playback import Playback
from penstock.web_api.config import WebConfig
from penstock.web_api.service import create_service


@dataclass(frozen=True, slots=True)
class StreamingService:
    """Playback as the server's responder for its prefix, and an ASGI application for all else, which describes both."""

    playback: Playback
    app: FastAPI
    prefix: str = routes.PREFIX


def create_app(
    config: StreamingConfig, web: WebConfig, *, outputs: ObjectStore, keyring: Keyring
) -> StreamingService:
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
    return StreamingService(Playback(outputs, keyring, config), app)
