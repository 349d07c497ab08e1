"""Small objects that are sent from memory."""

from hashlib import sha256

import pytest

from penstock.streaming.memory import SmallObjects, Whole
from penstock.streaming.problems import ObjectDamaged
from penstock.streaming.publication import Item

SIZE = 10_000


def item(key: str) -> Item:
    """An object whose bytes are its key, again and again."""
    return Item(key, SIZE, sha256(body(key)).hexdigest()[:32], "video/mp4")


def body(key: str) -> bytes:
    """Its bytes."""
    return (key.encode() * SIZE)[:SIZE]


def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    """There is room for two: the third takes the place of the one that nobody asked for since."""
    memory = SmallObjects(room=3 * SIZE)
    for key in ("a", "b"):
        memory.keep(item(key), Whole(b"", body(key)))
    assert memory.find(item("a"))
    memory.keep(item("c"), Whole(b"", body("c")))
    assert memory.find(item("b")) is None
    assert [found.body for key in ("a", "c") if (found := memory.find(item(key)))] == [body("a"), body("c")]


def test_room_is_given_back() -> None:
    """However many objects pass through, and twice, as many fit at the end as did at the beginning."""
    memory = SmallObjects(room=3 * SIZE)
    for number in range(200):
        memory.keep(item(f"{number // 2}"), Whole(b"", body(f"{number // 2}")))
    assert [key for key in map(str, range(100)) if memory.find(item(key))] == ["98", "99"]


@pytest.mark.parametrize("damaged", [b"", body("a")[:-1], b"b" + body("a")[1:]])
def test_what_is_not_what_was_published_is_refused(damaged: bytes) -> None:
    """Shorter or with another byte: it is told, and not remembered."""
    memory = SmallObjects()
    with pytest.raises(ObjectDamaged):
        memory.keep(item("a"), Whole(b"", damaged))
    assert memory.find(item("a")) is None
