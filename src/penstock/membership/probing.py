"""The probe loop: one member per interval, directly, then through others and over a stream at once (SWIM, Lifeguard).

It decides that a member did not answer, and nothing more: what follows is a belief. Relays answer for members they hear,
and say in time that they do not, so that silence of a relay is known from silence of the target.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from penstock.membership.beliefs import Beliefs
from penstock.membership.effects import DirectTimeout, OpenStream, ProbeDue, RelayDue, Remark, StreamId
from penstock.membership.members import Address, NodeId
from penstock.membership.messages import Ack, Nack, Ping, Relay
from penstock.membership.node import Node
from penstock.membership.precedence import Order, State

RELAYED_LIMIT = (
    256  # probes on behalf of others that are remembered: far more than the answers that can be under way
)


@dataclass(slots=True)
class Probe:
    """The probe that runs."""

    sequence: int
    target: NodeId
    order: Order
    began: float
    ends: float
    answered: bool = False
    asked: set[NodeId] = field(default_factory=set)  # relays
    silent: set[NodeId] = field(default_factory=set)  # relays that have said nothing yet
    stream: StreamId | None = None


class Prober:
    """Probes others, and relays probes for others."""

    def __init__(self, node: Node, beliefs: Beliefs) -> None:
        self._node = node
        self._beliefs = beliefs
        self._probe: Probe | None = None
        self._next = float("-inf")
        self._relayed: OrderedDict[int, tuple[Address, NodeId, int, NodeId]] = OrderedDict()
        self.round_trip: float | None = None  # of the last direct answer, seconds

    def due(self) -> None:
        """Judges the probe that ends now and begins the next."""
        node = self._node
        if node.now < self._next:  # a timer from before this node left and came back
            return
        self._conclude()
        ends = node.now + node.health.scale(node.config.probe_interval)
        self._next = ends
        node.timer(ends, ProbeDue())
        target = node.members.next_to_probe()
        if target is None:
            return
        probe = self._probe = Probe(node.next_sequence(), target.node, target.order, node.now, ends)
        node.timer(node.now + node.health.scale(node.config.probe_timeout), DirectTimeout(probe.sequence))
        node.send(target.address, Ping(probe.sequence, target.node), node=target.node)

    def direct_timeout(self, sequence: int) -> None:
        """No direct answer in time: ask others, and try a stream, together."""
        node, probe = self._node, self._probe
        if probe is None or probe.sequence != sequence or probe.answered:
            return
        target = node.members.get(probe.target)
        if target is None or not target.present:
            return
        left = max(0, int((probe.ends - node.now) * 1000))
        host, port = target.address
        for relay in node.members.sample(
            node.config.relays, without={target.node}, where=lambda record: record.state is State.ALIVE
        ):
            probe.asked.add(relay.node)
            node.send(
                relay.address, Relay(sequence, target.node, host, port, min(left, 600_000)), node=relay.node
            )
        probe.silent = set(probe.asked)
        probe.stream = node.next_stream()
        node.effects.append(OpenStream(probe.stream, target.address, Ping(sequence, target.node)))

    def ping(self, source: Address, sender: NodeId, ping: Ping) -> None:
        """Answers a probe of this node; one for somebody who had this address before is not answered."""
        if ping.target == self._node.id:
            self._node.send(source, Ack(ping.sequence), node=sender)

    def relay(self, source: Address, sender: NodeId, asked: Relay) -> None:
        """Probes on behalf of ``sender``."""
        node = self._node
        sequence = node.next_sequence()
        self._relayed[sequence] = (source, sender, asked.sequence, asked.target)
        if len(self._relayed) > RELAYED_LIMIT:
            self._relayed.popitem(last=False)
        node.timer(node.now + asked.left / 1000 * node.config.nack_share, RelayDue(sequence))
        node.send(Address(asked.host, asked.port), Ping(sequence, asked.target), node=asked.target)

    def relay_due(self, sequence: int) -> None:
        """Nothing heard on behalf of another: say that at least this node is well."""
        if sequence in self._relayed:
            source, sender, theirs, _ = self._relayed[sequence]
            self._node.send(source, Nack(theirs), node=sender)

    def ack(self, sender: NodeId, sequence: int) -> bool:
        """An answer to a probe of this node's own, or to one on behalf of another."""
        if relayed := self._relayed.get(sequence):
            source, origin, theirs, target = relayed
            if sender == target:
                del self._relayed[sequence]
                self._node.send(source, Ack(theirs), node=origin)
            return True
        probe = self._probe
        if probe is None or probe.sequence != sequence:
            return False
        if sender == probe.target or sender in probe.asked:
            if sender == probe.target:
                self.round_trip = self._node.now - probe.began
            self._answered(probe)
        return True

    def nack(self, sender: NodeId, sequence: int) -> None:
        """A relay is well but does not hear the target."""
        if self._probe is not None and self._probe.sequence == sequence:
            self._probe.silent.discard(sender)

    def stream_ack(self, stream: StreamId) -> None:
        """The target answered over a stream."""
        probe = self._probe
        if probe is not None and probe.stream == stream and not probe.answered:
            self._node.effects.append(
                Remark("datagrams_lost", probe.target, "answers over a stream, not by datagrams")
            )
            self._answered(probe)

    def _answered(self, probe: Probe) -> None:
        if not probe.answered:
            probe.answered = True
            self._node.health.adjust(-1)

    def _conclude(self) -> None:
        probe, self._probe = self._probe, None
        if probe is None or probe.answered:
            return
        # A relay that says in time "I do not hear it either" clears this node; one that is silent is evidence against it.
        self._node.health.adjust(len(probe.silent) if probe.asked else 1)
        relays = (
            f"{len(probe.asked) - len(probe.silent)} of {len(probe.asked)} relays answered for themselves"
        )
        self._beliefs.accuse(probe.target, probe.order, f"no answer to a probe; {relays}")
