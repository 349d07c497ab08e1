"""One suite for every transport: what holds over the network holds in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from penstock.membership.errors import Unreachable
from penstock.membership.in_memory import MemoryNetwork
from penstock.membership.members import Address
from penstock.membership.network import NetworkTransport
from penstock.membership.transport import Stream, Transport

Make = Callable[[], Transport]
SECONDS = 20.0  # far more than anything here takes, on a machine however busy


class Ear:
    """Receives, and lets a test wait for what came."""

    def __init__(self) -> None:
        self.datagrams: asyncio.Queue[tuple[Address, bytes]] = asyncio.Queue()
        self.streams: asyncio.Queue[Stream] = asyncio.Queue()

    def datagram(self, source: Address, data: bytes) -> None:
        """A datagram arrived."""
        self.datagrams.put_nowait((source, data))

    def stream(self, stream: Stream) -> None:
        """A peer has opened a stream."""
        self.streams.put_nowait(stream)


@pytest.fixture(params=["memory", "network"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes transports that reach each other."""
    if request.param == "memory":
        return MemoryNetwork().transport
    return lambda: NetworkTransport("127.0.0.1", 0)


@asynccontextmanager
async def two(make: Make) -> AsyncIterator[tuple[Transport, Ear, Transport, Ear]]:
    """Two started transports and their ears."""
    one, other, ear, other_ear = make(), make(), Ear(), Ear()
    await one.start(ear)
    await other.start(other_ear)
    try:
        yield one, ear, other, other_ear
    finally:
        await one.stop()
        await other.stop()


def within(work: Awaitable[None]) -> None:
    """Runs one test in a loop of its own."""

    async def bounded() -> None:
        await asyncio.wait_for(work, SECONDS)

    asyncio.run(bounded())


def test_a_datagram_arrives_whole_with_its_source(make: Make) -> None:
    """The source is where the sender receives, so that it can be answered."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, ear):
            one.send(other.address, b"x" * 1400)
            assert await ear.datagrams.get() == (one.address, b"x" * 1400)

    within(scenario())


def test_datagrams_to_nobody_are_lost_without_a_word(make: Make) -> None:
    """A dead member's address raises nothing, and others are still reached."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, ear):
            gone = make()
            await gone.start(Ear())
            address = gone.address
            await gone.stop()
            for _ in range(3):
                one.send(address, b"anybody?")
            one.send(other.address, b"still here")
            assert (await ear.datagrams.get())[1] == b"still here"

    within(scenario())


def test_frames_arrive_in_order_in_both_directions(make: Make) -> None:
    """Small ones, empty ones and large ones."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, ear):
            ours = await one.open(other.address)
            theirs = await ear.streams.get()
            frames = [b"", b"a", b"b" * 300_000, b"c"]
            sending = asyncio.create_task(send_all(ours, frames))
            assert [await theirs.receive() for _ in frames] == frames
            await sending
            await theirs.send(b"back")
            assert await ours.receive() == b"back"

    within(scenario())


async def send_all(stream: Stream, frames: list[bytes]) -> None:
    """One after the other."""
    for frame in frames:
        await stream.send(frame)


def test_closing_delivers_what_was_sent_and_then_the_end(make: Make) -> None:
    """The other side reads all, then None, and None again."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, ear):
            ours = await one.open(other.address)
            theirs = await ear.streams.get()
            await ours.send(b"last words")
            ours.close()
            ours.close()
            assert [await theirs.receive() for _ in range(3)] == [b"last words", None, None]

    within(scenario())


def test_nobody_there_is_unreachable(make: Make) -> None:
    """Opening a stream to a stopped node raises at once."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, _ear):
            address = other.address
            await other.stop()
            with pytest.raises(Unreachable):
                await one.open(address)

    within(scenario())


def test_streams_end_when_a_node_stops(make: Make) -> None:
    """The other side sees the end."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, ear):
            await one.open(other.address)
            theirs = await ear.streams.get()
            await one.stop()
            assert await theirs.receive() is None

    within(scenario())


def test_many_streams_at_once(make: Make) -> None:
    """A cluster that starts at once opens a hundred to one node."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, ear):
            streams = await asyncio.gather(*(one.open(other.address) for _ in range(100)))
            for number, stream in enumerate(streams):
                await stream.send(number.to_bytes(2))
            received = [await (await ear.streams.get()).receive() for _ in streams]
            assert sorted(filter(None, received)) == [number.to_bytes(2) for number in range(100)]

    within(scenario())


def test_an_address_is_taken_once(make: Make) -> None:
    """A second node at the same address is refused, and the first goes on."""

    async def scenario() -> None:
        async with two(make) as (one, _, other, ear):
            second: Transport
            second = NetworkTransport(*other.address) if isinstance(other, NetworkTransport) else other
            with pytest.raises(Unreachable):
                await second.start(Ear())
            one.send(other.address, b"hello")
            assert (await ear.datagrams.get())[1] == b"hello"

    within(scenario())
