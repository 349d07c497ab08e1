"""Serves a site on a socket that is already listening, from its applications' start to their end, which comes in bounded time.

The socket comes from outside (the supervisor, or the command that starts one service), so that it outlives this process.
"""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import uvloop

from penstock.http_server.calls import ASGIApp
from penstock.http_server.messages import Responder
from penstock.http_server.server import Server
from penstock.wiring.lifespan import Lifespan

_DESCRIPTORS = 65_536  # for each connection one, for each that is answered with a file perhaps another
_YOUNG = 10_000  # objects, about a megabyte, until those in cycles are looked for: 64 requests at once make a thousand, and no cycle
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
    _take_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(site, listener, idle_s, on_ready))


def _take_descriptors() -> None:
    """As many as this process may have: what it is given at first is meant for programs that wait for one file with ``select``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    with contextlib.suppress(ValueError, OSError):  # a system that allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _look_for_cycles_seldom() -> None:
    """What is there by now stays, and what requests leave is nearly always freed without a search: searching took a twentieth of a segment's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)


async def _serve(site: Site, listener: socket.socket, idle_s: float, on_ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lifespan = Lifespan(site.app)
    await lifespan.start()
    _look_for_cycles_seldom()
    server = Server(site.app, site.responders, idle_s=idle_s)
    listener.setblocking(False)
    server.start(listener)
    on_ready()
    await stop.wait()
    await server.close(DRAIN_SECONDS)
    await lifespan.stop()
