"""What the behaviours of one node share: its own record, the table, the queue of news, and the effects collected so far.

Changing the table happens here alone (:meth:`Node.replace`), so that digest, probe order and notifications follow each
change. What a statement means is decided in ``beliefs``; this file must not decide.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from penstock.membership import codec
from penstock.membership.config import ProtocolConfig
from penstock.membership.digest import TableDigest
from penstock.membership.effects import Effect, GossipDue, Notify, SendPacket, SetTimer, StreamId, Timer
from penstock.membership.gossip import GossipQueue
from penstock.membership.health import LocalHealth
from penstock.membership.members import Address, Change, Contact, Members, Metadata, NodeId, Record
from penstock.membership.messages import News, PacketMessage
from penstock.membership.precedence import Order, State


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is when it starts. ``epoch`` is greater than that of every earlier start, and already on disk."""

    node: NodeId
    name: str
    address: Address
    epoch: int
    data: bytes = b""


class Node:
    """The common ground; one per core."""

    def __init__(
        self, config: ProtocolConfig, identity: Identity, rng: random.Random, known: Iterable[Record] = ()
    ) -> None:
        self.config = config
        self.rng = rng
        self.now = 0.0
        self.effects: list[Effect] = []
        self.id = identity.node
        self.members = Members(rng, identity.node)
        self.digest = TableDigest()
        self.gossip = GossipQueue(config.gossip_factor)
        self.health = LocalHealth(config.health_limit)
        self._sequence = rng.getrandbits(31)  # a stranger cannot guess what would count as an answer
        self._streams = 0
        self._gossip_armed = False
        self.adopt(known)
        order = Order(identity.epoch, 0)
        self._hold(
            None,
            Record(
                identity.node,
                order,
                State.ALIVE,
                Contact(order, identity.name, identity.address),
                Metadata(order, identity.data),
                0.0,
            ),
        )

    @property
    def me(self) -> Record:
        """This node's own record."""
        record = self.members.get(self.id)
        if record is None:  # it is put there first and never forgotten
            raise RuntimeError("a node without its own record")
        return record

    def adopt(self, records: Iterable[Record]) -> None:
        """Takes over a table as it is, without a word: how a run begins that continues an earlier one."""
        for record in records:
            if record.node != self.id:
                self._hold(self.members.get(record.node), record)

    def agree_with(self, other: "Node") -> None:
        """Takes over the whole table of another node that knows this one."""
        self.members = other.members.for_another(self.id, self.rng)
        self.digest = other.digest.copy()

    def adopt_clock(self) -> None:
        """This node is alive since now."""
        self._hold(self.me, msgspec.structs.replace(self.me, since=self.now))

    # -- the table

    def replace(self, before: Record | None, after: Record, by: NodeId, reason: str) -> None:
        """Holds ``after`` instead of ``before`` and says so."""
        self._hold(before, after)
        self.effects.append(Notify(Change(before, after, by, reason)))

    def forget(self, record: Record) -> None:
        """Drops a record whose time of retention is over."""
        self.members.forget(record.node)
        self.digest.replace(record.node, record, None)
        self.gossip.drop(record.node)
        self.effects.append(Notify(Change(record, None, self.id, "retention is over")))

    def _hold(self, before: Record | None, after: Record) -> None:
        self.members.put(after)
        self.digest.replace(after.node, before, after)

    # -- news

    def tell(self, record: Record, by: NodeId) -> None:
        """Queues news of a record for everybody."""
        self.gossip.add(news_of(record, by))
        self.arm_gossip()

    def arm_gossip(self) -> None:
        """Makes sure that gossip goes on: at a random moment of the next interval, so that nodes do not march in step."""
        if not self._gossip_armed:
            self._gossip_armed = True
            self.timer(self.now + self.config.gossip_interval * self.rng.random(), GossipDue())

    def gossip_again(self) -> None:
        """The timer of gossip has fired; while there is news it is set again."""
        self._gossip_armed = len(self.gossip) > 0
        if self._gossip_armed:
            self.timer(self.now + self.config.gossip_interval, GossipDue())

    # -- effects

    def timer(self, at: float, timer: Timer) -> None:
        """Asks to be woken."""
        self.effects.append(SetTimer(at, timer))

    def send(self, to: Address, *messages: PacketMessage, node: NodeId | None = None) -> None:
        """Sends a packet, filled up with news.

        Where ``node``, to whom it goes, is not believed alive, the belief comes with it: nobody can object sooner.
        """
        packet = list(messages)
        if node is not None and self.config.tell_suspects:
            held = self.members.get(node)
            if held is not None and held.state is not State.ALIVE:
                packet.append(news_of(held, self.id))
        if self.me.state is State.LEFT:
            packet.append(news_of(self.me, self.id))
        if len(self.gossip):
            room = codec.ROOM - sum(map(codec.size, packet))
            packet += self.gossip.take(room, self.members.count, without=node)
        self.effects.append(SendPacket(to, tuple(packet)))

    def next_sequence(self) -> int:
        """A number that pairs an answer with its question."""
        self._sequence = (self._sequence + 1) % 2**32
        return self._sequence

    def next_stream(self) -> StreamId:
        """A name for a stream that this node opens."""
        self._streams += 1
        return self._streams


def news_of(record: Record, by: NodeId) -> News:
    """A record as news. Only an alive one tells contact and metadata, and only those stated at its own order."""
    news = News(record.node, record.order.epoch, record.order.incarnation, record.state, by)
    if record.state is not State.ALIVE or record.contact.order != record.order:
        return news
    contact = record.contact
    short = News(*_head(news), contact.name, contact.address.host, contact.address.port)
    if record.metadata.order != record.order:
        return short
    full = News(*_head(news), contact.name, contact.address.host, contact.address.port, record.metadata.data)
    return full if codec.fits(full) else short


def _head(news: News) -> tuple[NodeId, int, int, State, NodeId]:
    return news.node, news.epoch, news.incarnation, news.state, news.by
