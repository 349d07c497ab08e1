"""Streams of one node: sealed messages in both directions, each conversation bounded in time. It decides nothing.

The core names its own streams by positive numbers; those that peers open get negative ones here.
"""

import asyncio
import contextlib
from collections.abc import Callable

from penstock.membership import codec, metrics
from penstock.membership.effects import Effect, Input, StreamArrived, StreamClosed, StreamId
from penstock.membership.errors import Unreachable
from penstock.membership.members import Address
from penstock.membership.messages import StreamMessage
from penstock.membership.sealing import Kind, Rejected, Sealer
from penstock.membership.transport import Stream, Transport

OPEN_SECONDS = 3.0  # to connect: longer than a lost SYN takes to be sent again
IDLE_SECONDS = 10.0  # without a message, after which a conversation has failed
ACCEPTED_LIMIT = 1024  # conversations that peers may have open here at once


class Conversations:
    """All streams of one node."""

    def __init__(self, transport: Transport, sealer: Sealer, handle: Callable[[Input], list[Effect]]) -> None:
        self._transport = transport
        self._sealer = sealer
        self._handle = handle
        self._outboxes: dict[StreamId, asyncio.Queue[bytes | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted = 0

    def open(self, stream: StreamId, to: Address, message: StreamMessage) -> None:
        """Connects in the background; the core hears what comes, or that nothing does."""
        self._outboxes[stream] = asyncio.Queue()
        self.send(stream, message)
        self._spawn(self._connect(stream, to))

    def accept(self, connection: Stream) -> None:
        """A peer has connected."""
        if len(self._tasks) >= ACCEPTED_LIMIT:
            metrics.streams.labels("accepted", "refused").inc()
            connection.close()
            return
        self._accepted -= 1
        self._outboxes[self._accepted] = asyncio.Queue()
        metrics.streams.labels("accepted", "open").inc()
        self._spawn(self._converse(self._accepted, connection))

    def send(self, stream: StreamId, message: StreamMessage) -> None:
        """Queues a message; nothing where the stream has ended."""
        if outbox := self._outboxes.get(stream):
            outbox.put_nowait(codec.encode_frame(message))

    def close(self, stream: StreamId) -> None:
        """Ends a stream after what is queued."""
        if outbox := self._outboxes.get(stream):
            outbox.put_nowait(None)

    async def stop(self) -> None:
        """Ends all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, stream: StreamId, to: Address) -> None:
        try:
            connection = await asyncio.wait_for(self._transport.open(to), OPEN_SECONDS)
        except (Unreachable, TimeoutError):
            metrics.streams.labels("opened", "failed").inc()
            del self._outboxes[stream]
            self._handle(StreamClosed(stream))
            return
        metrics.streams.labels("opened", "open").inc()
        await self._converse(stream, connection)

    async def _converse(self, stream: StreamId, connection: Stream) -> None:
        writer = asyncio.get_running_loop().create_task(self._write(stream, connection))
        try:
            await self._read(stream, connection)
        finally:
            writer.cancel()
            connection.close()
            self._outboxes.pop(stream, None)
        with contextlib.suppress(asyncio.CancelledError):
            await writer
        self._handle(StreamClosed(stream))

    async def _write(self, stream: StreamId, connection: Stream) -> None:
        outbox = self._outboxes[stream]
        with contextlib.suppress(Unreachable):
            while (plaintext := await outbox.get()) is not None:
                sealed = self._sealer.seal(Kind.STREAM, plaintext)
                metrics.bytes_sent.labels("stream").inc(len(sealed))
                await connection.send(sealed)
        connection.close()

    async def _read(self, stream: StreamId, connection: Stream) -> None:
        while True:
            try:
                frame = await asyncio.wait_for(connection.receive(), IDLE_SECONDS)
            except TimeoutError:
                return
            if frame is None:
                return
            try:
                message = codec.decode_frame(self._sealer.open(Kind.STREAM, frame)[1])
            except Rejected as refusal:
                metrics.rejected.labels(refusal.reason).inc()
                return
            except codec.Malformed:
                metrics.rejected.labels("malformed").inc()
                return
            self._handle(StreamArrived(stream, message))
