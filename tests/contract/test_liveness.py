"""What processing may count on when it asks who is dead: of every adapter, and of the double that its own tests use."""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from penstock.membership import control
from penstock.membership.in_memory import MemoryNetwork
from penstock.processing.liveness import Liveness, SingleMachine
from penstock.wiring.liveness import WatchedLiveness
from tests.simulation.declared import DeclaredLiveness
from tests.simulation.workshop import await_that
from tests.unit.membership.cluster import SECONDS, Cluster, until

HERE, THERE = "here", "there"


class World(Protocol):
    """An adapter, and the nodes that it may know of."""

    liveness: Liveness
    learns: bool  # whether this adapter can hear of a death at all

    def die(self) -> None:
        """The other node ends without a word."""

    def come_back(self) -> None:
        """The other node starts again."""

    def lose_sight(self) -> None:
        """Whoever tells of the others is gone."""

    def close(self) -> None:
        """Ends everything."""


class Alone:
    """One machine."""

    def __init__(self) -> None:
        self.liveness: Liveness = SingleMachine()
        self.learns = False

    def die(self) -> None:
        """Nobody would know."""

    come_back = lose_sight = close = die


class Declared:
    """The double of processing's tests."""

    def __init__(self) -> None:
        self.told = DeclaredLiveness()
        self.liveness: Liveness = self.told
        self.learns = True

    def die(self) -> None:
        """As a test says it."""
        self.told.declare(THERE)

    def come_back(self) -> None:
        """As a test says it."""
        self.told.revive(THERE)

    lose_sight = come_back

    def close(self) -> None:
        """Nothing runs."""


class Watched:
    """Two real agents, and the stream of the first one's control interface on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self._socket = Path(tempfile.mkdtemp(prefix="penstock-", dir="/tmp"))  # a socket's path must be short
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._cluster = Cluster(folder, MemoryNetwork())
        self._streams: set[asyncio.Task[None]] = set()
        self._blind = False
        config = replace(self._cluster.config(HERE), control_socket=self._socket / "control.sock")
        self._server: asyncio.Server = self._do(self._start())
        self.learns = True
        self._watched = WatchedLiveness(config)
        self.liveness: Liveness = self._watched
        self._watched.start()

    def die(self) -> None:
        """As after kill -9."""
        self._do(self._cluster.kill(THERE))

    def come_back(self) -> None:
        """With the folder it had."""
        self._do(self._cluster.start(THERE, HERE))

    def lose_sight(self) -> None:
        """The member process of this machine is killed."""
        self._do(self._cut())

    def close(self) -> None:
        """The agent goes first, which ends the stream that is followed."""
        self._do(self._cut())
        self._watched.end(SECONDS)
        self._server.close()
        self._do(self._cluster.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._socket)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _start(self) -> asyncio.Server:
        await self._cluster.start(HERE)
        await self._cluster.start(THERE, HERE)
        await self._cluster.agree()
        return await asyncio.start_unix_server(self._answer, self._socket / "control.sock")

    async def _cut(self) -> None:
        self._blind = True
        for task in tuple(self._streams):
            task.cancel()
        await until(lambda: not self._streams)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            if self._blind:
                return
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            async for text in control._follow(self._cluster.agents[HERE], None):
                writer.write(text.encode())
                await writer.drain()
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()
            self._streams.discard(task)


@pytest.fixture(params=["alone", "declared", "watched"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each adapter in a world of its own."""
    made: World
    match request.param:
        case "alone":
            made = Alone()
        case "declared":
            made = Declared()
        case _:
            made = Watched(tmp_path)
    yield made
    made.close()


def held_dead(world: World) -> frozenset[str]:
    """Who should be held dead while the other node is."""
    return frozenset({THERE}) if world.learns else frozenset()


def test_the_living_are_not_held_dead(world: World) -> None:
    """Neither this machine nor another one that runs."""
    assert world.liveness.dead() == frozenset()


def test_a_death_is_told_and_a_return_takes_it_back(world: World) -> None:
    """Whoever asks after it was told finds the node among the dead; once it is back it is not, and dies again."""
    told = threading.Event()
    world.liveness.on_death(told.set)
    for _ in range(2):
        world.die()
        if world.learns:
            assert told.wait(SECONDS)
        assert world.liveness.dead() == held_dead(world)
        told.clear()
        world.come_back()
        await_that(lambda: world.liveness.dead() == frozenset(), what="nobody is held dead")
        assert not told.is_set()


def test_nobody_is_held_dead_on_the_word_of_who_is_gone(world: World) -> None:
    """Without the agent, leases alone decide."""
    world.die()
    await_that(lambda: world.liveness.dead() == held_dead(world), what="the death is known")
    world.lose_sight()
    await_that(lambda: world.liveness.dead() == frozenset(), what="it counts no longer")


def test_everyone_who_asked_is_told(world: World) -> None:
    """One that is told first does not keep the word from the next."""
    told = [threading.Event(), threading.Event()]
    for event in told:
        world.liveness.on_death(event.set)
    world.die()
    assert all(event.wait(SECONDS if world.learns else 0) == world.learns for event in told)
