"""Threads of their own for what may wait for the store of sources, so that its silence holds up nobody else.

A store that says nothing keeps each thread that asks it for minutes, and every other request of a process shares the
event loop's few threads. It knows nothing of what is stored.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
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
        self._executor = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="store")

    async def run(self, call: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """What a blocking call gives."""
        async with self._places:
            return await run_sync(call, *args, limiter=self._unbounded)

    async def start(self, call: Callable[[Unpack[Ts]], T], *args: *Ts) -> "asyncio.Future[T]":
        """Begins a blocking call, once there is a place for it, and does not wait for its end."""
        who = object()
        try:
            self._places.acquire_on_behalf_of_nowait(who)  # without a turn of the loop
        except anyio.WouldBlock:
            await self._places.acquire_on_behalf_of(who)
        loop = asyncio.get_running_loop()
        try:
            running = loop.run_in_executor(self._executor, partial(copy_context().run, call, *args))
        except BaseException:  # the system gives no thread
            self._places.release_on_behalf_of(who)
            raise
        running.add_done_callback(lambda _: self._places.release_on_behalf_of(who))
        return running

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

    @asynccontextmanager
    async def behind(self) -> AsyncIterator["Behind"]:
        """Calls one after the other while the block goes on; none is under way any more when the block has ended.

        What a call raises comes out of the next one, or of the block's end unless that raises something already.
        """
        calls = Behind(self)
        try:
            yield calls
        except BaseException:
            with anyio.CancelScope(shield=True):
                await calls.ended()
            raise
        await calls.settle()


class Behind:
    """One blocking call at a time, in the order given, a step behind its caller. Made by :meth:`StoreThreads.behind`.

    A call begins and ends with as few turns of the event loop as can be: in each of them the loop reads as much as a thread
    writes meanwhile, and the thread would wait for it.
    """

    def __init__(self, threads: StoreThreads) -> None:
        self._threads = threads
        self._call: asyncio.Future[None] | None = None

    async def run(self, call: Callable[[Unpack[Ts]], None], *args: *Ts) -> None:
        """Begins a call once the one before has ended."""
        await self.settle()
        self._call = await self._threads.start(call, *args)

    async def settle(self) -> None:
        """Returns when none is under way, or raises what the last one raised."""
        await self.ended()
        call, self._call = self._call, None
        if call is not None:
            call.result()

    async def ended(self) -> None:
        """Returns when none is under way, however it ended. Who waits can be cancelled, a call cannot."""
        if self._call is not None and not self._call.done():
            await asyncio.wait([self._call])
