"""What a record remembers of an upload into a bucket: which parts are durable, as a text of constant size.

It asks no store; :mod:`penstock.storage.bucket_staging` does.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from penstock.storage.staging import Staged

_MIB = 1024 * 1024
_LEAST_PART = 5 * _MIB  # S3's own limit for all parts but the last
_MOST_PARTS = 9_999  # S3 allows 10 000; the tail may need one


@dataclass(frozen=True, slots=True)
class Mark:
    """What is durable: ``count`` parts of ``part`` bytes and a tail of ``rest``; with ``direct``, what the store lists."""

    id: str | None = None
    part: int = 0
    count: int = 0
    etags: str = ""
    rest: int = 0
    nonce: str = ""
    direct: bool = False

    @classmethod
    def of(cls, staged: Staged) -> "Mark":
        """Of what a record remembers; a new one where it remembers nothing."""
        if not staged.mark:
            return cls(part=part_size(staged.most))
        return cls(**json.loads(staged.mark))

    @property
    def end(self) -> int:
        """Bytes that are durable."""
        return self.count * self.part + self.rest

    def text(self) -> str:
        """For the record; what has its default is left out."""
        return json.dumps(
            {name: value for name, value in asdict(self).items() if value}, separators=(",", ":")
        )

    def grown(self, etag: str) -> "Mark":
        """With one part more."""
        return replace(self, count=self.count + 1, etags=chained(self.etags, etag), rest=0, nonce="")


def part_size(most: int) -> int:
    """Bytes of each part but the last of an upload of at most ``most`` bytes."""
    least = -(-most // _MOST_PARTS)
    return max(_LEAST_PART, -(-least // _MIB) * _MIB)


def chained(before: str, etag: str) -> str:
    """The digest over all ETags so far with one more: of constant size, however many parts there are."""
    return hashlib.sha256(f"{before}/{etag}".encode()).hexdigest()[:32]
