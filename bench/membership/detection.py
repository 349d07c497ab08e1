"""How soon a crash is noticed: by the first node, and by all; and what other defaults would make of it.

python -m bench.membership.detection
"""

import statistics
import sys
from collections.abc import Iterator
from itertools import chain

from bench.membership.report import Result, percentile, run
from penstock.membership.config import ProtocolConfig
from penstock.membership.members import Change
from penstock.membership.precedence import State
from penstock.membership.simulator.world import Host, World

RUNS = 100


def died(change: Change) -> bool:
    """Whether a change is a declaration of death."""
    before, after = change.before, change.after
    return after is not None and after.state is State.DEAD and (before is None or before.state < State.DEAD)


def detect(config: ProtocolConfig, seed: int, count: int = 128) -> tuple[float, float]:
    """Seconds from a crash until the first of the others declares it, and until all of them have."""
    world = World(seed, config)
    hosts = world.converged(count)
    world.run(3 + world.rng.random())
    seen: dict[int, float] = {}

    def see(now: float, host: Host, change: Change) -> None:
        if died(change):
            seen.setdefault(host.number, now)

    world.observers.append(see)
    began = world.now
    world.crash(hosts[world.rng.randrange(count)])
    if not world.run(120, until=lambda: len(seen) == count - 1):
        raise RuntimeError(
            f"seed {seed}: only {len(seen)} of {count - 1} noticed the crash within two minutes"
        )
    return min(seen.values()) - began, max(seen.values()) - began


def rows(runs: int = RUNS) -> Iterator[Result]:
    """First detection, against what memberlist and the paper have."""
    firsts = [detect(ProtocolConfig(), seed)[0] for seed in range(runs)]
    middle, high = statistics.median(firsts), percentile(firsts, 0.99)
    yield Result(
        f"first detection of a crash, N = 128, median / 99 % ({runs} runs)",
        "10.4 s (memberlist) / 16.4 s (Lifeguard paper)",
        "≤ 7 s / ≤ 12 s",
        f"{middle:.1f} s / {high:.1f} s",
        middle <= 7 and high <= 12,
    )


def choices(runs: int = RUNS) -> Iterator[Result]:
    """What other values of alpha would make of it."""
    for alpha in (2.0, 2.5, 3.0, 4.0):
        firsts = [detect(ProtocolConfig(suspicion_alpha=alpha), seed)[0] for seed in range(runs)]
        yield Result(
            f"the same with alpha {alpha:g}",
            "",
            "",
            f"{statistics.median(firsts):.1f} s / {percentile(firsts, 0.99):.1f} s",
            None,
        )


if __name__ == "__main__":
    sys.exit(run(chain(rows(), choices())))
