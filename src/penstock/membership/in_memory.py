"""The transport in memory: many nodes in one process, without ports, with cuts where a test wants them."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from penstock.membership.errors import Unreachable
from penstock.membership.members import Address
from penstock.membership.transport import Receiver

Frames = asyncio.Queue[bytes | None]  # None: the end


@dataclass(slots=True)
class MemoryNetwork:
    """Who is where, and which pairs cannot reach each other."""

    nodes: "dict[Address, MemoryTransport]" = field(default_factory=dict)
    cut: set[tuple[Address, Address]] = field(default_factory=set)
    ports: Iterator[int] = field(default_factory=lambda: itertools.count(20_000))

    def transport(self) -> "MemoryTransport":
        """Access for one more node, at an address of its own."""
        return MemoryTransport(self, Address("127.0.0.1", next(self.ports)))

    def separate(self, one: Address, other: Address) -> None:
        """Nothing passes between these two any more."""
        self.cut |= {(one, other), (other, one)}

    def reach(self, source: Address, to: Address) -> "MemoryTransport | None":
        """The other end, if it is there and not cut off."""
        return self.nodes.get(to) if (source, to) not in self.cut else None


class MemoryTransport:
    """One node's access."""

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self._network = network
        self.address = address
        self.receiver: Receiver | None = None
        self.streams: set[MemoryStream] = set()

    async def start(self, receiver: Receiver) -> None:
        """Begins to receive."""
        if self.address in self._network.nodes:
            raise Unreachable(f"Port {self.address.port} is taken.")
        self._network.nodes[self.address] = self
        self.receiver = receiver

    def send(self, to: Address, data: bytes) -> None:
        """Delivered in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self._deliver, to, data)

    def _deliver(self, to: Address, data: bytes) -> None:
        node = self._network.reach(self.address, to)
        if node is not None and node.receiver is not None:
            node.receiver.datagram(self.address, data)

    async def open(self, to: Address) -> "MemoryStream":
        """A pair of queues."""
        node = self._network.reach(self.address, to)
        if node is None or node.receiver is None:
            raise Unreachable(f"Nobody answers at {to.host} port {to.port}.")
        there, back = Frames(), Frames()
        ours = MemoryStream(to, back, there, self.streams)
        node.receiver.stream(MemoryStream(self.address, there, back, node.streams))
        return ours

    async def stop(self) -> None:
        """Disappears."""
        self.receiver = None
        if self._network.nodes.get(self.address) is self:
            del self._network.nodes[self.address]
        for stream in tuple(self.streams):
            stream.close()


class MemoryStream:
    """One end: what it receives, and what the other end receives."""

    def __init__(self, peer: Address, inbox: Frames, outbox: Frames, registry: "set[MemoryStream]") -> None:
        self.peer = peer
        self._inbox, self._outbox, self._registry = inbox, outbox, registry
        self._ended = False
        registry.add(self)

    async def send(self, frame: bytes) -> None:
        """To the other end."""
        if self._ended:
            raise Unreachable("The stream has ended.")
        self._outbox.put_nowait(frame)

    async def receive(self) -> bytes | None:
        """From the other end; None at the end, and again."""
        frame = await self._inbox.get()
        if frame is None:
            self._ended = True
            self._inbox.put_nowait(None)
        return frame

    def close(self) -> None:
        """Ends both directions after what was sent."""
        if self in self._registry:
            self._registry.discard(self)
            self._ended = True
            self._outbox.put_nowait(None)
            self._inbox.put_nowait(None)
