"""Suspicion: how long a member stands accused before it is declared dead (Lifeguard, section IV-B).

The time shrinks from ``beta`` times the least to the least as independent accusers agree. This file knows numbers and
ids; it accuses nobody and sends nothing.
"""

import math

from penstock.membership.config import ProtocolConfig
from penstock.membership.members import NodeId
from penstock.membership.precedence import Order


def least_timeout(config: ProtocolConfig, count: int) -> float:
    """Seconds: ``alpha * max(1, log10 N) * probe_interval``; information needs O(log N) periods to reach everyone."""
    return config.suspicion_alpha * max(1.0, math.log10(max(count, 1))) * config.probe_interval


class Suspicion:
    """One accusation that runs."""

    __slots__ = (
        "_answer_until",
        "_last_word",
        "_least",
        "_most",
        "_needed",
        "accusers",
        "order",
        "sentenced",
        "started",
    )

    def __init__(
        self,
        config: ProtocolConfig,
        count: int,
        order: Order,
        by: NodeId | None,
        now: float,
        last_word: float | None = None,
    ) -> None:
        """``count`` is N. ``by`` is None where only hearsay accuses.

        ``last_word``: how many seconds before the verdict the accused is asked directly, None where it is not. Settled here,
        so that each step has the timer that was set for it.
        Where fewer than K others could confirm, nothing is gained by waiting for them.
        """
        self.order = order
        self.started = now
        self.sentenced = False
        self.accusers = {by} if by is not None else set()
        self._last_word = last_word
        self._answer_until: float | None = None  # set once the accused has been asked directly
        self._least = least_timeout(config, count)
        self._needed = config.confirmations if count - 2 >= config.confirmations else 0
        self._most = self._least * config.suspicion_beta

    @property
    def deadline(self) -> float:
        """When the accused is declared dead unless it objects before."""
        return max(self.started + self.timeout, self._answer_until or 0.0)

    @property
    def unasked(self) -> bool:
        """True while the accused is still to be asked directly."""
        return self._last_word is not None and self._answer_until is None

    @property
    def next_step(self) -> float:
        """When to ask the accused, or, once asked, when to judge."""
        return self.deadline - (self._last_word or 0.0) if self.unasked else self.deadline

    def ask(self, now: float) -> None:
        """The accused is asked now, and may answer until the verdict."""
        self._answer_until = now + (self._last_word or 0.0)

    @property
    def timeout(self) -> float:
        """``max - (max - min) * ln(C + 1) / ln(K + 1)``, C being accusers beside the first, at most K."""
        if self._needed == 0 or self.sentenced:
            return self._least
        agreed = min(max(0, len(self.accusers) - 1), self._needed)
        return self._most - (self._most - self._least) * math.log(agreed + 1) / math.log(self._needed + 1)

    def sentence(self) -> None:
        """Another member has declared the accused dead: that counts as all confirmations, and not as more.

        So the accused has the least time to object wherever the accusation itself was not heard.
        """
        self.sentenced = True

    def counts(self, by: NodeId) -> bool:
        """True where ``by`` is a new accuser, and its word still shortens the time."""
        return by not in self.accusers and len(self.accusers) <= self._needed

    def confirm(self, by: NodeId) -> bool:
        """True when ``by`` is a new accuser that still counts: then the others should hear of it too."""
        if not self.counts(by):
            return False
        self.accusers.add(by)
        return True
