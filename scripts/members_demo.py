"""`make members-demo`: real nodes join, leave, die, are cut off and come back, shown from every node's view.

As root, where the machine permits it, each node has a network namespace of its own, and links are really cut; otherwise all
are on 127.0.0.1 and that part is left out, and said so. `--log FILE` keeps what is shown.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.real_nodes import Loopback, Namespaces, Nodes  # noqa: E402 - found by the line above

NAMES = "abcde"
MARKS = {"alive": "alive", "suspect": "SUSPECT", "dead": "DEAD", "left": "left"}


class Demonstration:
    """Says what is done, waits until every node sees it, and shows what each of them sees."""

    def __init__(self, nodes: Nodes, log: Path | None) -> None:
        self._nodes = nodes
        self._log = log.open("w") if log is not None else None
        self._began = time.monotonic()

    def say(self, text: str = "") -> None:
        """One line, shown at once."""
        print(text, flush=True)
        if self._log is not None:
            self._log.write(f"{text}\n")

    def step(self, title: str, act: Callable[[], None], *, among: str | None = None, **expected: str) -> None:
        """Does something, and waits for what must follow."""
        self.say(f"\n[{time.monotonic() - self._began:6.1f} s] {title}")
        acted = time.monotonic()
        act()
        done = time.monotonic()
        self._nodes.agree(among=among, **expected)
        waited = time.monotonic() - done
        self.say(f"           done in {done - acted:.1f} s, seen by all concerned {waited:.1f} s later:")
        self._views()

    def _views(self) -> None:
        names = sorted(self._nodes.places)
        self.say("           view of   " + "".join(f"{name:<9}" for name in names))
        for observer in sorted(self._nodes.processes):
            view = self._nodes.view(observer)
            self.say(
                f"           {observer:<10}"
                + "".join(f"{MARKS.get(view.get(name, ''), '-'):<9}" for name in names)
            )

    def why(self, observer: str, subject: str) -> None:
        """What one node recorded about another, with its reasons."""
        self.say(f"           what {observer} recorded about {subject}:")
        with self._nodes.ask(observer) as client:
            for event in client.events():
                if event.member.name == subject:
                    self.say(f"             {event.kind:<10} {event.reason}")

    def close(self) -> None:
        """Ends the log."""
        if self._log is not None:
            self._log.close()


def main() -> int:
    """The whole story; about a minute where nothing else keeps the machine busy."""
    parser = argparse.ArgumentParser(prog="make members-demo", description=__doc__)
    parser.add_argument("--log", type=Path, help="file to keep what is shown")
    given = parser.parse_args()
    network = Namespaces() if Namespaces.available() else Loopback()
    with tempfile.TemporaryDirectory(prefix="penstock-members-") as folder:
        nodes = Nodes(Path(folder), network)
        show = Demonstration(nodes, given.log)
        try:
            _story(nodes, show)
            if isinstance(network, Namespaces):
                _cuts(nodes, network, show)
            else:
                show.say(
                    "\nLeft out: cutting links needs root and network namespaces (sudo make members-demo)."
                )
            show.say("\nEverything was seen as it should be, without a manual step.")
        finally:
            nodes.close()
            show.close()
    return 0


def _story(nodes: Nodes, show: Demonstration) -> None:
    show.step("node a starts, alone", lambda: nodes.start("a"))
    show.step("node b starts; it knows where a is", lambda: nodes.start("b", "a"))

    def three() -> None:
        for name in "cde":
            nodes.start(name, "a")

    show.step("nodes c, d and e start; they know only a", three)
    show.step("b leaves on SIGTERM", lambda: _ignore(nodes.terminate("b")), b="left")
    show.step("c is killed with kill -9", lambda: nodes.kill("c"), b="left", c="dead")
    show.why("a", "c")
    show.step("c starts again from its folder, without a seed", lambda: nodes.start("c"), b="left")
    show.step("b comes back in the same way", lambda: nodes.start("b"))

    def outage() -> None:
        for name in NAMES:
            nodes.kill(name)
        for name in reversed(NAMES):
            nodes.start(name)

    show.step("all five are killed at once, and start again in another order, without seeds", outage)
    show.why("a", "c")


def _cuts(nodes: Nodes, network: Namespaces, show: Demonstration) -> None:
    others = NAMES.replace("d", "")
    show.step("the link of d is cut", lambda: network.cut("d"), among=others, d="dead")
    show.step("the link of d is mended", lambda: network.mend("d"))
    show.step("e hears everybody and is heard by nobody", lambda: network.mute("e"), among="abcd", e="dead")
    show.step("e is heard again", lambda: network.unmute("e"))

    def moved() -> None:
        nodes.kill("b")
        nodes.move("b")
        nodes.start("b")

    show.step("b is killed, gets another address, and starts again", moved)
    show.why("a", "b")


def _ignore(_: object) -> None:
    """A step returns nothing."""


if __name__ == "__main__":
    sys.exit(main())
