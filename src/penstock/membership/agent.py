"""The agent: runs one core on a real clock, a transport and a disk. Carries out effects; decides nothing.

Everything happens in one event loop and without waiting inside: an input is handled, its effects are carried out in order,
then comes the next. So the core needs no lock, and a pause of the process is a pause of all of it.
"""

import asyncio
import random
import secrets
from collections.abc import Coroutine
from typing import Any

import structlog

from penstock.membership import codec, metrics, seeds
from penstock.membership.config import METADATA_LIMIT, NAME_LIMIT, MembershipConfig
from penstock.membership.conversations import Conversations
from penstock.membership.core import Core
from penstock.membership.effects import (
    CloseStream,
    Departed,
    Describe,
    Effect,
    ForceLeave,
    Input,
    Join,
    Joined,
    Leave,
    Notify,
    OpenStream,
    PacketArrived,
    PersistEpoch,
    Remark,
    Seeds,
    SendPacket,
    SendStream,
    SetTimer,
    Start,
    StreamClosed,
    TimerFired,
)
from penstock.membership.errors import InvalidInput, MemberAlive, UnknownMember, Unreachable
from penstock.membership.keyring import KeyRing
from penstock.membership.members import Address, Change, NodeId, Record
from penstock.membership.node import Identity
from penstock.membership.precedence import State
from penstock.membership.sealing import Kind, Rejected, Sealer
from penstock.membership.state import NodeState
from penstock.membership.transport import Stream, Transport
from penstock.membership.watching import History

SEEDS_INTERVAL = 30.0  # seconds between readings of seeds: names move, files are edited
JOIN_TIMEOUT = 5.0  # seconds that a command to join waits for an answer

log = structlog.get_logger()


class Agent:
    """One running node."""

    def __init__(self, config: MembershipConfig, transport: Transport) -> None:
        """Raises :class:`InvalidInput` on a name that is too long, and whatever the key ring raises."""
        if not config.name or len(config.name.encode()) > NAME_LIMIT:
            raise InvalidInput(f"The name of a node is 1 to {NAME_LIMIT} bytes of UTF-8.")
        self.config = config
        self.history = History(config.event_history)
        self.ring = KeyRing.load(config.key_file or config.folder / "keys")
        self._transport = transport
        self._state = NodeState(config.folder)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._core: Core | None = None
        self._sealer: Sealer | None = None
        self._conversations: Conversations | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._departed = asyncio.Event()
        self._joined: dict[int, asyncio.Future[NodeId]] = {}
        self._unsaved = asyncio.Event()
        self.boot = 0  # the epoch at which this process started
        self.stopped = False

    # -- life

    async def start(self) -> None:
        """Begins to take part. The new epoch is on disk before the first packet."""
        loop = self._loop = asyncio.get_running_loop()
        self._state.begin()
        self.boot = self._state.epoch
        self._sealer = Sealer(self.config.cluster, self.ring, self._state.node, self._state.epoch)
        self._conversations = Conversations(self._transport, self._sealer, self._handle)
        await self._transport.start(self)
        known_seeds = await self._read_seeds()
        identity = Identity(
            self._state.node, self.config.name, self._advertised(known_seeds), self._state.epoch
        )
        rng = random.Random(secrets.randbits(128))  # noqa: S311 - seeded from the system; chooses peers, not secrets
        self._core = Core(self.config.protocol, identity, rng, self._state.known(loop.time()))
        log.info(
            "membership_started", member=self.id.hex(), name=self.config.name, address=str(self.me.address)
        )
        self._handle(Start())
        self._handle(Seeds(tuple(known_seeds)))
        self._spawn(self._refresh_seeds())
        self._spawn(self._save_regularly())

    async def leave(self) -> None:
        """Tells the others, for at most ``leave_timeout``. A node that has left need not again."""
        if self.me.state is State.LEFT:
            return
        self._departed.clear()
        self._handle(Leave())
        try:
            await asyncio.wait_for(self._departed.wait(), self.config.leave_timeout)
        except TimeoutError:
            log.warning("leave_unfinished", seconds=self.config.leave_timeout)

    async def stop(self) -> None:
        """Ends without a word to the others; what is known is on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        if self._conversations is not None:
            await self._conversations.stop()
        await self._transport.stop()
        if self._core is not None and self._loop is not None:
            self._state.save(self._core.members, self._loop.time())
        self.stopped = True
        self.history.close()
        self._state.close()
        log.info("membership_stopped")

    def release(self) -> None:
        """Gives back the folder of a node that was never started."""
        self._state.close()

    # -- what others ask

    @property
    def core(self) -> Core:
        """The core, once started."""
        if self._core is None:
            raise Unreachable("The node has not started yet.")
        return self._core

    @property
    def id(self) -> NodeId:
        """This node's id."""
        return self._state.node

    @property
    def me(self) -> Record:
        """This node's own record."""
        return self.core.me

    @property
    def clock(self) -> float:
        """Now, on the clock of the records."""
        return asyncio.get_running_loop().time()

    def find(self, text: str) -> Record:
        """A member by id, or by a name that only one has. Raises :class:`UnknownMember`."""
        found = [record for record in self.core.members if text in {record.node.hex(), record.contact.name}]
        exact = [record for record in found if record.node.hex() == text] or found
        if len(exact) != 1:
            problem = "No member has" if not exact else "Several members have"
            raise UnknownMember(f"{problem} the id or name '{text}'.")
        return exact[0]

    async def join(self, addresses: list[str]) -> list[NodeId]:
        """Meets whoever is there; returns who answered. Raises :class:`Unreachable` where nobody did."""
        targets = await seeds.resolve(addresses)
        if not targets:
            raise Unreachable(f"None of {', '.join(addresses)} can be resolved.")
        loop = asyncio.get_running_loop()
        futures = [
            self._joined.setdefault(effect.stream, loop.create_future())
            for effect in self._handle(Join(tuple(targets)))
            if isinstance(effect, OpenStream)
        ]
        if not futures:  # the only address is this node's own
            raise Unreachable("A node cannot join itself: give the address of another.")
        done, _ = await asyncio.wait(futures, timeout=JOIN_TIMEOUT)
        self._joined = {stream: future for stream, future in self._joined.items() if future not in futures}
        met = [future.result() for future in done if not future.cancelled()]
        if not met:
            raise Unreachable(
                f"Nobody of this cluster answered at {', '.join(addresses)}: check address, key and cluster name."
            )
        return met

    def force_leave(self, text: str) -> None:
        """Raises :class:`UnknownMember`, :class:`MemberAlive`."""
        record = self.find(text)
        if record.state is State.ALIVE:
            raise MemberAlive(
                f"{record.contact.name} answers; it leaves by itself, with 'penstock leave' there."
            )
        self._handle(ForceLeave(record.node))

    def describe(self, data: bytes) -> None:
        """States this node's metadata. Raises :class:`InvalidInput`."""
        if len(data) > METADATA_LIMIT:
            raise InvalidInput(f"Metadata is at most {METADATA_LIMIT} bytes; this is {len(data)}.")
        if data != self.me.metadata.data:
            self._handle(Describe(data=data))

    # -- what the transport tells

    def datagram(self, source: Address, data: bytes) -> None:
        """Opens, decodes and handles; what cannot be opened or decoded is counted and changes nothing."""
        if self._sealer is None or self._core is None:
            return
        try:
            sender, plaintext = self._sealer.open(Kind.PACKET, data)
            messages = codec.decode_packet(plaintext)
        except Rejected as refusal:
            metrics.rejected.labels(refusal.reason).inc()
            return
        except codec.Malformed:
            metrics.rejected.labels("malformed").inc()
            return
        metrics.packets_received.inc()
        self._handle(PacketArrived(source, sender, messages))

    def stream(self, stream: Stream) -> None:
        """A peer has opened a stream."""
        if self._conversations is not None and self._core is not None:
            self._conversations.accept(stream)
        else:
            stream.close()

    # -- effects

    def _handle(self, given: Input) -> list[Effect]:
        if self._loop is None:
            raise Unreachable("The node has not started yet.")
        if isinstance(given, StreamClosed) and (future := self._joined.get(given.stream)):
            future.cancel()  # nobody answered there: who waits for it need not wait longer
        effects = self.core.handle(self._loop.time(), given)
        for effect in effects:
            self._carry_out(effect)
        return effects

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendPacket(to, messages):
                self._send(to, codec.encode_packet(messages))
            case SetTimer(at):
                self._set_timer(effect, at)
            case Notify(change):
                self._note(change)
            case OpenStream(stream, to, message):
                self._talk.open(stream, to, message)
            case SendStream(stream, message):
                self._talk.send(stream, message)
            case CloseStream(stream):
                self._talk.close(stream)
            case PersistEpoch(epoch):
                self._state.keep_epoch(epoch)
            case Joined(stream, met):
                if (future := self._joined.get(stream)) and not future.done():
                    future.set_result(met)
            case Departed():
                self._departed.set()
            case Remark(code, node, detail):
                log.warning(code, member=node.hex(), detail=detail)

    @property
    def _talk(self) -> Conversations:
        if self._conversations is None:
            raise Unreachable("The node has not started yet.")
        return self._conversations

    def _send(self, to: Address, plaintext: bytes) -> None:
        if self._sealer is not None:
            sealed = self._sealer.seal(Kind.PACKET, plaintext)
            self._transport.send(to, sealed)
            metrics.packets_sent.inc()
            metrics.bytes_sent.labels("datagram").inc(len(sealed))

    def _set_timer(self, effect: SetTimer, at: float) -> None:
        if self._loop is not None:
            handle: asyncio.TimerHandle

            def fire() -> None:
                self._timers.discard(handle)
                self._handle_timer(effect)

            handle = self._loop.call_at(at, fire)
            self._timers.add(handle)

    def _handle_timer(self, effect: SetTimer) -> None:
        if self._loop is None:
            return
        # A loop may fire a timer up to its resolution early; for the core it is then exactly due.
        now = max(self._loop.time(), effect.at)
        for done in self.core.handle(now, TimerFired(effect.at, effect.timer)):
            self._carry_out(done)

    def _note(self, change: Change) -> None:
        event = self.history.add(change)
        record = event.record
        self._unsaved.set()
        metrics.changes.labels(event.kind).inc()
        log.info(
            "member_changed",
            kind=event.kind,
            member=record.node.hex(),
            name=record.contact.name,
            state=record.state.name.lower(),
            order=f"{record.order.epoch}.{record.order.incarnation}",
            by=change.by.hex(),
            reason=change.reason,
        )

    # -- in the background

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_seeds(self) -> list[Address]:
        texts = seeds.split(self.config.seeds)
        if self.config.seeds_file is not None:
            texts += seeds.read_file(self.config.seeds_file)
        return await seeds.resolve(texts)

    async def _refresh_seeds(self) -> None:
        while self.config.seeds or self.config.seeds_file is not None:
            await asyncio.sleep(SEEDS_INTERVAL)
            self._handle(Seeds(tuple(await self._read_seeds())))

    async def _save_regularly(self) -> None:
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            records, now = list(self.core.members), self.clock
            await asyncio.to_thread(self._state.save, records, now)
            await asyncio.sleep(self.config.snapshot_interval)

    def _advertised(self, known_seeds: list[Address]) -> Address:
        host, port = self._transport.address
        if self.config.advertise is not None:
            return seeds.parse(self.config.advertise, port)
        if host in {"0.0.0.0", "::"}:  # noqa: S104 - recognised, not bound
            host = seeds.route_to(known_seeds[0] if known_seeds else None)
        return Address(host, port)

    def observe(self) -> None:
        """Brings the gauges up to date; called when they are asked for."""
        for state in State:
            metrics.members.labels(state.name.lower()).set(
                sum(record.state is state for record in self.core.members)
            )
        metrics.health.set(self.core.health)
        metrics.queued.set(self.core.queued)
        if self.core.round_trip is not None:
            metrics.round_trip.set(self.core.round_trip)
