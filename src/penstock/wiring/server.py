"""Serves a site on a socket that is already listening, from its applications' start to their end, which comes in bounded time.

The socket comes from outside (the supervisor, or the command that starts one service), so that it outlives this process.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import uvloop

from penstock.http_server.calls import ASGIApp
from penstock.http_server.messages import Responder
from penstock.http_server.server import Server
from penstock.wiring.lifespan import Lifespan

DRAIN_SECONDS = 5.0  # how long an upload or a segment in flight may go on after the order to stop


@dataclass(frozen=True, slots=True)
class Site:
    """What one port serves: ``responders`` what lies below their prefix, the application all else."""

    app: ASGIApp
    responders: Mapping[str, Responder] = field(default_factory=dict)


def serve(site: Site, listener: socket.socket, *, idle_s: float, on_ready: Callable[[], None]) -> None:
    """Blocks until SIGTERM or SIGINT, then drains. ``on_ready`` is called once requests are answered.

    ``idle_s``: see :class:`penstock.http_server.server.Server`. Raises RuntimeError where the application refuses to start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(site, listener, idle_s, on_ready))


async def _serve(site: Site, listener: socket.socket, idle_s: float, on_ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lifespan = Lifespan(site.app)
    await lifespan.start()
    server = Server(site.app, site.responders, idle_s=idle_s)
    listener.setblocking(False)
    server.start(listener)
    on_ready()
    await stop.wait()
    await server.close(DRAIN_SECONDS)
    await lifespan.stop()
