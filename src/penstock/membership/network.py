"""The transport over UDP and TCP, both on one port. Frames of a stream have their length before them, in four bytes."""

import asyncio
import contextlib
import errno
import socket
import weakref
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from penstock.membership.codec import FRAME_LIMIT
from penstock.membership.config import PACKET_LIMIT
from penstock.membership.errors import Unreachable
from penstock.membership.members import Address
from penstock.membership.transport import Receiver

RECEIVE_BUFFER = (
    4 * 1024 * 1024
)  # bytes asked of the kernel: a pause of a second loses nothing; it may grant less
ATTEMPTS = 20  # to find a port that is free for UDP and TCP alike
BACKLOG = 1024  # streams waiting to be accepted: a whole cluster that starts at once
LENGTH_BYTES = 4


class NetworkTransport:
    """One node's access to the network."""

    def __init__(self, host: str, port: int) -> None:
        """``port`` 0 lets the system choose."""
        self.address = Address(host, port)
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._streams: set[NetworkStream] = set()
        self._closing: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()

    async def start(self, receiver: Receiver) -> None:
        """Binds both."""
        loop = asyncio.get_running_loop()
        udp, tcp = _bind(self.address)
        self.address = Address(self.address.host, tcp.getsockname()[1])

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            receiver.stream(self._stream(reader, writer))

        self._datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(receiver), sock=udp)
        self._server = await asyncio.start_server(accepted, sock=tcp, backlog=BACKLOG)

    def send(self, to: Address, data: bytes) -> None:
        """Errors of the network are losses."""
        if self._datagrams is not None:
            with contextlib.suppress(OSError):
                self._datagrams.sendto(data, to)

    async def open(self, to: Address) -> "NetworkStream":
        """Connects. The caller sets the deadline."""
        try:
            reader, writer = await asyncio.open_connection(to.host, to.port)
        except OSError as error:
            raise Unreachable(f"Nobody answers at {to.host} port {to.port}: {error.strerror}.") from error
        return self._stream(reader, writer)

    async def stop(self) -> None:
        """Closes the sockets."""
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for stream in tuple(self._streams):
            stream.close()
        for writer in tuple(self._closing):
            writer.transport.abort()
        await asyncio.sleep(0)  # the loop closes what was aborted in its next turn

    def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> "NetworkStream":
        def closed() -> None:
            self._streams.discard(stream)
            self._closing.add(writer)  # what was written may still be on its way

        stream = NetworkStream(reader, writer, closed)
        self._streams.add(stream)
        return stream


class NetworkStream:
    """Frames over one connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, closed: Callable[[], None]
    ) -> None:
        self._reader, self._writer, self._closed = reader, writer, closed
        host, port = writer.get_extra_info("peername")[:2]
        self.peer = Address(host, port)

    async def send(self, frame: bytes) -> None:
        """Waits while the other side does not read."""
        try:
            self._writer.write(len(frame).to_bytes(LENGTH_BYTES) + frame)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise Unreachable("The stream has ended.") from error

    async def receive(self) -> bytes | None:
        """A frame beyond the limit ends the stream: nobody of ours sends one."""
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES))
            if length > FRAME_LIMIT:
                return None
            return await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            return None

    def close(self) -> None:
        """Written data is delivered first."""
        self._closed()
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @override
    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if (
            len(data) <= PACKET_LIMIT
        ):  # nobody of ours sends more; the receiver would refuse it after more work
            self._receiver.datagram(Address(addr[0], addr[1]), data)
        else:
            self._receiver.datagram(Address(addr[0], addr[1]), b"")

    @override
    def error_received(self, exc: Exception) -> None:
        """A host or port is unreachable: silence says the same, and more reliably."""


def _bind(address: Address) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    for _ in range(ATTEMPTS if address.port == 0 else 1):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # TIME_WAIT after a restart is not in use
            tcp.bind((address.host, address.port))
            udp.bind((address.host, tcp.getsockname()[1]))
        except OSError as error:
            udp.close()
            tcp.close()
            if error.errno == errno.EADDRINUSE and address.port == 0:
                continue
            raise Unreachable(
                f"Cannot receive on {address.host} port {address.port}: {error.strerror}. Choose another port, or stop "
                "what uses it."
            ) from error
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        udp.setblocking(False)
        tcp.setblocking(False)
        return udp, tcp
    raise Unreachable(f"No port on {address.host} is free for UDP and TCP alike.")
