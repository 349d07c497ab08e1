"""The server's side of the ASGI lifespan protocol, for one application."""

import asyncio

import structlog

from penstock.http_server.calls import ASGIApp, Message, Scope

log = structlog.get_logger()


class Lifespan:
    """One application's side of the protocol. An application that knows none simply ends at once, or raises."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises RuntimeError where the application refuses to start."""
        self._task = asyncio.create_task(self._run())
        await self._to_app.put({"type": "lifespan.startup"})
        answer = await self._from_app.get()
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(answer.get("message") or "an application refused to start")

    async def stop(self) -> None:
        """Waits until the application has ended what it holds."""
        if self._task is None or self._task.done():
            return
        await self._to_app.put({"type": "lifespan.shutdown"})
        await self._task

    async def _run(self) -> None:
        try:
            scope: Scope = {
                "type": "lifespan",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "state": {},
            }
            await self._app(scope, self._to_app.get, self._from_app.put)
        except Exception as error:  # noqa: BLE001  (the specification: an application without lifespan raises)
            log.debug("lifespan_unsupported", error=repr(error))
        finally:
            await self._from_app.put(None)
