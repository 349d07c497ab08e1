"""Response headers that hold for every service unless a response says otherwise."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DEFAULTS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # addresses carry tokens; no other site learns them
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),  # pages set their own
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),  # answers depend on who asks; what may be cached says so
)


class SecurityHeaders:
    """The ASGI layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, adding what its response left open."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in _DEFAULTS if name not in present]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, complete)
