"""Thousands of nodes: how long all take to join, how fast news travels, what comparing tables costs.

    python -m bench.membership.scale

The 10 000 nodes hold 10 000 records each: about 8 GB of memory, and some minutes of one core; where that is not free, 2 000
must do, and the row says so. Processor time is not part of
what is simulated: it says what the protocol needs, not what a busy machine makes of it.
"""

import os
import sys
from collections.abc import Iterator

from bench.membership.report import Result, run
from penstock.membership import codec
from penstock.membership.effects import Describe, Join
from penstock.membership.members import Change
from penstock.membership.messages import StreamMessage
from penstock.membership.simulator.world import Host, World

MANY, MANY_BYTES, FEWER = 10_000, 9e9, 2_000  # as many as memory allows
LENGTH_BYTES = 4  # before each message of a stream


def joining(count: int) -> float:
    """Seconds until all nodes that start at once and know one seed know each other."""
    world = World(1)
    hosts = world.add(count)
    for host in hosts:
        world.start(host)
    for host in hosts[1:]:
        world.command(host, Join((hosts[0].address,)))

    def complete() -> bool:
        return all(host.core is not None and host.core.node.members.count == count for host in hosts)

    if not world.run(120, until=complete):
        raise RuntimeError(f"{count} nodes did not find each other within two minutes")
    return world.now


def spread(world: World, hosts: list[Host]) -> float:
    """Seconds until an update of the first is known to 99.99 % of all."""
    left = len(hosts) - 1
    allowed = int(len(hosts) * 0.0001)
    known: list[float] = []

    def see(now: float, host: Host, change: Change) -> None:
        nonlocal left
        if change.after is not None and change.after.node == hosts[0].node and host is not hosts[0]:
            left -= 1
            if left == allowed:
                known.append(now)

    world.observers.append(see)
    began = world.now
    world.command(hosts[0], Describe(data=b"load=1"))
    if not world.run(60, until=lambda: bool(known)):
        raise RuntimeError(f"{left} nodes still lack the update after a minute")
    world.observers.remove(see)
    return known[0] - began


def comparing(world: World, seconds: float) -> float:
    """Bytes per node and second that comparisons of tables take, sent and received, without TCP's own."""
    size = 0

    def see(_: Host, message: StreamMessage) -> None:
        nonlocal size
        size += len(codec.encode_frame(message)) + codec.SEAL_BYTES + LENGTH_BYTES

    world.counted_frame = see
    world.run(seconds)
    world.counted_frame = None
    return 2 * size / seconds / len(world.hosts)


def affordable() -> int:
    """How many nodes this machine's free memory can hold."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return MANY if free > MANY_BYTES else FEWER


def rows(few: int = 1_000, many: int | None = None, joiners: int = 2_000) -> Iterator[Result]:
    """Against Serf's model of itself, and what the authors of Rapid measured of memberlist."""
    many = many or affordable()
    took = joining(joiners)
    yield Result(
        f"{joiners} nodes joining at once, simulated",
        "95 s (Rapid paper, 2 000)",
        "≤ 20 s",
        f"{took:.1f} s",
        took <= 20,
    )
    slowest = 0.0
    for seed in range(3):
        world = World(seed)
        hosts = world.converged(few)
        world.run(0.5)
        slowest = max(slowest, spread(world, hosts))
    yield Result(
        f"an update known to 99.99 % of {few} nodes (slowest of 3)",
        "2.2 s (1 000, Serf's model)",
        "≤ 2.2 s",
        f"{slowest:.2f} s",
        slowest <= 2.2,
    )
    world = World(1)
    hosts = world.converged(many)
    world.run(0.5)
    took = spread(world, hosts)
    yield Result(
        f"an update known to 99.99 % of {many} nodes",
        "2.6 s (10 000, Serf's model)",
        "≤ 2.8 s",
        f"{took:.2f} s",
        took <= 2.8,
    )
    world.run(35)  # the pause between comparisons has grown to what it stays at
    rate = comparing(world, world.config.sync_interval)
    yield Result(
        f"anti-entropy when converged, {many} nodes, per node sent and received",
        "about 5.1 KB/s (10 000, arithmetic)",
        "≤ 0.2 KB/s",
        f"{rate / 1000:.3f} KB/s, without TCP's own bytes",
        rate <= 200,
    )


if __name__ == "__main__":
    sys.exit(run(rows()))
