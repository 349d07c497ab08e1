"""`make bench`: the benchmarks as trials, one after the other; `make bench ARGS="--full --write"` measures in full and writes the page.

Names before the options choose: `make bench ARGS="serve upload --full"`. How long each takes, on two cores that have nothing else to
do, is said before it begins. `--write`, `--report` and `--afresh` are handed on: see docs/benchmarks.md.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Program:
    """One benchmark. ``trial`` and ``full`` are minutes; a ``trial`` of 0: it has none."""

    command: tuple[str, ...]
    trial: int
    full: int
    paired: bool = True  # whether it takes the common options, and writes a section of docs/benchmarks.md


PROGRAMS = {
    "transcode": Program(("bench/transcode.py",), 2, 120),
    "playable": Program(("bench/playable.py",), 2, 30),
    "upload": Program(("bench/upload.py",), 3, 15),
    "serve": Program(("bench/serve.py",), 2, 15),
    "recipe": Program(("bench/recipe.py",), 3, 3, paired=False),
    "membership": Program(("-m", "bench.membership"), 0, 30, paired=False),
}


def main() -> int:
    """Each benchmark is a program of its own and prints its tables; one that fails does not stop the others."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROGRAMS)}; default: all")
    for option in ("full", "write", "report", "afresh"):
        parser.add_argument(f"--{option}", action="store_true")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(PROGRAMS):
        parser.error(f"no {', '.join(sorted(unknown))}; there is {', '.join(PROGRAMS)}")
    chosen = {
        name: program
        for name, program in PROGRAMS.items()
        if name in asked.names or (not asked.names and (asked.full or program.trial))
    }
    options = [f"--{name}" for name in ("full", "write", "report", "afresh") if getattr(asked, name)]
    minutes = {name: each.full if asked.full or not each.trial else each.trial for name, each in chosen.items()}  # fmt: skip
    print(f"bench: {', '.join(chosen)}: about {sum(minutes.values())} minutes in all", flush=True)
    failed = []
    for name, program in chosen.items():
        print(f"== {name}, about {minutes[name]} minutes", flush=True)
        command = [sys.executable, *program.command, *(options if program.paired else ())]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
