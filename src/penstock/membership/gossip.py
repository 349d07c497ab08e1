"""The queue of news: what is still to be told, least-told first, one piece per member.

Bounded by the number of members: a newer statement about a member replaces the older one. It knows sizes, not sockets.
"""

import math
from collections.abc import Iterator

from penstock.membership import codec
from penstock.membership.members import NodeId
from penstock.membership.messages import News


def transmissions(factor: int, count: int) -> int:
    """How often each piece of news is sent by each node: ``factor * ceil(log10(N + 1))`` (SWIM, section 4.1)."""
    return factor * max(1, math.ceil(math.log10(count + 1)))


class GossipQueue:
    """News in tiers by the number of times it was sent."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._tiers: list[dict[NodeId, tuple[News, int]]] = [{}]
        self._tier_of: dict[NodeId, int] = {}

    def __len__(self) -> int:
        return len(self._tier_of)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._tier_of

    def __iter__(self) -> Iterator[News]:
        return (news for tier in self._tiers for news, _ in tier.values())

    def add(self, news: News) -> None:
        """Queues news, instead of whatever was queued about the same member."""
        self.drop(news.node)
        self._tiers[0][news.node] = (news, codec.size(news))
        self._tier_of[news.node] = 0

    def drop(self, node: NodeId) -> None:
        """Stops telling about a member."""
        tier = self._tier_of.pop(node, None)
        if tier is not None:
            del self._tiers[tier][node]

    def take(self, room: int, count: int, *, without: NodeId | None = None) -> list[News]:
        """News for one packet with ``room`` bytes, least-told first; each is one time nearer to being told enough.

        ``count`` is N; ``without``: a member that gets its own news apart.
        """
        limit = transmissions(self._factor, count)
        chosen: list[tuple[int, News, int]] = []
        for number, tier in enumerate(self._tiers):
            for news, size in tier.values():
                if size <= room and news.node != without:
                    chosen.append((number, news, size))
                    room -= size
                if room < 24:  # nothing is smaller: the id alone takes 18
                    break
            else:
                continue
            break
        for number, news, size in chosen:
            del self._tiers[number][news.node]
            if number + 1 >= limit:
                del self._tier_of[news.node]
                continue
            if number + 1 == len(self._tiers):
                self._tiers.append({})
            self._tiers[number + 1][news.node] = (news, size)
            self._tier_of[news.node] = number + 1
        return [news for _, news, _ in chosen]
