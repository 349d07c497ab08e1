"""What tus asks of every request and every answer below its prefix: the true method, and the version."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.upload.tus import protocol
from penstock.upload.urls import TUS_PREFIX

_VERBS = frozenset({"HEAD", "PATCH", "DELETE", "POST", "OPTIONS"})


class TusLayer:
    """The ASGI layer; it goes outside of everything that looks at the method."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or not _is_below(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                added = [(name.encode(), value.encode()) for name, value in protocol.refused().items()]
                headers += [(name, value) for name, value in added if name not in present]
                message = {**message, "headers": headers}
            await send(message)

        await self._app({**scope, "method": _method(scope)}, receive, versioned)


def _is_below(path: str) -> bool:
    return path == TUS_PREFIX or path.startswith(f"{TUS_PREFIX}/")


def _method(scope: Scope) -> str:
    """The request's method, or the one that stands for it where a client or a proxy knows few."""
    for name, value in scope["headers"]:
        if name.lower() == b"x-http-method-override" and value.decode("latin-1").strip().upper() in _VERBS:
            return str(value.decode("latin-1").strip().upper())
    return str(scope["method"])
