from pathlib import Path

import pytest

from penstock.membership.errors import InvalidInput, KeyInUse, StateUnreadable, UnknownKey
from penstock.membership.keyring import Key, KeyRing


def test_a_ring_makes_its_first_key_and_keeps_it(tmp_path: Path) -> None:
    """The first node of a cluster starts without preparation, and finds its key again."""
    path = tmp_path / "keys"
    ring = KeyRing.load(path)
    assert KeyRing.load(path).keys == ring.keys
    assert path.stat().st_mode & 0o077 == 0


def test_changes_are_on_disk_when_they_take_effect(tmp_path: Path) -> None:
    """A ring read again holds what was added, with the primary key first."""
    path = tmp_path / "keys"
    ring, key = KeyRing.load(path), Key.generate()
    first = ring.primary
    ring.add(key)
    assert KeyRing.load(path).keys == (first, key)
    ring.use(key.fingerprint)
    assert KeyRing.load(path).primary == key
    ring.remove(first.fingerprint)
    assert KeyRing.load(path).keys == (key,)


def test_adding_a_key_twice_changes_nothing() -> None:
    """Adding is idempotent."""
    ring = KeyRing([Key(b"k" * 32)])
    ring.add(Key(b"k" * 32))
    assert len(ring.keys) == 1


def test_the_primary_key_cannot_be_removed() -> None:
    """Another one must be made primary first."""
    ring = KeyRing([Key(b"k" * 32)])
    with pytest.raises(KeyInUse):
        ring.remove(ring.primary.fingerprint)


def test_an_unknown_fingerprint_is_refused() -> None:
    """A typing error changes nothing."""
    with pytest.raises(UnknownKey):
        KeyRing([Key(b"k" * 32)]).use("0" * 16)


@pytest.mark.parametrize("text", ["", "x", "AAAA", "!" * 44, str(Key(b"k" * 32)) + "A"])
def test_what_is_no_key_is_refused(text: str) -> None:
    """A key is 32 bytes in base64."""
    with pytest.raises(InvalidInput):
        Key.parse(text)


@pytest.mark.parametrize("content", [b"", b"not a key\n", b"\xff\xfe"])
def test_a_damaged_ring_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """Starting with a new key would cut the node off without a word."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(StateUnreadable):
        KeyRing.load(path)
    assert path.read_bytes() == content


def test_keys_do_not_show_themselves() -> None:
    """What is logged of a key is its fingerprint."""
    key = Key.generate()
    assert str(key) not in repr(key)
    assert key.fingerprint in repr(key)
