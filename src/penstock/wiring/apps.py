"""The HTTP services as applications, alone and as one."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI

from penstock.http_server.calls import ASGIApp
from penstock.library.app import create_app as create_library
from penstock.storage.exercise import reach
from penstock.streaming.app import StreamingService
from penstock.streaming.app import create_app as create_streaming
from penstock.upload.app import create_app as create_upload
from penstock.web_api import contract
from penstock.web_api.service import create_service
from penstock.wiring.overview import nodes_of
from penstock.wiring.parts import Parts
from penstock.wiring.router import PrefixRouter
from penstock.wiring.server import Site

TITLE = "Penstock"
DESCRIPTION = "Upload a video file; play it adaptively over HLS and DASH."
# What each service owns, so that any ingress can route by prefix alone. The library has everything else.
UPLOAD_PREFIXES = ("/api/uploads", "/api/status")
STREAMING_PREFIXES = ("/stream",)
WEB_ROLES = ("upload", "library", "streaming")  # of the process that has them all
OPERATIONS = ("/health", "/status", "/metrics", "/openapi.json")


def upload(parts: Parts) -> FastAPI:
    """Uploads, status, history."""
    return create_upload(
        parts.settings.upload,
        parts.settings.web("upload"),
        catalog=parts.catalog,
        keyring=parts.keyring,
        sources=parts.sources,
        staging=parts.staging,
        bucket=parts.bucket,
        announce=parts.announce,
    )


def library(parts: Parts, *, roles: Sequence[str] = ("library",)) -> FastAPI:
    """Videos, playback addresses, watch pages, the cluster. ``roles`` are those of the whole process."""
    return create_library(
        parts.settings.library,
        parts.settings.web("library"),
        parts.settings.access,
        catalog=parts.catalog,
        keyring=parts.keyring,
        announce=parts.announce,
        nodes=nodes_of(parts, roles),
    )


def streaming(parts: Parts) -> StreamingService:
    """Playback."""
    return create_streaming(
        parts.settings.streaming,
        parts.settings.web("streaming"),
        outputs=parts.outputs,
        keyring=parts.keyring,
    )


def web(parts: Parts) -> Site:
    """All of them on one port: nothing proxies a segment, and clients see the paths that they see everywhere."""
    uploads, playback, rest = upload(parts), streaming(parts), library(parts, roles=WEB_ROLES)
    together = _operations(parts, (uploads, rest, playback.app))
    mounts: dict[str, ASGIApp] = {
        **dict.fromkeys(UPLOAD_PREFIXES, uploads),
        **dict.fromkeys(STREAMING_PREFIXES, playback.app),
        **dict.fromkeys(OPERATIONS, together),
    }
    return Site(PrefixRouter(mounts, fallback=rest), {playback.prefix: playback.playback})


def site(service: str, parts: Parts) -> Site:
    """What a process of this service serves."""
    match service:
        case "web":
            return web(parts)
        case "streaming":
            playback = streaming(parts)
            return Site(playback.app, {playback.prefix: playback.playback})
        case "library":
            return Site(library(parts))
        case "upload":
            return Site(upload(parts))
        case _:
            raise ValueError(f"no HTTP service is called {service}")


def document(parts: Parts) -> dict[str, Any]:
    """The one OpenAPI document of all services."""
    return _merged(parts, (upload(parts), library(parts), streaming(parts).app))


def _operations(parts: Parts, services: Iterable[contract.Described]) -> FastAPI:
    """Health, readiness and metrics of the process as a whole, and the document of everything on this port."""
    app = create_service(
        parts.settings.web("web"),
        title=TITLE,
        description=DESCRIPTION,
        routers=(),
        checks={
            "catalog": parts.catalog.ping,
            "sources": lambda: reach(parts.sources),
            "outputs": lambda: reach(parts.outputs),
        },
    )
    app.openapi = lambda: _merged(parts, services)  # type: ignore[method-assign]  # FastAPI's way to replace it
    return app


def _merged(parts: Parts, services: Iterable[contract.Described]) -> dict[str, Any]:
    return contract.merged(services, title=TITLE, version=parts.settings.version, description=DESCRIPTION)
