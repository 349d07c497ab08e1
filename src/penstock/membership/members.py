"""The table of members: one immutable record each, merged by precedence, and the order in which they are probed.

It never forgets a higher order for a lower one. It knows no clock and sends nothing; what happened is returned as a
:class:`Change`, for others to act upon.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from penstock.membership.precedence import Order, State, Verdict, decide

NodeId = bytes  # 16 bytes of a UUID


class Address(NamedTuple):
    """Where a node receives datagrams and streams: the same port for both."""

    host: str
    port: int


class Speaker(NamedTuple):
    """Who says something: the member that sealed it, and where an answer reaches it."""

    node: NodeId
    address: Address


class Contact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Name and address of a member, as it stated them itself at ``order``."""

    order: Order
    name: str
    address: Address


class Metadata(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a member says about itself, opaque here, as of ``order``."""

    order: Order
    data: bytes


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Something said about a member. ``by`` accuses (or is the member itself); what the speaker left out is None."""

    node: NodeId
    order: Order
    state: State
    by: NodeId
    contact: Contact | None = None
    metadata: Metadata | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """What is held about one member. Standing, contact and metadata each carry the order at which they were stated."""

    node: NodeId
    order: Order
    state: State
    contact: Contact
    metadata: Metadata
    since: float  # when this node learned of the state, on its own clock; a state of long ago reaches it with its age

    @property
    def address(self) -> Address:
        """Where to reach it."""
        return self.contact.address

    @property
    def present(self) -> bool:
        """Alive or suspect: it is probed, gossiped to and counted."""
        return self.state <= State.SUSPECT

    def covers(self, order: tuple[int, int], state: State) -> bool:
        """True where a statement of this order and state can tell nothing new, not even another accuser.

        Most news heard is old; this says so before anything else is done with it.
        """
        if order > self.order or (order == self.order and state > self.state):
            return False
        if state is State.ALIVE:
            return order <= self.contact.order and order <= self.metadata.order
        return order < self.order or state is not State.SUSPECT or self.state is not State.SUSPECT


class Change(msgspec.Struct, frozen=True, gc=False):
    """A record replaced by another. ``before`` is None for a new member, ``after`` for a forgotten one."""

    before: Record | None
    after: Record | None
    by: NodeId
    reason: str


NOTHING = Metadata(Order(0, 0), b"")


def merge(held: Record | None, said: Claim, now: float) -> tuple[Record | None, Verdict]:
    """What is held after ``said`` was heard: the same object where nothing changed.

    A member never heard of is taken only with its contact: without one it could be neither probed nor asked.
    """
    if held is None:
        if said.contact is None:
            return None, Verdict.KEEP
        return Record(
            said.node, said.order, said.state, said.contact, said.metadata or NOTHING, now
        ), Verdict.TAKE
    verdict = decide(held.order, held.state, said.order, said.state)
    contact = said.contact if said.contact and _newer(said.contact, held.contact) else held.contact
    metadata = said.metadata if said.metadata and _newer(said.metadata, held.metadata) else held.metadata
    if verdict is Verdict.TAKE:
        since = held.since if said.state == held.state else now
        return Record(held.node, said.order, said.state, contact, metadata, since), verdict
    if contact is not held.contact or metadata is not held.metadata:
        return Record(held.node, held.order, held.state, contact, metadata, held.since), verdict
    return held, verdict


def _newer(said: Contact | Metadata, held: Contact | Metadata) -> bool:
    # Two processes with one id can state different things at one order; the greater content wins, so that all agree.
    if said.order != held.order:
        return said.order > held.order
    return msgspec.structs.astuple(said) > msgspec.structs.astuple(held)


class Members:
    """All records, and who of them is present."""

    def __init__(self, rng: random.Random, me: NodeId) -> None:
        self._rng = rng
        self._me = me
        self._records: dict[NodeId, Record] = {}
        self._present: list[NodeId] = []  # without this node; swap-removal keeps sampling O(1)
        self._place: dict[NodeId, int] = {}
        self._absent: dict[NodeId, None] = {}  # a set in order of arrival, so that runs repeat
        self._round: list[NodeId] = []

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def get(self, node: NodeId) -> Record | None:
        """The record of a member, if it is known."""
        return self._records.get(node)

    @property
    def count(self) -> int:
        """N of the formulas: present members, this node included."""
        return len(self._present) + 1

    @property
    def absent(self) -> list[NodeId]:
        """Dead and departed members."""
        return list(self._absent)

    def put(self, record: Record) -> None:
        """Holds ``record`` from now on."""
        node = record.node
        self._records[node] = record
        if node == self._me:
            return
        if record.present:
            self._absent.pop(node, None)
            if node not in self._place:
                self._place[node] = len(self._present)
                self._present.append(node)
                # A newcomer takes a random place in the current round: the first probe of it waits at most one round.
                self._round.insert(self._rng.randint(0, len(self._round)), node)
        else:
            self._absent[node] = None
            self._remove(node)

    def for_another(self, me: NodeId, rng: random.Random) -> "Members":
        """The same table as its member ``me`` holds it: for many nodes that agree, much quicker than to put each record."""
        copy = Members(rng, me)
        copy._records = self._records.copy()
        copy._absent = self._absent.copy()
        copy._present = [self._me if node == me else node for node in self._present]
        copy._place = self._place.copy()
        copy._place[self._me] = copy._place.pop(me)
        return copy

    def forget(self, node: NodeId) -> None:
        """Drops a member whose time of retention is over."""
        self._records.pop(node, None)
        self._absent.pop(node, None)
        self._remove(node)

    def _remove(self, node: NodeId) -> None:
        place = self._place.pop(node, None)
        if place is not None:
            last = self._present.pop()
            if last != node:
                self._present[place] = last
                self._place[last] = place

    def next_to_probe(self) -> Record | None:
        """Shuffled round-robin: every present member once, in random order, before any comes again.

        So the time to the first probe of a dead member is bounded by one round (SWIM, section 4.3).
        """
        for _ in range(2):
            while self._round:
                node = self._round.pop()
                if node in self._place:
                    return self._records[node]
            self._round = self._present.copy()
            self._rng.shuffle(self._round)
        return None

    def sample(
        self,
        count: int,
        *,
        without: Iterable[NodeId] = (),
        where: Callable[[Record], bool] | None = None,
    ) -> list[Record]:
        """Up to ``count`` different present members, uniformly; some may be missed where ``where`` refuses many."""
        excluded = set(without)
        if len(self._present) <= 3 * count + len(excluded):
            found = [
                self._records[node]
                for node in self._present
                if node not in excluded and (where is None or where(self._records[node]))
            ]
            return found if len(found) <= count else self._rng.sample(found, count)
        chosen: list[Record] = []
        for _ in range(3 * count):
            if len(chosen) == count:
                break
            record = self._records[self._present[int(self._rng.random() * len(self._present))]]
            if record.node not in excluded and (where is None or where(record)):
                excluded.add(record.node)
                chosen.append(record)
        return chosen
