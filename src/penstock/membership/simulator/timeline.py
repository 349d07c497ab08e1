"""Who believed what about whom, over time: recorded from a simulated world, told as lines and drawn as a picture."""

from collections import Counter
from collections.abc import Iterator
from html import escape

from penstock.membership.members import Change, NodeId
from penstock.membership.precedence import State
from penstock.membership.simulator.world import Host, World

COLUMNS = 72  # of the picture in text
COLOURS = {State.ALIVE: "#2e7d32", State.SUSPECT: "#f9a825", State.DEAD: "#c62828", State.LEFT: "#607d8b"}
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
        width = max(self._world.now - self._began, 0.001) / COLUMNS
        for host, beliefs in self._shares(COLUMNS):
            cells = (MARKS[shares.most_common(1)[0][0]] if shares else " " for shares in beliefs)
            yield f"{host.name:>8} {''.join(cells)}"
        yield f"         one column is {width:.1f} s; what most believe: . alive  ? suspect  x dead  - left"

    def svg(self) -> str:
        """The same, with the share of each belief: one band per member."""
        columns, band = 240, 22
        bands = list(self._shares(columns))
        height = band * max(len(bands), 1) + 24
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * 4 + 90}" height="{height}" font-family="sans-serif" font-size="11">'
        ]
        for row, (host, beliefs) in enumerate(bands):
            top = row * band
            parts.append(f'<text x="4" y="{top + 15}">{escape(host.name)}</text>')
            for column, shares in enumerate(beliefs):
                total = sum(shares.values())
                at = float(top + 1)
                for state in State:
                    part = (band - 2) * shares[state] / total if total else 0.0
                    if part:
                        parts.append(
                            f'<rect x="{80 + column * 4}" y="{at:.2f}" width="4" height="{part:.2f}" fill="{COLOURS[state]}"/>'
                        )
                    at += part
        legend = ", ".join(f"{state.name.lower()} {COLOURS[state]}" for state in State)
        seconds = self._world.now - self._began
        parts.append(
            f'<text x="80" y="{height - 8}">{seconds:.0f} s from left to right; {legend}</text></svg>'
        )
        return "\n".join(parts)

    def _shares(self, columns: int) -> Iterator[tuple[Host, list[Counter[State]]]]:
        width = max(self._world.now - self._began, 0.001) / columns
        eventful = {subject for _, _, subject, _, after, _ in self._changes if after is not State.ALIVE}
        for host in self._world.hosts:
            if host.node not in eventful:
                continue
            held = {
                observer: state
                for (observer, subject), state in self._initial.items()
                if subject == host.node and observer != host.number
            }
            changes = [
                change for change in self._changes if change[2] == host.node and change[1] != host.number
            ]
            beliefs, place = [], 0
            for column in range(columns):
                end = self._began + (column + 1) * width
                while place < len(changes) and changes[place][0] <= end:
                    _, observer, _, _, after, _ = changes[place]
                    if after is None:
                        held.pop(observer, None)
                    else:
                        held[observer] = after
                    place += 1
                beliefs.append(Counter(held.values()))
            yield host, beliefs


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
