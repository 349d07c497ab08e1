"""Small objects, whole, as they were published: read once, compared with their digest, and then sent from here.

An object never changes and its key never names another, so what is remembered never grows stale. Who may have it is asked
before, by others, each time. It knows bytes and digests, and nothing of requests, videos or files.
"""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from penstock.streaming.problems import ObjectDamaged
from penstock.streaming.publication import Item

LARGEST = 128 << 10  # bytes of an object that is remembered
_ROOM = 64 << 20  # bytes of all that are, an allowance for what is kept beside each included
_BESIDE = 2048  # bytes at most that one takes beside its own: key, headers, the places where they are kept


@dataclass(frozen=True, slots=True)
class Whole:
    """An object as it is sent: the lines of the headers that say what it is, and its bytes."""

    head: bytes
    body: bytes


class SmallObjects:
    """The small objects that were asked for last; the one not asked for longest is forgotten first."""

    def __init__(self, room: int = _ROOM) -> None:
        """``room`` in bytes."""
        self._room = room
        self._taken = 0
        self._known: OrderedDict[str, Whole] = OrderedDict()

    def find(self, item: Item) -> Whole | None:
        """The object, None where it is not remembered."""
        whole = self._known.get(item.key)
        if whole is not None:
            self._known.move_to_end(item.key)
        return whole

    def keep(self, item: Item, whole: Whole) -> None:
        """Remembers what was read. Raises :class:`ObjectDamaged` where it is not what was published."""
        # Once per object and not per request: half a millionth of a second per kilobyte. Without it what was read from a
        # damaged file would be sent on after the file was restored.
        if not sha256(whole.body).hexdigest().startswith(item.etag):
            raise ObjectDamaged("What is stored is not what was published.")
        self._forget(item.key)
        self._known[item.key] = whole
        self._taken += len(whole.body) + _BESIDE
        while self._taken > self._room:
            self._forget(next(iter(self._known)))

    def _forget(self, key: str) -> None:
        whole = self._known.pop(key, None)
        if whole is not None:
            self._taken -= len(whole.body) + _BESIDE
