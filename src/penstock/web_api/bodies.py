"""A limit on request bodies that are read whole.

A pure ASGI layer: a body within the limit is read first and handed on in one piece; a larger one is refused before any
handler sees it, by its announced length where there is one, and so is one that takes too long. Requests that stream their
body are let through.
"""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.video.errors import InvalidRequest, TooLarge, TransientError

StreamsBody = Callable[[str, str], bool]  # (method, path) -> whether the endpoint reads its body as a stream


class BodyStalled(TransientError):
    """The client sent nothing, or too little, for too long. What had arrived does not count."""

    code = "body_stalled"
    status = 408
    title = "The request body stalled"


class BodyLimit:
    """The ASGI layer; ``limit`` in bytes, ``patience`` in seconds for a whole body."""

    def __init__(self, app: ASGIApp, *, limit: int, patience: float, streams_body: StreamsBody) -> None:
        self._app = app
        self._limit = limit
        self._patience = patience
        self._streams_body = streams_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; raises :class:`TooLarge` and :class:`BodyStalled` for the layer outside to render."""
        if scope["type"] != "http" or self._streams_body(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        self._check_announced(scope)
        try:
            async with asyncio.timeout(self._patience):
                body = await self._read(receive)
        except TimeoutError:
            raise BodyStalled(
                "The request's body took too long to arrive; send it again.", retry_after=1
            ) from None
        delivered = False

        async def replay() -> Message:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    def _check_announced(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name.lower() == b"content-length":
                if not value.isdigit():
                    raise InvalidRequest("The Content-Length header is not a number.")
                if int(value) > self._limit:
                    raise self._too_large()

    async def _read(self, receive: Receive) -> bytes:
        parts = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts += message.get("body", b"")
            if len(parts) > self._limit:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(parts)

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"The request body is larger than the {self._limit} bytes that are read here.",
            code="body_too_large",
        )
