"""What running processes take, from outside: CPU seconds, and the memory of a whole tree while it works.

Linux only (/proc). Memory is the proportional set size: pages that processes share are counted once between them.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of one process so far."""

    own: float
    children: float  # of those that have ended and were waited for, and of theirs

    def __sub__(self, before: "Cpu") -> "Cpu":
        return Cpu(self.own - before.own, self.children - before.children)


def cpu(pid: int) -> Cpu:
    """Raises FileNotFoundError where there is no such process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, user_children, system_children = (int(field) / _TICKS for field in fields[11:15])
    return Cpu(user + system, user_children + system_children)


def tree(pid: int) -> Iterator[int]:
    """A process and all that descends from it, at this moment."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def memory(pid: int) -> int:
    """Bytes of one process (PSS); 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass
class Peak:
    """Watches the memory of some trees of processes: ``with Peak([pid]) as peak: ...``, then ``peak.bytes``, the most of ``peak.seen``.

    ``without``: a process whose own memory does not count (this one, whose children are the point).
    """

    roots: list[int]
    without: int | None = None
    pace: float = 0.25  # seconds; a look takes a few milliseconds per process
    seen: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    @property
    def bytes(self) -> int:
        """The most that was seen; 0 where nothing was."""
        return max(self.seen, default=0)

    def _watch(self) -> None:
        while not self._over.wait(self.pace):
            there = {pid for root in self.roots for pid in tree(root)} - {self.without}
            self.seen.append(sum(memory(pid) for pid in there))
