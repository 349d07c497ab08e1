"""Coming back after others declared this node dead: it first makes sure that it can be heard.

A node whose link loses most packets, or carries them one way only, would otherwise die and return without end. Meanwhile it
states nothing about itself. This file knows nothing of why it was declared dead.
"""

import math
from collections.abc import Callable
from itertools import cycle, islice

from penstock.membership.effects import ReturnDue
from penstock.membership.members import NodeId, Speaker
from penstock.membership.messages import Ping
from penstock.membership.node import Node
from penstock.membership.precedence import Order

ANSWERING_SHARE = (
    0.6  # a link that loses 30 % each way passes every second time, one that loses 80 % one time in 1 600
)


class Returning:
    """Between hearing of one's own death and objecting to it."""

    def __init__(self, node: Node, restate: Callable[[Order], None]) -> None:
        """``restate`` is called with the order to object to, once this node is heard."""
        self._node = node
        self._restate = restate
        self._above: Order | None = None
        self._teller: Speaker | None = None
        self._attempt = 0
        self._testing = False
        self._asked: dict[int, NodeId] = {}
        self._needed = 0

    @property
    def active(self) -> bool:
        """True while this node does not know whether it is heard."""
        return self._above is not None

    def challenge(self, order: Order, teller: Speaker | None) -> None:
        """Others hold this node for dead or departed, or suspect it again and again, at ``order``; ``teller`` says so."""
        self._teller = teller or self._teller
        if self._above is not None:
            self._above = max(self._above, order)
        elif (
            self._node.me.order <= order or self._node.id not in self._node.gossip
        ):  # else it is objecting just now
            self._above = order
            self._attempt = 0
            self._node.gossip.drop(self._node.id)
            self._test()

    def acked(self, sender: NodeId, sequence: int) -> bool:
        """One of those asked answers."""
        if self._asked.get(sequence) != sender:
            return False
        del self._asked[sequence]
        self._needed -= 1
        if self._needed <= 0:
            self._return()
        return True

    def due(self, attempt: int) -> None:
        """Either the answers are overdue, or it is time for another attempt."""
        if self._above is None or attempt != self._attempt:
            return
        if not self._testing:
            self._test()
            return
        self._testing = False
        config = self._node.config
        pause = min(config.probe_interval * 2.0 ** min(attempt, 20), config.return_backoff)
        self._attempt += 1
        self._node.timer(self._node.now + pause, ReturnDue(self._attempt))

    def reset(self) -> None:
        """This node leaves: nothing is to be objected to."""
        self._above = None
        self._asked.clear()

    def _test(self) -> None:
        node = self._node
        targets = self._targets()
        if not targets:
            self._return()
            return
        self._testing = True
        self._asked.clear()
        self._needed = math.ceil(ANSWERING_SHARE * node.config.return_probes)
        node.timer(node.now + node.config.probe_timeout, ReturnDue(self._attempt))
        for target in islice(cycle(targets), node.config.return_probes):
            sequence = node.next_sequence()
            self._asked[sequence] = target.node
            node.send(target.address, Ping(sequence, target.node), node=target.node)

    def _targets(self) -> list[Speaker]:
        """Members to probe, each several times where they are few; whoever told of the death, where none is left.

        A bad link makes a node believe most others dead: one lucky answer of the few that are left must not do.
        """
        found = self._node.members.sample(self._node.config.return_probes)
        teller = [self._teller] if self._teller else []
        return [Speaker(record.node, record.address) for record in found] or teller

    def _return(self) -> None:
        above = self._above
        self.reset()
        if above is not None:
            self._restate(above)
