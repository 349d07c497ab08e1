"""Anything may happen to a small cluster in any order; afterwards, left alone, it is whole."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.membership import codec
from penstock.membership.config import METADATA_LIMIT, PACKET_LIMIT
from penstock.membership.effects import Describe, Join, Leave, SendPacket
from penstock.membership.members import Change, NodeId, Record
from penstock.membership.precedence import Order, State
from penstock.membership.simulator.world import Host, World

NODES = 5
numbers = st.integers(0, NODES - 1)


class Cluster(RuleBasedStateMachine):
    """Five machines and everything that can befall them."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        """All run and know each other."""
        self.world = World(seed)
        self.hosts = self.world.converged(NODES)
        self.orders: dict[tuple[int, int, NodeId], Order] = {}
        self.replayed: dict[tuple[int, int], dict[NodeId, Record]] = {}
        self.stated: dict[NodeId, Order] = {host.node: Order(1, 0) for host in self.hosts}
        self.world.observers.append(self.see)
        self.world.counted_packet = self.measure

    def see(self, now: float, host: Host, change: Change) -> None:
        """Orders never fall, the dead return only on their own word, and the changes replay to the table."""
        before, after = change.before, change.after
        assert after is not None
        if before is not None:
            assert after.order >= before.order
            assert after.contact.order >= before.contact.order
            if not before.present and after.present:
                assert after.order > before.order
        if after.node == host.node:
            self.stated[host.node] = max(after.order, self.stated.get(host.node, after.order))
        elif after.node in self.stated:
            assert after.order <= self.stated[after.node]
        table = self.replayed.setdefault((host.number, host.life), {})
        if before is not None:
            table.setdefault(after.node, before)
            assert table[after.node] is before
        table[after.node] = after

    def measure(self, host: Host, packet: SendPacket) -> None:
        """Packets stay within the limit."""
        assert len(codec.encode_packet(packet.messages)) + codec.SEAL_BYTES <= PACKET_LIMIT

    @rule(number=numbers)
    def crash(self, number: int) -> None:
        """A process ends without a word."""
        self.world.crash(self.hosts[number])

    @rule(number=numbers)
    def start(self, number: int) -> None:
        """A process starts from its disk."""
        host = self.hosts[number]
        if host.core is None:
            self.stated[host.node] = max(self.stated.get(host.node, Order(0, 0)), Order(host.epoch + 1, 0))
            self.world.start(host)

    @rule(number=numbers)
    def leave(self, number: int) -> None:
        """A node leaves on purpose."""
        self.world.command(self.hosts[number], Leave())

    @rule(number=numbers, other=numbers)
    def join(self, number: int, other: int) -> None:
        """A node meets another."""
        self.world.command(self.hosts[number], Join((self.hosts[other].address,)))

    @rule(number=numbers, size=st.integers(0, METADATA_LIMIT))
    def describe(self, number: int, size: int) -> None:
        """A node states new metadata."""
        host = self.hosts[number]
        if host.core is not None and host.core.me.state is not State.LEFT:
            self.world.command(host, Describe(data=bytes(size)))

    @rule(side=st.sets(numbers, max_size=NODES - 1))
    def partition(self, side: set[int]) -> None:
        """The network is cut in two, or healed."""
        self.world.network.partition(self.hosts[number].address for number in side)

    @rule(number=numbers, kind=st.sampled_from(["deaf", "mute"]))
    def cut(self, number: int, kind: str) -> None:
        """A node's link works one way only."""
        getattr(self.world.network, kind).add(self.hosts[number].address)

    @rule(number=numbers, seconds=st.floats(0.1, 30))
    def block(self, number: int, seconds: float) -> None:
        """A process stands still."""
        self.world.block(self.hosts[number], seconds)

    @rule(share=st.sampled_from([0.0, 0.1, 0.4]))
    def lose(self, share: float) -> None:
        """The network loses packets."""
        self.world.network.loss = share

    @rule(seconds=st.floats(0.01, 40))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.run(seconds)

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def queues_are_bounded(self) -> None:
        """No queue outgrows the table."""
        for host in self.world.running():
            assert host.core is not None
            assert host.core.queued <= NODES

    def teardown(self) -> None:
        """Once all is well again and everybody runs, all agree: no manual step but starting what was stopped."""
        if not hasattr(self, "world"):
            return
        network = self.world.network
        network.heal()
        network.loss = 0.0
        network.deaf.clear()
        network.mute.clear()
        for host in self.hosts:
            if host.core is not None and host.core.me.state is State.LEFT:
                self.world.command(host, Join((self.hosts[host.number - 1].address,)))
            if host.core is None:
                self.start(host.number)
        assert self.world.run(180, until=self.world.agree)
        for host in self.world.running():
            assert host.core is not None
            held = {record.node: record for record in host.core.members}
            for node, record in self.replayed.get((host.number, host.life), {}).items():
                assert held[node] is record


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
