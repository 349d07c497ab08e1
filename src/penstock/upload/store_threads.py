"""Threads of their own for what may wait for the store of sources, so that its silence holds up nobody else.

A store that says nothing keeps each thread that asks it for minutes, and every other request of a process shares the
event loop's few threads. It knows nothing of what is stored.
"""

import math
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
from anyio.to_thread import run_sync

from penstock.video.errors import StorageUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_AT_ONCE = 32  # a disk has long been busy by then; a bucket's parts take seconds each
_QUEUE_S = 10.0  # a working store frees one of them many times over


class StoreThreads:
    """At most so many at once, of one event loop."""

    def __init__(self) -> None:
        self._places = anyio.CapacityLimiter(_AT_ONCE)
        self._unbounded = anyio.CapacityLimiter(math.inf)

    async def run(self, call: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """What a blocking call gives."""
        async with self._places:
            return await run_sync(call, *args, limiter=self._unbounded)

    async def begin(self, call: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """The same, for the first call of a request, with which nothing is lost yet.

        Raises :class:`StorageUnavailable` where all threads have been waiting for the store for long.
        """
        try:
            with anyio.fail_after(_QUEUE_S):
                await self._places.acquire()
        except TimeoutError:
            raise StorageUnavailable(
                "The storage does not answer those who came before; try again later.", retry_after=5
            ) from None
        try:
            return await run_sync(call, *args, limiter=self._unbounded)
        finally:
            self._places.release()
