"""Paired measurements that survive an interruption: every repeat runs all contenders, and is written down when it ends.

Machines are never quite idle, so a figure by itself says little: what disturbs one contender disturbs its neighbours in the
same repeat, the order turns from repeat to repeat, and what counts is the median over the repeats of the ratio within each.
A long run that is broken off goes on where it was; a repeat made with other code or other tools is not mixed in.
"""

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench"  # git ignores it

Figures = Mapping[str, float]
Contender = Callable[[], Figures]


@dataclass(frozen=True, slots=True)
class Pair:
    """One repeat: what each contender took, all of them run one after the other."""

    case: str
    stamp: str  # of the code and the tools it was made with
    order: tuple[str, ...]
    figures: dict[str, dict[str, float]]  # by contender
    load: float  # of the machine, over the minute before it began
    at: str  # when it began, in UTC


def stamp(rooms: Iterable[str], *facts: str) -> str:
    """What a measurement depends on, in 16 digits: the sources of some rooms or files of the package, and other facts. Raises FileNotFoundError."""
    digest = hashlib.sha256("\0".join(facts).encode())
    for room in rooms:
        path = ROOT / "src" / "penstock" / room
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        if not files:
            raise FileNotFoundError(f"there is no room {room}: its changes would go unnoticed")
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class Ledger:
    """The file of one benchmark's results: a line of JSON per finished repeat."""

    def __init__(self, path: Path, stamp: str) -> None:
        self._path = path
        self._stamp = stamp

    def pairs(self, case: str) -> list[Pair]:
        """Repeats of a case that were made with the present code and tools, oldest first."""
        if not self._path.exists():
            return []
        text = self._path.read_text()
        documents = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        read = [Pair(**{**document, "order": tuple(document["order"])}) for document in documents]
        return [pair for pair in read if (pair.case, pair.stamp) == (case, self._stamp)]

    def run(self, case: str, contenders: Mapping[str, Contender], repeats: int) -> list[Pair]:
        """Adds repeats until there are so many, and returns them all. Whatever a contender raises ends it."""
        for number in range(len(self.pairs(case)), repeats):
            order = turned(list(contenders), number)
            load, at = os.getloadavg()[0], time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            figures = {}
            for name in order:
                figures[name] = dict(contenders[name]())
                told = ", ".join(f"{what} {value:.4g}" for what, value in figures[name].items())
                print(f"{case}, {number + 1} of {repeats}, {name}: {told}", flush=True)
            self.add(Pair(case, self._stamp, order, figures, round(load, 1), at))
        return self.pairs(case)

    def add(self, pair: Pair) -> None:
        """Writes a repeat down; a line that an interruption cut short is ended first, and not read later."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = self._path.read_text() if self._path.exists() else ""
        with self._path.open("w") as file:
            file.write(text[: text.rfind("\n") + 1] + json.dumps(asdict(pair)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self, case: str) -> None:
        """Removes every repeat of a case, to begin anew."""
        if self._path.exists():
            lines = self._path.read_text().splitlines(keepends=True)
            self._path.write_text(
                "".join(line for line in lines if line.endswith("\n") and json.loads(line)["case"] != case)
            )


def turned(names: Sequence[str], repeat: int) -> tuple[str, ...]:
    """The order of a repeat: each of an even number of repeats has its mirror image beside it, so that none is always first."""
    start = repeat // 2 % len(names)
    order = [*names[start:], *names[:start]]
    return tuple(reversed(order) if repeat % 2 else order)


def median(pairs: Sequence[Pair], name: str, what: str) -> float:
    """The median of one figure of one contender."""
    return statistics.median(pair.figures[name][what] for pair in pairs)


def ratios(pairs: Sequence[Pair], name: str, other: str, what: str) -> list[float]:
    """One contender's figure in terms of another's, repeat by repeat, ascending."""
    return sorted(pair.figures[name][what] / pair.figures[other][what] for pair in pairs)


def ratio(pairs: Sequence[Pair], name: str, other: str, what: str) -> float:
    """The median of :func:`ratios`."""
    return statistics.median(ratios(pairs, name, other, what))
