"""The simulated network: latency, loss, cuts in one or both directions, partitions. It knows addresses, not nodes."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from penstock.membership.members import Address


@dataclass(slots=True)
class Network:
    """Conditions between addresses, and what they do to one message."""

    rng: random.Random
    latency: float = 0.0005
    """Mean one-way delay in seconds, exponential above half of it: a quiet local network."""
    loss: float = 0.0
    """Share of datagrams lost everywhere."""
    bad: dict[Address, float] = field(default_factory=dict)
    """Additional loss of everything to and from an address."""
    deaf: set[Address] = field(default_factory=set)
    """Receives nothing."""
    mute: set[Address] = field(default_factory=set)
    """Is heard by nobody."""
    side: dict[Address, int] = field(default_factory=dict)
    """Partition: messages pass within one side only; addresses not named are on side 0."""

    def partition(self, addresses: Iterable[Address]) -> None:
        """Cuts ``addresses`` off from all others, in both directions."""
        self.side = dict.fromkeys(addresses, 1)

    def heal(self) -> None:
        """Ends the partition."""
        self.side = {}

    def passes(self, source: Address, to: Address) -> bool:
        """Whether one datagram arrives."""
        if self.side and self.side.get(source, 0) != self.side.get(to, 0):
            return False
        if source in self.mute or to in self.deaf:
            return False
        if self.loss and self.rng.random() < self.loss:
            return False
        return not self.bad or not any(
            self.rng.random() < self.bad[end] for end in (source, to) if end in self.bad
        )

    def delay(self) -> float:
        """One-way delay of one message."""
        return self.latency * (0.5 + self.rng.expovariate(2.0))

    def stream_delay(self, source: Address, to: Address) -> float | None:
        """Delay of one message of a stream with TCP's retransmissions, or None where it gives up (here: after 3 s)."""
        waited, pause = 0.0, 0.2
        while waited < 3.0:
            if self.passes(source, to) and self.passes(to, source):  # the segment and its acknowledgement
                return waited + self.delay()
            waited += pause
            pause *= 2
        return None
