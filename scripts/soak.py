"""`make soak`: the simulations that `make test` runs for a moment, with fresh seeds for as long as is asked.

First real processes are killed at every point where `make test` kills some at a few, a long queue is filled, and uploads meet
hundreds of sequences of what can befall them. Then whole processing rooms and whole clusters die, collide and wake at random,
from a seed; real files are damaged at random. What fails is named by its seed and the command that repeats it exactly; the exit
status is then 1. A run never begins a round after its time is up.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from penstock.membership.simulator.scenarios import SCENARIOS
from penstock.membership.simulator.timeline import Timeline
from penstock.membership.simulator.world import World

ROOT = Path(__file__).resolve().parent.parent
ROUND = 5  # seeds of processing in one run of pytest, whose start costs some seconds
ROUND_OF_FILES = 4  # damaged files for each seed: one takes a second or two
NODES = 16  # of a simulated cluster
HANGS = 3600  # seconds after which one test, of hundreds of sequences here, is taken for stuck
LOSSES = (0.0, 0.1)  # shares of packets that a network loses


def processing(first: int, count: int) -> list[str]:
    """Simulations of processing rooms from these seeds; the commands that repeat what failed."""
    return _seeded("tests/simulation/test_processing.py", "SIMULATION", first, count)


def media(first: int, count: int) -> list[str]:
    """Damaged files from these seeds, taken through the media tools; the commands that repeat what failed."""
    return _seeded("tests/media/test_fuzz.py", "FUZZ", first, count)


def walk() -> list[str]:
    """Real processes killed at every named point, alone and all at once; what repeats it if something did not hold."""
    tests = ("tests/cluster/test_every_point.py", "tests/cluster/test_every_bucket_point.py")
    failed = [test for test in tests if _pytest(test, {"WALK": "whole"}, shown=True)]
    return [f"WALK=whole {sys.executable} -m pytest {test}" for test in failed]


def queue() -> list[str]:
    """A thousand videos brought to wait by fifty clients at once; what repeats it if something did not hold."""
    test = "tests/cluster/test_a_long_queue.py"
    many = {"QUEUED_VIDEOS": "1000"}
    return (
        [f"QUEUED_VIDEOS=1000 {sys.executable} -m pytest {test}"] if _pytest(test, many, shown=True) else []
    )


def uploads() -> list[str]:
    """Sequences of what befalls uploads, into a folder and a bucket, fresh ones; what repeats it if something did not hold."""
    test = "tests/contract/upload/test_rules.py"
    many = {"UPLOAD_RULES": "many"}
    return [f"UPLOAD_RULES=many {sys.executable} -m pytest {test}"] if _pytest(test, many, shown=True) else []


def membership(seed: int) -> list[str]:
    """Every story of a cluster from this seed, on a good network and a lossy one; what repeats the failed ones."""
    failed = []
    for name, story in sorted(SCENARIOS.items()):
        for loss in LOSSES:
            world = World(seed)
            world.network.loss = loss
            if not story(world, NODES, Timeline(world)):
                failed.append(
                    f"{sys.executable} -m penstock.membership.simulator {name} --nodes {NODES} --seed {seed} --loss {loss:g}"
                )
    return failed


def main() -> int:
    """Run until the time is up; 0 if everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to go on (default 10)")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="the first seed (default: the clock)"
    )
    asked = parser.parse_args()
    deadline = time.monotonic() + 60 * asked.minutes
    seed, failed = asked.seed, list[str]()
    print(f"soak: {asked.minutes:g} minutes from seed {asked.seed}", flush=True)
    began = time.monotonic()
    failed += walk()
    print(f"every point: {'FAILED' if failed else 'held'}, {time.monotonic() - began:.0f} s", flush=True)
    lost = queue()
    print(f"a thousand waiting: {'FAILED' if lost else 'held'}", flush=True)
    failed += lost
    broken_rules = uploads()
    print(f"rules of uploads: {'FAILED' if broken_rules else 'held'}", flush=True)
    failed += broken_rules
    while time.monotonic() < deadline:
        began = time.monotonic()
        broken = processing(seed, ROUND)
        if time.monotonic() < deadline:
            broken += media(ROUND_OF_FILES * seed, ROUND_OF_FILES * ROUND)
        for each in range(seed, seed + ROUND):
            if time.monotonic() < deadline:
                broken += membership(each)
        verdict = f"{len(broken)} FAILED" if broken else "held"
        print(f"seeds {seed} to {seed + ROUND - 1}: {verdict}, {time.monotonic() - began:.0f} s", flush=True)
        for line in broken:
            print(f"  repeat: {line}", flush=True)
        failed += broken
        seed += ROUND
    print(f"soak: {seed - asked.seed} seeds, {len(failed)} failures")
    return 1 if failed else 0


def _seeded(test: str, name: str, first: int, count: int) -> list[str]:
    """A test from these seeds; the commands that repeat what failed."""
    if not _pytest(test, _seeds(name, first, count)):
        return []
    # Which of them it was: each alone, with its output.
    failed = [
        (seed, 1) for seed in range(first, first + count) if _pytest(test, _seeds(name, seed, 1), shown=True)
    ]
    return [
        f"{name}_FIRST_SEED={seed} {name}_SEEDS={seeds} {sys.executable} -m pytest {test}"
        for seed, seeds in failed or [(first, count)]
    ]


def _seeds(name: str, first: int, count: int) -> dict[str, str]:
    return {f"{name}_FIRST_SEED": str(first), f"{name}_SEEDS": str(count)}


def _pytest(test: str, settings: Mapping[str, str], *, shown: bool = False) -> bool:
    """Whether it failed. ``shown``: what it says goes to the terminal as it comes."""
    environment = {**os.environ, **settings}
    command = [sys.executable, "-m", "pytest", test, "-q", "-p", "no:cacheprovider", f"--timeout={HANGS}"]
    output = None if shown else subprocess.DEVNULL
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False)
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
