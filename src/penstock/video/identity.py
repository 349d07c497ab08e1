"""Identifiers: opaque, url-safe, sortable by creation (the ULID layout: 48 bits of milliseconds, 80 of randomness)."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, lower case: no i, l, o, u to misread
_LENGTH = 26


def new_id() -> str:
    """A fresh id of 26 characters. Ids of different milliseconds sort by creation; within one the order is random."""
    return new_at(time.time_ns() // 1_000_000)


def new_at(milliseconds: int) -> str:
    """A fresh id that sorts as made at this time since the Unix epoch: for ids that are compared over machines."""
    return encode(milliseconds, secrets.randbits(80))


def encode(milliseconds: int, randomness: int) -> str:
    """The id for a time since the Unix epoch (48 bits) and 80 random bits."""
    number = (milliseconds << 80) | randomness
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of an id. Handlers ask before they look anything up or build a key from it."""
    return len(text) == _LENGTH and text[0] <= "7" and all(character in _ALPHABET for character in text)


def to_bytes(identifier: str) -> bytes:
    """The 16 bytes that an id spells. Raises ``ValueError`` for a text that is no id."""
    if not is_id(identifier):
        raise ValueError("not an id")
    number = 0
    for character in identifier:
        number = (number << 5) | _ALPHABET.index(character)
    return number.to_bytes(16, "big")


def from_bytes(data: bytes) -> str:
    """The id that 16 bytes stand for."""
    number = int.from_bytes(data, "big")
    return encode(number >> 80, number & ((1 << 80) - 1))
