"""Pages of other origins may upload: the browser is told that it may let them.

Nothing here is permitted by a cookie or by an address within a network, so a page gains nothing by asking from a visitor's
browser: it needs a key or a signed address of its own, which it could use from anywhere.
"""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# What clients of tus read, and what answers of this service say beside their body.
_READABLE = (
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Penstock-Duplicate",
    "Penstock-Upload-Id",
    "Penstock-Video-Id",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Defer-Length",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
)
_REMEMBERED_S = 7200  # how long a browser need not ask again; Chromium's own limit


class OtherOrigins:
    """The ASGI layer, outside of all others, so that refusals can be read too. Health and metrics stay to themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=("*",),
            allow_methods=_METHODS,
            allow_headers=("*",),
            expose_headers=_READABLE,
            max_age=_REMEMBERED_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        is_open = scope["type"] == "http" and scope["path"].startswith("/api/")
        await (self._open if is_open else self._app)(scope, receive, send)
