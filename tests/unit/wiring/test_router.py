import asyncio
from typing import Any

import pytest

from penstock.http_server.calls import ASGIApp, Message, Receive, Scope, Send
from penstock.wiring.lifespan import Lifespan
from penstock.wiring.router import PrefixRouter


def named(name: str, told: list[str]) -> ASGIApp:
    """An application that tells what reaches it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                told.append(f"{name} {event}")
                await send({"type": f"lifespan.{event}.complete"})
        else:
            told.append(f"{name} {scope['path']}")

    return app


async def refusing(_scope: Scope, receive: Receive, send: Send) -> None:
    """An application that cannot start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no disk"})


async def without_lifespan(scope: Scope, _receive: Receive, _send: Send) -> None:
    """A raw application that knows requests alone."""
    assert scope["type"] == "http"


async def nothing() -> Message:
    """A request without a body."""
    return {"type": "http.disconnect"}


async def nowhere(_: Message) -> None:
    """A client that does not listen."""


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/api/videos", "library"),
        ("/api/videos/1/retry", "library"),
        ("/api/videosx", "pages"),
        ("/api/uploads", "upload"),
        ("/api/uploads/tus/1", "tus"),
        ("/stream/token/video", "streaming"),
        ("/streams", "pages"),
        ("/", "pages"),
    ],
)
def test_a_path_reaches_the_service_that_owns_its_longest_prefix(path: str, owner: str) -> None:
    """Whole path segments decide, the path arrives unchanged, and what nobody owns falls back."""
    told: list[str] = []
    mounts = {
        "/api/videos": named("library", told),
        "/api/uploads": named("upload", told),
        "/api/uploads/tus": named("tus", told),
        "/stream": named("streaming", told),
    }
    router = PrefixRouter(mounts, fallback=named("pages", told))
    asyncio.run(_call(router, {"type": "http", "path": path}))
    assert told == [f"{owner} {path}"]


async def _call(app: ASGIApp, scope: Scope) -> None:
    await app(scope, nothing, nowhere)


def test_every_application_starts_once_and_ends_in_reverse() -> None:
    """An application under two prefixes is one; one that knows no lifespan does not disturb the others."""
    told: list[str] = []
    library = named("library", told)
    router = PrefixRouter(
        {"/api/videos": library, "/api/me": library, "/stream": without_lifespan},
        fallback=named("pages", told),
    )

    async def life() -> None:
        lifespan = Lifespan(router)
        await lifespan.start()
        await lifespan.stop()

    asyncio.run(life())
    assert told == ["library startup", "pages startup", "pages shutdown", "library shutdown"]


def test_one_application_that_cannot_start_stops_the_whole() -> None:
    """The refusal says why."""
    told: list[str] = []
    router: Any = PrefixRouter({"/api/videos": refusing}, fallback=named("pages", told))
    with pytest.raises(RuntimeError, match="no disk"):
        asyncio.run(Lifespan(router).start())
