"""A discrete-event simulation of many nodes: one heap of events, one seed, the production core in each node.

Messages travel as values; their sizes are those of the codec. What a real machine adds (system calls, encryption, a busy
processor) is not modelled, but for processes that are blocked.
"""

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from penstock.membership.config import ProtocolConfig
from penstock.membership.core import Core
from penstock.membership.effects import (
    CloseStream,
    Departed,
    Effect,
    Input,
    Notify,
    OpenStream,
    PacketArrived,
    PersistEpoch,
    Remark,
    SendPacket,
    SendStream,
    SetTimer,
    Start,
    StreamArrived,
    StreamClosed,
    StreamId,
    TimerFired,
)
from penstock.membership.members import Address, Change, NodeId, Record
from penstock.membership.messages import StreamMessage
from penstock.membership.node import Identity
from penstock.membership.precedence import Order, State
from penstock.membership.simulator.network import Network

RECEIVE_BUFFER = (
    256  # datagrams that a blocked process's socket holds: Linux's 208 KiB in packets of the smallest charge
)


@dataclass(slots=True)
class Waiting:
    """What a blocked process does when it gets on: sends, timers, then what arrived.

    Timers before packets is the worst order: whoever is judged by them has answered, and the answer is not read yet.
    """

    timers: list[tuple[int, TimerFired]] = field(default_factory=list)
    packets: list[tuple[int, Input]] = field(default_factory=list)
    frames: list[tuple[int, Input]] = field(default_factory=list)
    sends: list[tuple[Callable[..., None], tuple[object, ...]]] = field(default_factory=list)


@dataclass(slots=True)
class Host:
    """One machine: its disk, its address, and the process that runs there, if any."""

    number: int
    node: NodeId
    address: Address
    name: str
    epoch: int = 0
    disk: list[Record] = field(default_factory=list)
    core: Core | None = None
    life: int = 0  # counts starts, so that events of an earlier process are recognised
    blocked_until: float = 0.0
    waiting: Waiting = field(default_factory=Waiting)
    skew: float = 0.0  # seconds that its clock is ahead
    rate: float = 1.0  # seconds that its clock counts per second
    streams: dict[StreamId, tuple["Host", int, StreamId]] = field(default_factory=dict)
    incoming: int = 0
    departed: bool = False

    def clock(self, now: float) -> float:
        """What this machine believes the time is."""
        return now * self.rate + self.skew

    def when(self, local: float) -> float:
        """The time at which its clock shows ``local``."""
        return (local - self.skew) / self.rate


Observer = Callable[[float, Host, Change], None]


class World:
    """All machines and what happens between them."""

    def __init__(
        self, seed: int, config: ProtocolConfig | None = None, *, timers_run_on: bool = False
    ) -> None:
        """``timers_run_on``: a blocked process still judges by its timers, as one with a thread for them would."""
        self.rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self.config = config or ProtocolConfig()
        self.network = Network(random.Random(self.rng.random()))  # noqa: S311 - as above
        self.now = 0.0
        self.hosts: list[Host] = []
        self.observers: list[Observer] = []
        self.packets = 0
        self.counted_packet: Callable[[Host, SendPacket], None] | None = None
        self.counted_frame: Callable[[Host, StreamMessage], None] | None = None
        self.remarks: list[tuple[float, Host, Remark]] = []
        self.trace = hashlib.blake2b(digest_size=16)
        self._timers_run_on = timers_run_on
        self._at: dict[Address, Host] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = itertools.count()

    # -- machines

    def add(self, count: int = 1) -> list[Host]:
        """More machines, switched off."""
        added = []
        for _ in range(count):
            number = len(self.hosts)
            address = Address(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 7946)
            host = Host(number, self.rng.randbytes(16), address, f"n{number}")
            self.hosts.append(host)
            self._at[address] = host
            added.append(host)
        return added

    def start(self, host: Host, config: ProtocolConfig | None = None) -> Core:
        """Starts the process of a machine from what its disk holds."""
        host.epoch += 1
        host.life += 1
        host.departed = False
        host.streams.clear()
        host.waiting = Waiting()
        host.blocked_until = 0.0
        rng = random.Random(self.rng.random())  # noqa: S311 - as above
        identity = Identity(host.node, host.name, host.address, host.epoch)
        host.core = Core(config or self.config, identity, rng, host.disk)
        self.command(host, Start())
        return host.core

    def converged(self, count: int) -> list[Host]:
        """Machines that run and know each other, as after a long quiet time. The records are shared, being immutable."""
        hosts = self.add(count)
        order = Order(1, 0)
        for host in hosts:
            host.epoch = 1
            host.life = 1
        cores = {}
        for host in hosts:
            rng = random.Random(self.rng.random())  # noqa: S311 - as above
            cores[host.number] = Core(self.config, Identity(host.node, host.name, host.address, 1), rng)
        records = [core.me for core in cores.values()]
        first = cores[hosts[0].number].node
        first.adopt(records)
        for host in hosts:
            host.core = cores[host.number]
            if host.core.node is not first:
                host.core.node.agree_with(first)
            self.command(host, Start())
            host.core.node.gossip.drop(host.node)
        assert all(core.me.order == order for core in cores.values())
        return hosts

    def crash(self, host: Host, *, lose_disk: bool = False) -> None:
        """Ends the process without a word. What its disk holds is what it knew, unless that is lost."""
        if host.core is not None:
            host.disk = [record for record in host.core.members if record.node != host.node]
        host.core = None
        host.life += 1
        host.streams.clear()
        host.waiting = Waiting()
        if lose_disk:
            host.disk, host.epoch = [], 0
            host.node = self.rng.randbytes(16)

    def move(self, host: Host, address: Address) -> None:
        """Gives a machine another address."""
        del self._at[host.address]
        host.address = address
        self._at[address] = host

    def block(self, host: Host, seconds: float) -> None:
        """The process does not get on for a while: what it sends does not leave it, what it receives is not read."""
        host.blocked_until = self.now + seconds
        self.after(seconds, self._unblock, host, host.life)

    def command(self, host: Host, given: Input) -> None:
        """Hands an input to a process."""
        if host.core is not None:
            self._carry_out(host, host.core.handle(host.clock(self.now), given))

    # -- time

    def after(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        """Calls later, in simulated time."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._count), call, arguments))

    def run(self, seconds: float, *, until: Callable[[], bool] | None = None) -> bool:
        """Lets time pass, at most so much; True when ``until`` held before (asked every 50 ms)."""
        end = self.now + seconds
        check = self.now
        while self._heap and self._heap[0][0] <= end:
            at, _, call, arguments = heapq.heappop(self._heap)
            self.now = at
            call(*arguments)
            if until is not None and self.now >= check:
                if until():
                    return True
                check = self.now + 0.05
        self.now = end
        return until is not None and until()

    # -- effects

    def _carry_out(self, host: Host, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendPacket():
                    self._emit(host, self._send, effect)
                case SetTimer(at, timer):
                    delay = max(0.0, host.when(at) - self.now)
                    self.after(delay, self._fire, host, host.life, TimerFired(at, timer))
                case Notify(change):
                    self._notice(host, change)
                case OpenStream():
                    self._emit(host, self._open, effect)
                case SendStream(stream, message):
                    self._emit(host, self._send_stream, stream, message)
                case CloseStream(stream):
                    self._emit(host, self._close, stream)
                case PersistEpoch(epoch):
                    host.epoch = epoch
                case Departed():
                    host.departed = True
                case Remark():
                    self.remarks.append((self.now, host, effect))
                case _:
                    pass

    def _emit(self, host: Host, call: Callable[..., None], *arguments: object) -> None:
        if host.blocked_until > self.now:
            host.waiting.sends.append((call, (host, *arguments)))
        else:
            call(host, *arguments)

    def _notice(self, host: Host, change: Change) -> None:
        record = change.after or change.before
        if record is not None:
            seen = (round(self.now, 9), host.number, record.node, record.order, int(record.state))
            self.trace.update(repr(seen).encode())
        for observer in self.observers:
            observer(self.now, host, change)

    def _send(self, host: Host, effect: SendPacket) -> None:
        self.packets += 1
        if self.counted_packet is not None:
            self.counted_packet(host, effect)
        if self.network.passes(host.address, effect.to) and (to := self._at.get(effect.to)) is not None:
            arrived = PacketArrived(host.address, host.node, effect.messages)
            self.after(self.network.delay(), self._arrive, to, to.life, arrived)

    def _arrive(self, host: Host, life: int, given: Input) -> None:
        if host.core is None or host.life != life:
            return
        if host.blocked_until > self.now:
            if not isinstance(given, PacketArrived):
                host.waiting.frames.append((life, given))
            elif len(host.waiting.packets) < RECEIVE_BUFFER:
                host.waiting.packets.append((life, given))
            return
        self._carry_out(host, host.core.handle(host.clock(self.now), given))

    def _fire(self, host: Host, life: int, fired: TimerFired) -> None:
        if host.core is None or host.life != life:
            return
        if host.blocked_until > self.now and not self._timers_run_on:
            host.waiting.timers.append((life, fired))
            return
        self._carry_out(host, host.core.handle(host.clock(self.now), fired))

    def _unblock(self, host: Host, life: int) -> None:
        if host.life == life and self.now >= host.blocked_until:
            waiting, host.waiting = host.waiting, Waiting()
            for call, arguments in waiting.sends:
                call(*arguments)
            for of_life, fired in waiting.timers:
                self._fire(host, of_life, fired)
            for of_life, given in waiting.packets + waiting.frames:
                self._arrive(host, of_life, given)

    # -- streams

    def _open(self, host: Host, effect: OpenStream) -> None:
        to = self._at.get(effect.to)
        delay = self.network.stream_delay(host.address, effect.to) if to is not None else None
        if to is None or delay is None:
            self.after(3.0, self._arrive, host, host.life, StreamClosed(effect.stream))
        elif (
            to.core is None
        ):  # the machine is up and refuses, or is down and silent: the former is quicker, the latter kinder
            self.after(delay * 2, self._arrive, host, host.life, StreamClosed(effect.stream))
        else:
            to.incoming -= 1
            there = to.incoming
            host.streams[effect.stream] = (to, to.life, there)
            to.streams[there] = (host, host.life, effect.stream)
            self._frame(host, effect.message)
            self.after(3 * delay, self._arrive, to, to.life, StreamArrived(there, effect.message))

    def _send_stream(self, host: Host, stream: StreamId, message: StreamMessage) -> None:
        if stream not in host.streams:
            return
        to, life, there = host.streams[stream]
        delay = self.network.stream_delay(host.address, to.address)
        self._frame(host, message)
        if delay is None:
            for end, number in ((host, stream), (to, there)):
                end.streams.pop(number, None)
                self.after(3.0, self._arrive, end, end.life, StreamClosed(number))
        else:
            self.after(delay, self._arrive, to, life, StreamArrived(there, message))

    def _close(self, host: Host, stream: StreamId) -> None:
        if stream in host.streams:
            to, _, there = host.streams.pop(stream)
            # The other side may still send: its half stays until it is told, after what was sent before.
            self.after(10 * self.network.latency, self._closed, to, to.life, there)

    def _closed(self, host: Host, life: int, stream: StreamId) -> None:
        if host.life == life and host.streams.pop(stream, None) is not None:
            self._arrive(host, life, StreamClosed(stream))

    def _frame(self, host: Host, message: StreamMessage) -> None:
        if self.counted_frame is not None:
            self.counted_frame(host, message)

    # -- views

    def running(self) -> list[Host]:
        """Machines whose process runs."""
        return [host for host in self.hosts if host.core is not None]

    def agree(self, hosts: Iterable[Host] | None = None) -> bool:
        """True when each of these holds exactly these for alive, and nobody for suspect."""
        among = list(hosts) if hosts is not None else self.running()
        expected = {host.node for host in among}
        return all(
            {record.node for record in host.core.members if record.present} == expected
            and not host.core.beliefs.suspicions
            for host in among
            if host.core is not None
        )

    def believe(self, observer: Host, subject: Host) -> State | None:
        """What one holds about another."""
        record = observer.core.get(subject.node) if observer.core else None
        return record.state if record else None
