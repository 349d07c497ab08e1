"""What heals by itself, and what bad links do: partitions, restarts, lossy and one-way links.

python -m bench.membership.failures
"""

import sys
from collections import Counter
from collections.abc import Iterator

from bench.membership.report import Result, run
from penstock.membership.members import Change
from penstock.membership.simulator.world import Host, World

BAD_LINKS = ("lossy", "deaf", "mute")


def healing(seed: int, count: int) -> tuple[float, float]:
    """Seconds until all agree again: after two halves were apart for two minutes, and after one node was restarted."""
    world = World(seed)
    hosts = world.converged(count)
    world.run(3)
    world.network.partition(host.address for host in hosts[: count // 2])
    world.run(120)
    world.network.heal()
    healed = _until_agreed(world)
    world.crash(hosts[1])
    world.run(30)
    world.start(hosts[1])
    return healed, _until_agreed(world)


def _until_agreed(world: World) -> float:
    began = world.now
    if not world.run(300, until=world.agree):
        raise RuntimeError("no agreement within five minutes")
    return world.now - began


def bad_link(kind: str, seed: int, count: int) -> tuple[int, int]:
    """The link of one node loses 80 %, or works one way only, for five minutes.

    How often, at most, an observer changed its mind about that node, and how many others were ever removed by anybody but it.
    """
    world = World(seed)
    hosts = world.converged(count)
    world.run(3)
    bad = hosts[7]
    if kind == "lossy":
        world.network.bad[bad.address] = 0.8
    else:
        getattr(world.network, kind).add(bad.address)
    transitions: Counter[tuple[int, str]] = Counter()

    def see(_: float, host: Host, change: Change) -> None:
        before, after = change.before, change.after
        if host is not bad and before is not None and after is not None and before.present != after.present:
            transitions[host.number, after.contact.name] += 1

    world.observers.append(see)
    world.run(300)
    most = max((times for (_, name), times in transitions.items() if name == bad.name), default=0)
    return most, len({name for _, name in transitions if name != bad.name})


def rows(count: int = 60, seeds: int = 5, crowd: int = 100) -> Iterator[Result]:
    """Against what is reported of memberlist and Serf."""
    took = [healing(seed, count) for seed in range(seeds)]
    healed, restarted = max(one for one, _ in took), max(one for _, one in took)
    yield Result(
        f"partition healed, two halves of {count} nodes (slowest of {seeds})",
        "never, in open issues",
        "≤ 60 s",
        f"{healed:.1f} s",
        healed <= 60,
    )
    yield Result(
        f"restart to alive everywhere, {count} nodes (slowest of {seeds})",
        "can stick",
        "≤ 5 s",
        f"{restarted:.1f} s",
        restarted <= 5,
    )
    found = [bad_link(kind, seed, crowd) for kind in BAD_LINKS for seed in range(2)]
    most, wrong = max(one for one, _ in found), sum(one for _, one in found)
    yield Result(
        f"80 % loss or one-way cut on one of {crowd} nodes, 5 min: transitions of it, healthy nodes removed ({len(found)} runs)",
        "oscillates",
        "≤ 1, none",
        f"{most}, {wrong}",
        most <= 1 and wrong == 0,
    )


if __name__ == "__main__":
    sys.exit(run(rows()))
