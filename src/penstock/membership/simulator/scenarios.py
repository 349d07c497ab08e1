"""Stories to simulate, each a function of a world: what happens, and what must hold at its end."""

from collections.abc import Callable

from penstock.membership.effects import Describe, Join, Leave, Seeds
from penstock.membership.members import Address
from penstock.membership.simulator.timeline import Timeline
from penstock.membership.simulator.world import Host, World

Scenario = Callable[[World, int, Timeline], bool]


def join(world: World, count: int, story: Timeline) -> bool:
    """All nodes start at once and know one seed."""
    hosts = world.add(count)
    story.note(f"{count} nodes start, with {hosts[0].name} as their seed")
    for host in hosts:
        world.start(host)
    for host in hosts[1:]:
        world.command(host, Seeds((hosts[0].address,)))
    return world.run(60, until=world.agree)


def crash(world: World, count: int, story: Timeline) -> bool:
    """One node of many dies without a word."""
    hosts = world.converged(count)
    world.run(5)
    story.note(f"{hosts[1].name} is killed")
    world.crash(hosts[1])
    return world.run(60, until=world.agree)


def leave(world: World, count: int, story: Timeline) -> bool:
    """One leaves on purpose, and comes back in the same process."""
    hosts = world.converged(count)
    world.run(5)
    story.note(f"{hosts[1].name} leaves")
    world.command(hosts[1], Leave())
    others = [host for host in hosts if host is not hosts[1]]
    left = world.run(30, until=lambda: hosts[1].departed and world.agree(others))
    story.note(f"{hosts[1].name} joins again")
    world.command(hosts[1], Join((hosts[0].address,)))
    return left and world.run(30, until=world.agree)


def restart(world: World, count: int, story: Timeline) -> bool:
    """One is killed, declared dead, and started again at another address."""
    hosts = world.converged(count)
    world.run(5)
    story.note(f"{hosts[1].name} is killed")
    world.crash(hosts[1])
    dead = world.run(60, until=world.agree)
    world.move(hosts[1], Address("10.200.0.1", 7946))
    story.note(f"{hosts[1].name} starts again at another address")
    world.start(hosts[1])
    return dead and world.run(30, until=world.agree)


def partition(world: World, count: int, story: Timeline) -> bool:
    """Two halves lose sight of each other for two minutes."""
    hosts = world.converged(count)
    world.run(5)
    half = hosts[: count // 2]
    story.note(f"{len(half)} nodes are cut off from the other {count - len(half)}")
    world.network.partition(host.address for host in half)
    world.run(120)
    apart = _settled(world, half) and _settled(world, hosts[count // 2 :])
    story.note("the cut is healed")
    world.network.heal()
    return apart and world.run(60, until=world.agree)


def deaf(world: World, count: int, story: Timeline) -> bool:
    """One node can send but not receive, for two minutes."""
    hosts = world.converged(count)
    world.run(5)
    story.note(f"{hosts[1].name} receives nothing any more")
    world.network.deaf.add(hosts[1].address)
    world.run(120)
    alone = _settled(world, [host for host in hosts if host is not hosts[1]])
    story.note(f"{hosts[1].name} receives again")
    world.network.deaf.clear()
    return alone and world.run(90, until=world.agree)


def _settled(world: World, hosts: list[Host]) -> bool:
    """These agree: at once, or within some seconds, as a lost packet raises a suspicion that its subject refutes."""
    return world.agree(hosts) or world.run(30, until=lambda: world.agree(hosts))


def lossy(world: World, count: int, story: Timeline) -> bool:
    """One node in a hundred, but at least one, loses 80 % of everything, for two minutes."""
    hosts = world.converged(count)
    world.run(5)
    bad = hosts[1 : 1 + max(1, count // 100)]
    for host in bad:
        story.note(f"{host.name} loses 80 % of what it sends and receives")
        world.network.bad[host.address] = 0.8
    world.run(120)
    apart = _settled(world, [host for host in hosts if host not in bad])
    story.note("its link is good again")
    world.network.bad.clear()
    return apart and world.run(90, until=world.agree)


def blocked(world: World, count: int, story: Timeline) -> bool:
    """A tenth of the processes stand still for 20 s."""
    hosts = world.converged(count)
    world.run(5)
    for host in hosts[: max(1, count // 10)]:
        story.note(f"the process of {host.name} stands still for 20 s")
        world.block(host, 20.0)
    world.run(20)
    return world.run(60, until=world.agree)


def outage(world: World, count: int, story: Timeline) -> bool:
    """Everything loses power, and comes up in any order with nothing but what the disks hold."""
    hosts = world.converged(count)
    world.run(5)
    story.note("all nodes lose power")
    for host in hosts:
        world.crash(host)
    world.run(60)
    story.note("they come up, one after the other")
    for host in world.rng.sample(hosts, count):
        world.start(host)
        world.run(0.2)
    return world.run(60, until=world.agree)


def lost_disks(world: World, count: int, story: Timeline) -> bool:
    """A fifth of the nodes come back with empty disks, as strangers with a seed."""
    hosts = world.converged(count)
    world.run(5)
    for host in hosts[1 : 1 + max(1, count // 5)]:
        story.note(f"{host.name} is killed and loses its disk")
        world.crash(host, lose_disk=True)
        world.start(host)
        world.command(host, Join((hosts[0].address,)))
    return world.run(60, until=world.agree)


def skewed(world: World, count: int, story: Timeline) -> bool:
    """Clocks are hours apart and run up to a tenth too fast or too slow; one node dies."""
    hosts = world.add(count)
    story.note("clocks are up to an hour apart, and run up to 10 % wrong")
    for host in hosts:
        host.skew = world.rng.uniform(0, 3600)
        host.rate = world.rng.uniform(0.9, 1.1)
        world.start(host)
    for host in hosts[1:]:
        world.command(host, Seeds((hosts[0].address,)))
    together = world.run(60, until=world.agree)
    story.note(f"{hosts[1].name} is killed")
    world.crash(hosts[1])
    return together and world.run(60, until=world.agree)


def metadata(world: World, count: int, story: Timeline) -> bool:
    """One node states 4 KB of metadata, too much for a datagram."""
    hosts = world.converged(count)
    world.run(5)
    story.note(f"{hosts[1].name} states 4 KB of metadata")
    world.command(hosts[1], Describe(data=bytes(4096)))

    def known() -> bool:
        return all(
            (record := host.core.get(hosts[1].node)) is not None and len(record.metadata.data) == 4096
            for host in hosts
            if host.core is not None
        )

    return world.run(60, until=known)


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        join,
        crash,
        leave,
        restart,
        partition,
        deaf,
        lossy,
        blocked,
        outage,
        lost_disks,
        skewed,
        metadata,
    )
}
