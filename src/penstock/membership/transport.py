"""What carries bytes between nodes: datagrams that may be lost, and streams of frames that are not.

Two adapters, held to one suite: the network (``network.py``) and memory (``in_memory.py``). Neither knows what it carries.
"""

from typing import Protocol

from penstock.membership.members import Address


class Stream(Protocol):
    """Frames in both directions, in order. ``peer`` is the other side's address as seen here."""

    @property
    def peer(self) -> Address:
        """The other side."""

    async def send(self, frame: bytes) -> None:
        """Returns when the frame is on its way. Raises :class:`~penstock.membership.errors.Unreachable`."""

    async def receive(self) -> bytes | None:
        """The next frame; None at the end, however it came."""

    def close(self) -> None:
        """Ends the stream after what was sent. May be called twice."""


class Receiver(Protocol):
    """Whom the transport tells."""

    def datagram(self, source: Address, data: bytes) -> None:
        """A datagram arrived."""

    def stream(self, stream: Stream) -> None:
        """A peer has opened a stream."""


class Transport(Protocol):
    """One node's access to the others."""

    @property
    def address(self) -> Address:
        """Where it receives, once started."""

    async def start(self, receiver: Receiver) -> None:
        """Begins to receive. Raises :class:`~penstock.membership.errors.Unreachable` where the address is taken."""

    def send(self, to: Address, data: bytes) -> None:
        """Sends a datagram, or loses it."""

    async def open(self, to: Address) -> Stream:
        """Raises :class:`~penstock.membership.errors.Unreachable`."""

    async def stop(self) -> None:
        """Receives no more; all streams end."""
