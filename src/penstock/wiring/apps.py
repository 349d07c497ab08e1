"""The HTTP services as applications, alone and as one. ``url`` is the address that clients see, without a path."""

from fastapi import FastAPI

from penstock.library.service import create_app as create_library
from penstock.streaming.app import create_app as create_streaming
from penstock.wiring.parts import Parts

TITLE = "Penstock"
DESCRIPTION = "Upload a video file; play it adaptively over HLS and DASH."
# What each service owns, so that any ingress can route by prefix alone. The library has everything else.
UPLOAD_PREFIXES = ("/api/uploads", "/api/status")
STREAMING_PREFIXES = ("/stream",)
OPERATIONS = ("/health", "/status", "/metrics", "/openapi.json")


def library(parts: Parts, url: str) -> FastAPI:
    """Videos, playback addresses, watch pages."""
    settings = parts.settings
    return create_library(
        settings.library(url),
        settings.web("library"),
        settings.access,
        catalog=parts.catalog,
        keyring=parts.keyring,
        announce=parts.announce,
    )


def streaming(parts: Parts, _url: str) -> FastAPI:
    """Playback."""
    return create_streaming(
        parts.outputs, parts.keyring, parts.settings.streaming, parts.settings.web("streaming")
    )
