"""A site on the real server, in a thread of the test's own process."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from penstock.http_server.server import Server
from penstock.wiring.lifespan import Lifespan
from penstock.wiring.server import Site


@contextmanager
def serving(site: Site, *, idle_s: float = 30, patience: float = 5) -> Iterator[str]:
    """Its address. At the end of the block the server closes, as patient as is said with what is in flight."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    ready = threading.Event()
    held: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}

    async def run() -> None:
        stop = asyncio.Event()
        lifespan = Lifespan(site.app)
        await lifespan.start()
        server = Server(site.app, site.responders, idle_s=idle_s)
        server.start(listener)
        held["loop"] = asyncio.get_running_loop(), stop
        ready.set()
        await stop.wait()
        await server.close(patience)
        await lifespan.stop()

    def thread() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    running = threading.Thread(target=thread)
    running.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loop, stop = held["loop"]
        loop.call_soon_threadsafe(stop.set)
        running.join()
        listener.close()
