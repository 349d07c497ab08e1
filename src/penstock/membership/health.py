"""Local health: how much this node trusts its own view (Lifeguard's local health multiplier).

It knows counts only. 0 is healthy; each point lengthens this node's own probes, so that a slow node accuses others late.
"""


class LocalHealth:
    """A score from 0 to ``limit``."""

    __slots__ = ("_limit", "score")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.score = 0

    def adjust(self, points: int) -> None:
        """Positive: evidence that this node is slow or badly connected. Negative: evidence that it is well."""
        self.score = max(0, min(self._limit, self.score + points))

    def scale(self, seconds: float) -> float:
        """An interval or a timeout, stretched."""
        return seconds * (self.score + 1)
