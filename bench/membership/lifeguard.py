"""The Lifeguard paper's interval experiment (Dadgar, Phillips, Currey, DSN 2018), reproduced in the simulator.

    python -m bench.membership.lifeguard                       makes the runs that are missing, then shows the table
    python -m bench.membership.lifeguard --runs 432 --others 100    as many as there is time for
    python -m bench.membership.lifeguard --report              shows what is there, and draws it

128 nodes. C of them are blocked, all at once, before each send and after each receive: for D, then normal for I, over and over,
for two minutes. A false positive is a declaration of death of a node that is never blocked. The paper's grid of C, D and I has
432 cells, each run ten times. Here run n takes cell n of an order in which every prefix is spread over all three; after 432
runs each cell was taken once, after 4 320 ten times. Every run is one line of ``lifeguard.jsonl``; what is there is not run again.
"""

import argparse
import gc
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.membership.detection import detect, died
from bench.membership.report import Result, run
from penstock.membership.config import ProtocolConfig
from penstock.membership.members import Change
from penstock.membership.simulator.world import Host, World

FILE = Path(__file__).with_name("lifeguard.jsonl")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "membership-measured.md"
BEGIN, END = "<!-- written by bench.membership.lifeguard -->", "<!-- until here -->"
BLOCKED = (1, 4, 8, 12, 16, 20, 24, 28, 32)
DURATIONS = (0.128, 0.512, 2.048, 8.192, 16.384, 32.768)
INTERVALS = (0.001, 0.004, 0.016, 0.064, 0.256, 1.024, 4.096, 16.384)
SECONDS = 120.0
GRID = len(BLOCKED) * len(DURATIONS) * len(INTERVALS)
RUNS, OTHERS = 25, 15  # kept in the file: of the two that are compared first of all, of each other one
CRASHES = 20  # per configuration, for its latency

OURS = ProtocolConfig()
SWIM = replace(
    OURS, suspicion_alpha=5.0, suspicion_beta=1.0, health_limit=0, tell_suspects=False, stall=float("inf")
)
BASE, DEFAULT = (
    "SWIM, alpha 5",
    f"ours, alpha {OURS.suspicion_alpha:g}, beta {OURS.suspicion_beta:g} (default)",
)
CONFIGURATIONS = {
    BASE: SWIM,
    DEFAULT: OURS,
    "SWIM + local health": replace(SWIM, health_limit=7),
    "SWIM + dynamic suspicion, beta 6": replace(SWIM, suspicion_beta=6.0),
    "SWIM + telling suspects": replace(SWIM, tell_suspects=True),
    "ours, alpha 5, beta 6": replace(OURS, suspicion_alpha=5.0),
} | {
    f"ours, alpha {alpha}, beta {beta}": replace(
        OURS, suspicion_alpha=float(alpha), suspicion_beta=float(beta)
    )
    for alpha in (2, 4, 5)
    for beta in (2, 4, 6)
}
# The paper's table: false positives of 4 320 runs, and those of them that healthy nodes raised.
PAPER = {
    BASE: ("SWIM", 339_002, 1_326),
    "SWIM + local health": ("LHA-Probe", 229_574, 436),
    "SWIM + dynamic suspicion, beta 6": ("LHA-Suspicion", 10_174, 89),
    "SWIM + telling suspects": ("Buddy System", 318_935, 591),
    "ours, alpha 5, beta 6": ("Lifeguard", 5_193, 25),
}


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one configuration: false positives by run, everywhere and at healthy nodes; latencies of crashes."""

    runs: dict[int, tuple[int, int]]
    crashes: dict[int, tuple[float, float]]


def cell(number: int) -> tuple[int, float, float]:
    """C, D and I of a run. 54 runs in a row have each pair of C and D once; the next 54 have it with another I."""
    block, place = divmod(number % GRID, len(BLOCKED) * len(DURATIONS))
    return (
        BLOCKED[place % len(BLOCKED)],
        DURATIONS[(place + place // 18) % len(DURATIONS)],
        INTERVALS[(3 * place + block) % len(INTERVALS)],
    )


def false_positives(
    config: ProtocolConfig, number: int, *, nodes: int = 128, seconds: float = SECONDS
) -> tuple[int, int]:
    """Of one run: declared by anybody, and by nodes that are never blocked either.

    Timers run on while a process is blocked, as in the paper: harsher than our agent is in reality, whose timers stand still with
    everything else.
    """
    blocked, duration, interval = cell(number)
    world = World(number, config, timers_run_on=True)
    hosts = world.converged(nodes)
    world.run(5)
    slow = world.rng.sample(hosts, blocked)
    slow_ids = {host.node for host in slow}
    counts = [0, 0]

    def see(_: float, host: Host, change: Change) -> None:
        if died(change) and change.after is not None and change.after.node not in slow_ids:
            counts[0] += 1
            counts[1] += host.node not in slow_ids

    def cycle(host: Host) -> None:
        world.block(host, duration)
        world.after(duration + interval, cycle, host)

    world.observers.append(see)
    for host in slow:
        cycle(host)
    world.run(seconds)
    return counts[0], counts[1]


def load(file: Path = FILE) -> dict[str, Found]:
    """What the file holds."""
    found = {name: Found({}, {}) for name in CONFIGURATIONS}
    for line in file.read_text().splitlines() if file.exists() else []:
        entry = json.loads(line)
        if (held := found.get(entry["configuration"])) is None:
            continue
        if "run" in entry:
            held.runs[entry["run"]] = (entry["everywhere"], entry["healthy"])
        else:
            held.crashes[entry["crash"]] = (entry["first"], entry["all"])
    return found


def missing(found: dict[str, Found], runs: int, others: int) -> Iterator[tuple[str, str, int]]:
    """What is still to be run: configuration, kind, number. Wherever it ends, all have come about equally far."""
    for number in range(runs):
        for name, held in found.items():
            if number < CRASHES and number not in held.crashes:
                yield name, "crash", number
            main = name in {BASE, DEFAULT}
            for due in [number] if main else range(others):
                if due not in held.runs and (main or due * runs // others == number):
                    yield name, "run", due


def make(runs: int, others: int, file: Path = FILE) -> None:
    """Makes what is missing; each run is in the file as soon as it is done."""
    for name, kind, number in missing(load(file), runs, others):
        if kind == "run":
            everywhere, healthy = false_positives(CONFIGURATIONS[name], number)
            entry = {"configuration": name, "run": number, "everywhere": everywhere, "healthy": healthy}
        else:
            first, all_ = detect(CONFIGURATIONS[name], number)
            entry = {"configuration": name, "crash": number, "first": round(first, 3), "all": round(all_, 3)}
        with file.open("a") as lines:
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
        gc.collect()


def rows(runs: int = RUNS, others: int = OTHERS, file: Path = FILE) -> Iterator[Result]:
    """The goals; makes what is missing before."""
    make(runs, others, file)
    yield from goals(load(file))


def goals(found: dict[str, Found]) -> Iterator[Result]:
    """What the runs that are there came to."""
    base, ours = found[BASE], found[DEFAULT]
    share, compared = share_of(found, DEFAULT)
    positives = [ours.runs[number] for number in compared]
    latency = median(ours, 0) / median(base, 0)
    yield Result(
        f"false positives, {len(compared)} runs of the paper's grid, of our own SWIM's",
        "1.53 % (4 320 runs)",
        "≤ 1.5 %",
        f"{share:.2%} ({sum(everywhere for everywhere, _ in positives)} of {sum(base.runs[number][0] for number in compared)})",
        share <= 0.015,
    )
    yield Result(
        "median latency of the same configuration, of our own SWIM's",
        "100 %",
        "≤ 60 %",
        f"{latency:.0%} ({median(ours, 0):.1f} of {median(base, 0):.1f} s)",
        latency <= 0.6,
    )
    healthy = sum(at_healthy for _, at_healthy in positives)
    yield Result(
        "of these false positives, raised at healthy nodes",
        "25 (4 320 runs)",
        "≤ 10",
        str(healthy),
        healthy <= 10,
    )


def share_of(found: dict[str, Found], name: str, among: set[int] | None = None) -> tuple[float, list[int]]:
    """A configuration's false positives as a share of SWIM's in the same runs (all, or ``among`` these), and these runs."""
    base, held = found[BASE], found[name]
    compared = sorted(
        number for number in held.runs if number in base.runs and (not among or number in among)
    )
    of_base = sum(base.runs[number][0] for number in compared)
    return sum(held.runs[number][0] for number in compared) / of_base if of_base else float("nan"), compared


def common(found: dict[str, Found]) -> set[int]:
    """Runs that every configuration has made: only these compare all of them fairly."""
    return set.intersection(*(set(held.runs) for held in found.values()))


def median(held: Found, which: int) -> float:
    """Of a configuration's latencies: 0 for the first to notice, 1 for the last."""
    return statistics.median(crash[which] for crash in held.crashes.values())


def table(found: dict[str, Found]) -> Iterator[str]:
    """All configurations, the paper's figures beside ours."""
    yield (
        "| configuration | runs | false positives | of SWIM's in the same runs | at healthy nodes | the paper's: of SWIM's | at healthy "
        "| first to notice a crash, median | last |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, held in found.items():
        if not held.runs or not held.crashes:
            continue
        share, compared = share_of(found, name)
        theirs, at_healthy = "", ""
        if name in PAPER:
            title, everywhere, healthy = PAPER[name]
            theirs = f"{title}: {everywhere / PAPER[BASE][1]:.2%}"
            at_healthy = f"{healthy} of {PAPER[BASE][2]}"
        counted = [held.runs[number] for number in compared]
        yield (
            f"| {name} | {len(compared)} | {sum(one for one, _ in counted)} | {share:.2%} | {sum(one for _, one in counted)} "
            f"| {theirs} | {at_healthy} | {median(held, 0):.1f} s | {median(held, 1):.1f} s |"
        )


def written(page: str, found: dict[str, Found]) -> str:
    """The page with its part about these runs renewed."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [BEGIN, "", *summary(found), "", *table(found), "", END]
    return before + "\n".join(lines) + after


def summary(found: dict[str, Found]) -> Iterator[str]:
    """What the goals came to, as the table of the page has it."""
    yield "| measure | anchor | goal | measured |"
    yield "| --- | --- | --- | --- |"
    for result in goals(found):
        yield f"| {result.measure} | {result.anchor} | {result.goal} | {result.measured} |"


def main() -> int:
    """1 where a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=RUNS, help=f"of SWIM and of the default (default {RUNS}, at most 4320)"
    )
    parser.add_argument(
        "--others", type=int, default=OTHERS, help=f"of each other configuration (default {OTHERS})"
    )
    parser.add_argument(
        "--report", action="store_true", help="run nothing; show, draw and write down what is there"
    )
    given = parser.parse_args()
    if not given.report:
        return run(rows(given.runs, given.others))
    from bench.membership.drawing import draw

    found = load()
    print("\n".join([*summary(found), "", *table(found)]))
    print("drawn:", *(path.name for path in draw(found)))
    PAGE.write_text(written(PAGE.read_text(), found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
