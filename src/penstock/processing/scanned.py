"""What the records keep of a scan: the sums. Every packet's facts are in the packet index, an object."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from penstock.video import documents


@dataclass(frozen=True, slots=True)
class Scanned:
    """The outcome of ``scan``, as the generation's record holds it in JSON."""

    packet_index: str  # key of the object
    source_frames: int
    frames: int  # of every rung; 0 without pictures
    chunks: int
    duration: Fraction  # seconds of the finished video
    truncated: bool

    def to_json(self) -> str:
        """Canonical JSON text."""
        return documents.dumps(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The value of :meth:`to_json`. Raises ``DocumentMalformed``."""
        return documents.loads(cls, text)
