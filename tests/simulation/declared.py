"""The liveness of nodes as a test declares it; held to the same suite as the adapters (tests/contract/test_liveness.py)."""

from collections.abc import Callable

from typing_extensions import override

from penstock.processing.liveness import Liveness


class DeclaredLiveness(Liveness):
    """Holds dead whom the test declared so."""

    def __init__(self) -> None:
        self._dead: frozenset[str] = frozenset()
        self._told: list[Callable[[], None]] = []

    @override
    def dead(self) -> frozenset[str]:
        return self._dead

    @override
    def on_death(self, told: Callable[[], None]) -> None:
        self._told.append(told)

    def declare(self, name: str) -> None:
        """The node is dead from now on."""
        self._dead |= {name}
        for told in self._told:
            told()

    def revive(self, name: str) -> None:
        """It is alive again, or nobody knows any more."""
        self._dead -= {name}
