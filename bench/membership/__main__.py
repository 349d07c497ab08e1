"""Membership against what is known of others: every row with its anchor, the goal, and what was measured here.

    python -m bench.membership                          everything: about half an hour of one core, and 8 GB for scale
    python -m bench.membership detection quiet          some of it; each is also a program of its own
    python -m bench.membership.lifeguard --report       the tables and drawings of the Lifeguard experiment

Simulated rows have fixed seeds and do not depend on the machine; rows of real agents do, and say so. Anchors: the Lifeguard
paper (Dadgar, Phillips, Currey 2018), measurements of memberlist, the paper on Rapid, and Serf's own convergence model.
"""

import argparse
import sys
from collections.abc import Callable, Iterator

from bench.membership import agents, detection, failures, lifeguard, quiet, scale
from bench.membership.report import Result, run

PARTS: dict[str, Callable[[], Iterator[Result]]] = {
    "detection": detection.rows,
    "quiet": quiet.rows,
    "failures": failures.rows,
    "scale": scale.rows,
    "agents": agents.rows,
    "lifeguard": lifeguard.rows,
}


def main() -> int:
    """1 where a goal is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.membership",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no {', '.join(sorted(unknown))}; there is {', '.join(PARTS)}")
    return run(result for name in given.parts or PARTS for result in PARTS[name]())


if __name__ == "__main__":
    sys.exit(main())
