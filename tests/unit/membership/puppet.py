"""One core on strings: a test says what arrives and sees what the core wants done."""

import random
from typing import TypeVar

import msgspec

from penstock.membership.config import ProtocolConfig
from penstock.membership.core import Core
from penstock.membership.effects import (
    Effect,
    Input,
    Notify,
    OpenStream,
    PacketArrived,
    SendPacket,
    SendStream,
    SetTimer,
    Start,
    StreamArrived,
    TimerFired,
)
from penstock.membership.members import Address, Contact, Metadata, NodeId, Record
from penstock.membership.messages import News, PacketMessage, StreamMessage
from penstock.membership.node import Identity
from penstock.membership.precedence import Order, State

FIRST = Order(1, 0)
E = TypeVar("E")
M = TypeVar("M")


def node_id(number: int) -> NodeId:
    """Id of member ``number``."""
    return number.to_bytes(16)


def address(number: int) -> Address:
    """Address of member ``number``."""
    return Address(f"10.0.{number >> 8}.{number & 255}", 7946)


def record(number: int, *, order: Order = FIRST, state: State = State.ALIVE, data: bytes = b"") -> Record:
    """Record of member ``number``."""
    return Record(
        node_id(number),
        order,
        state,
        Contact(order, f"n{number}", address(number)),
        Metadata(order, data),
        0.0,
    )


def news(
    number: int,
    state: State = State.ALIVE,
    order: tuple[int, int] = (1, 0),
    *,
    by: int | None = None,
    at: Address | None = None,
    data: bytes | None = b"",
) -> News:
    """What is said of member ``number``; alive by itself, anything else by member 1 unless told."""
    if state is State.ALIVE:
        host, port = at or address(number)
        return News(node_id(number), *order, state, node_id(number), f"n{number}", host, port, data)
    return News(node_id(number), *order, state, node_id(by if by is not None else 1))


class Puppet:
    """Node 0, which knows members 1 to ``others``."""

    def __init__(
        self,
        others: int = 0,
        config: ProtocolConfig | None = None,
        *,
        identity: int = 0,
        seed: int = 1,
        start: bool = True,
    ) -> None:
        self.now = 0.0
        self.config = config or ProtocolConfig()
        self.core = Core(
            self.config,
            Identity(node_id(identity), f"n{identity}", address(identity), 1),
            random.Random(seed),
            [record(number) for number in range(1, others + 1)],
        )
        self.effects: list[Effect] = []
        self.timers: list[SetTimer] = []
        if start:
            self.do(Start())
            self.clear()

    def do(self, given: Input) -> list[Effect]:
        """Hands over one input."""
        done = self.core.handle(self.now, given)
        self.effects += done
        self.timers += [effect for effect in done if isinstance(effect, SetTimer)]
        return done

    def hear(self, *messages: PacketMessage, sender: int = 1) -> list[Effect]:
        """A packet from member ``sender``."""
        return self.do(PacketArrived(address(sender), node_id(sender), messages))

    def stream(self, message: StreamMessage, stream: int = -1) -> list[Effect]:
        """One message on a stream."""
        return self.do(StreamArrived(stream, message))

    def pass_time(self, seconds: float, *, late: float = 0.0) -> None:
        """Fires the timers of the next ``seconds`` in order; each ``late``."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at + late <= end]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at + late)
            self.do(TimerFired(timer.at, timer.timer))
        self.now = end

    def sleep(self, seconds: float) -> None:
        """The process does not run; then the timers that are due fire all at once."""
        self.now += seconds
        due = sorted((timer for timer in self.timers if timer.at <= self.now), key=lambda timer: timer.at)
        for timer in due:
            self.timers.remove(timer)
            self.do(TimerFired(timer.at, timer.timer))

    def bury(self, number: int, state: State = State.DEAD) -> None:
        """Member ``number`` is dead, from now."""
        self.core.node.adopt([msgspec.structs.replace(record(number, state=state), since=self.now)])

    def clear(self) -> None:
        """Forgets the effects so far."""
        self.effects.clear()

    def of(self, kind: type[E]) -> list[E]:
        """Effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def sent(self, kind: type[M], to: Address | None = None) -> list[M]:
        """Messages of one kind in the packets sent since the last :meth:`clear`."""
        return [
            message
            for packet in self.of(SendPacket)
            for message in packet.messages
            if isinstance(message, kind) and (to is None or packet.to == to)
        ]

    def own_news(self) -> list[News]:
        """What this node said about itself."""
        return [said for said in self.sent(News) if said.node == self.core.me.node]

    def answers(self, kind: type[M]) -> list[M]:
        """Messages of one kind sent on streams."""
        return [effect.message for effect in self.of(SendStream) if isinstance(effect.message, kind)]

    def opened(self) -> list[OpenStream]:
        """Streams opened."""
        return self.of(OpenStream)

    def changes(self) -> list[tuple[int, State | None, State]]:
        """Member, state before, state after."""
        return [
            (
                int.from_bytes(change.after.node),
                change.before.state if change.before else None,
                change.after.state,
            )
            for notify in self.of(Notify)
            if (change := notify.change).after is not None
        ]

    def state(self, number: int) -> State | None:
        """What is believed about a member."""
        held = self.core.get(node_id(number))
        return held.state if held else None

    def order(self, number: int) -> Order | None:
        """The order held about a member."""
        held = self.core.get(node_id(number))
        return held.order if held else None

    def probed(self) -> tuple[int, int]:
        """Lets time pass until a probe goes out: (sequence, target)."""
        from penstock.membership.messages import Ping

        self.clear()
        while not self.sent(Ping):
            self.pass_time(0.1)
        ping = self.sent(Ping)[0]
        return ping.sequence, int.from_bytes(ping.target)
