"""One ASGI application out of several: each owns whole path prefixes, so nothing is proxied and no path is rewritten.

The services see the same paths here as when each runs alone. This file must never know what a service does.
"""

from collections.abc import Mapping

from penstock.http_server.calls import ASGIApp, Receive, Scope, Send
from penstock.wiring.lifespan import Lifespan


class PrefixRouter:
    """Hands each request to the application whose prefix is the longest that its path lies under."""

    def __init__(self, mounts: Mapping[str, ASGIApp], *, fallback: ASGIApp) -> None:
        """``mounts``: path prefix, such as ``/api/uploads``, to application. ``fallback`` answers everything else."""
        self._mounts = sorted(mounts.items(), key=lambda item: len(item[0]), reverse=True)
        self._fallback = fallback
        self._apps = list(dict.fromkeys([*mounts.values(), fallback]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.find(scope["path"])(scope, receive, send)

    def find(self, path: str) -> ASGIApp:
        """The application for a path: ``/api/videos`` owns itself and what is below it, not ``/api/videosx``."""
        for prefix, app in self._mounts:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
                return app
        return self._fallback

    async def _live(self, receive: Receive, send: Send) -> None:
        """Starts every application before the first request and ends them, in reverse, after the last."""
        await receive()  # lifespan.startup
        running: list[Lifespan] = []
        for app in self._apps:
            running.append(Lifespan(app))
            try:
                await running[-1].start()
            except RuntimeError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        for lifespan in reversed(running):
            await lifespan.stop()
        await send({"type": "lifespan.shutdown.complete"})
