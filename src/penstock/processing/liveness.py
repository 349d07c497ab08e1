"""What processing wants to know of other machines: which of them are held dead.

A word about a node only shortens the wait for a lease; it never decides alone, and being wrong is harmless: see
``catalog.claims``. Who says it is injected. This file must never know how anybody finds out.
"""

from collections.abc import Callable
from typing import Protocol

from typing_extensions import override


class Liveness(Protocol):
    """Which nodes are held dead, by their names in claims. Safe to ask from any thread; never blocks, never raises."""

    def dead(self) -> frozenset[str]:
        """Nodes held dead now. Never this machine itself; nobody at all where nothing is known."""
        ...

    def on_death(self, told: Callable[[], None]) -> None:
        """From here on ``told`` is called after a node was declared dead, from some thread; it must be quick."""
        ...


class SingleMachine(Liveness):
    """There are no other nodes, or nobody who knows them: leases alone tell who is alive."""

    @override
    def dead(self) -> frozenset[str]:
        return frozenset()

    @override
    def on_death(self, told: Callable[[], None]) -> None:
        """Never happens."""
