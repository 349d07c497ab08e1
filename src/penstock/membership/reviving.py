"""Slow retry of the dead and of seeds nobody answers for: what heals a cluster after a partition or a total outage.

All members together make about one attempt per target and ``revive_interval``; a node that is alone makes one a second.
"""

from collections import OrderedDict

from penstock.membership.effects import ReviveDue
from penstock.membership.members import Address, NodeId, Record
from penstock.membership.messages import Ping
from penstock.membership.node import Node
from penstock.membership.precedence import State
from penstock.membership.sync import Synchroniser

ASKED_LIMIT = 64  # attempts whose answers are waited for
TICKS = 6  # considerations per interval: the bound on an attempt's lateness is a sixth of it
ALONE = 1.0  # seconds between attempts of a node that has nobody


class Reviver:
    """Tries the absent."""

    def __init__(self, node: Node, synchroniser: Synchroniser) -> None:
        self._node = node
        self._synchroniser = synchroniser
        self._next = float("-inf")
        self._credit = (
            node.rng.random()
        )  # attempts owed; a random start spreads those of different nodes over time
        self._asked: OrderedDict[int, tuple[NodeId, Address]] = OrderedDict()
        self.seeds: tuple[Address, ...] = ()

    def start(self) -> None:
        """Schedules the first consideration."""
        self._schedule()

    def due(self) -> None:
        """Forgets those whose time is over; tries as many of the others as are owed."""
        node = self._node
        config = node.config
        if node.now < self._next:  # a timer from before this node left and came back
            return
        for absent in node.members.absent:
            record = node.members.get(absent)
            if record is not None and node.now - record.since > config.retention:
                node.forget(record)
        targets = self._targets()
        if node.members.count == 1:
            self._credit = 1.0
        else:
            self._credit += len(targets) / (node.members.count * TICKS)
        attempts = min(int(self._credit), len(targets))
        self._credit -= int(self._credit)
        for target in node.rng.sample(targets, attempts):
            self._try(target)
        self._schedule()

    def acked(self, sender: NodeId, sequence: int) -> bool:
        """One of the dead answers: it learns what is said of it from the probe; the tables are compared besides."""
        asked = self._asked.get(sequence)
        if asked is None or asked[0] != sender:
            return False
        del self._asked[sequence]
        if not self._synchroniser.silent:
            self._synchroniser.open(asked[1])
        return True

    def _targets(self) -> list[Record | Address]:
        node = self._node
        dead = [
            record
            for absent in node.members.absent
            if (record := node.members.get(absent)) and record.state is State.DEAD
        ]
        return [*dead, *self.unanswered_seeds()]

    def unanswered_seeds(self) -> list[Address]:
        """Seeds that are no present member's address."""
        if not self.seeds:
            return []
        answered = {record.address for record in self._node.members if record.present}
        return [seed for seed in self.seeds if seed not in answered]

    def _try(self, target: Record | Address) -> None:
        node = self._node
        if isinstance(target, Address):
            self._synchroniser.open(target)
            return
        sequence = node.next_sequence()
        self._asked[sequence] = (target.node, target.address)
        if len(self._asked) > ASKED_LIMIT:
            self._asked.popitem(last=False)
        node.send(target.address, Ping(sequence, target.node), node=target.node)

    def _schedule(self) -> None:
        alone = self._node.members.count == 1
        pause = ALONE if alone else self._node.config.revive_interval / TICKS
        self._next = self._node.now + pause * (0.75 + self._node.rng.random() / 2)
        self._node.timer(self._next, ReviveDue())
