"""Who believed what about whom, over time: recorded from a simulated world, told as lines and as a picture in text."""

from collections import Counter
from collections.abc import Iterator

from penstock.membership.members import Change, NodeId
from penstock.membership.precedence import State
from penstock.membership.simulator.world import Host, World

COLUMNS = 72  # of the picture in text
MARKS = {State.ALIVE: ".", State.SUSPECT: "?", State.DEAD: "x", State.LEFT: "-"}


class Timeline:
    """Follows all changes of a world from now on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._began = world.now
        self.notes: list[tuple[float, str]] = []
        self._changes: list[tuple[float, int, NodeId, State | None, State | None, str]] = []
        self._initial: dict[tuple[int, NodeId], State] = {}
        self._names: dict[NodeId, str] = {}
        world.observers.append(self._see)

    def note(self, text: str) -> None:
        """Something that the scenario did."""
        if not self.notes:
            self._initial = {
                (host.number, record.node): record.state
                for host in self._world.running()
                if host.core is not None
                for record in host.core.members
            }
        self.notes.append((self._world.now, text))

    def _see(self, now: float, host: Host, change: Change) -> None:
        record = change.after or change.before
        if record is not None:
            before = change.before.state if change.before else None
            after = change.after.state if change.after else None
            self._names[record.node] = record.contact.name
            if before != after:
                self._changes.append((now, host.number, record.node, before, after, change.reason))

    def lines(self) -> Iterator[str]:
        """The story: what was done, the first to believe something new about each, and when all who run believed it."""
        told: list[tuple[float, int, str]] = [(moment, 0, f"** {text}") for moment, text in self.notes]
        runs: dict[tuple[NodeId, State | None], list[tuple[float, int, str]]] = {}
        for moment, observer, subject, _, after, reason in self._changes:
            if self._names[subject] == self._world.hosts[observer].name:
                continue
            runs.setdefault((subject, after), []).append((moment, observer, reason))
        for (subject, after), seen in runs.items():
            for first, last, count, reason, observer in _bursts(seen):
                state = after.name.lower() if after is not None else "forgotten"
                by = self._world.hosts[observer].name
                spread = f"; {count} nodes within {last - first:.1f} s" if count > 1 else ""
                told.append((first, 1, f"{self._names[subject]} is {state} for {by}: {reason}{spread}"))
        for moment, _, text in sorted(told):
            yield f"{moment - self._began:8.2f} s  {text}"

    def picture(self) -> Iterator[str]:
        """One row per member that was ever not alive: the prevailing belief of the others, in columns of equal time."""
        for host, histories in self.beliefs(COLUMNS):
            cells = []
            for column in zip(*histories.values(), strict=True):
                held = Counter(state for state in column if state is not None)
                cells.append(MARKS[held.most_common(1)[0][0]] if held else " ")
            yield f"{host.name:>8} {''.join(cells)}"
        width = self.seconds / COLUMNS
        yield f"         one column is {width:.1f} s; what most believe: . alive  ? suspect  x dead  - left"

    @property
    def seconds(self) -> float:
        """From the beginning until now."""
        return max(self._world.now - self._began, 0.001)

    @property
    def moments(self) -> list[tuple[float, str]]:
        """What the scenario did, and when, in seconds from the beginning."""
        return [(moment - self._began, text) for moment, text in self.notes]

    def beliefs(self, columns: int) -> Iterator[tuple[Host, dict[int, list[State | None]]]]:
        """Of each member that was ever not alive: what each other one held about it at the end of each column of equal time.

        None where the observer did not know it, or did not run yet. Observers by number.
        """
        width = self.seconds / columns
        eventful = {subject for _, _, subject, _, after, _ in self._changes if after is not State.ALIVE}
        for host in self._world.hosts:
            if host.node not in eventful:
                continue
            changes = [change for change in self._changes if change[2] == host.node]
            histories = {}
            for observer in (other.number for other in self._world.hosts if other is not host):
                own = [(moment, after) for moment, by, _, _, after, _ in changes if by == observer]
                held, place, row = self._initial.get((observer, host.node)), 0, []
                for column in range(1, columns + 1):
                    while place < len(own) and own[place][0] <= self._began + column * width:
                        held = own[place][1]
                        place += 1
                    row.append(held)
                histories[observer] = row
            yield host, histories


def _bursts(seen: list[tuple[float, int, str]]) -> Iterator[tuple[float, float, int, str, int]]:
    """Groups what many came to believe within 5 s of each other: first, last, how many, first reason, first observer."""
    start = 0
    for place in range(1, len(seen) + 1):
        if place == len(seen) or seen[place][0] - seen[place - 1][0] > 5.0:
            first, last = seen[start], seen[place - 1]
            yield (
                first[0],
                last[0],
                len({observer for _, observer, _ in seen[start:place]}),
                first[2],
                first[1],
            )
            start = place
