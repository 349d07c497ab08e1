"""Preconditions and ranges of RFC 9110, as pure functions of header values.

Every object here is immutable and has a strong entity tag, so dates are never needed.
"""

import re
from dataclasses import dataclass

_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)
_ETAG = re.compile(rb'(?:W/)?"([^"]*)"')
_LONGEST_CONDITION = 4096  # bytes; beyond it a list of tags is no honest question


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class NotSatisfiable(Exception):
    """A well-formed range that begins beyond the object."""


def requested_range(
    header: bytes | None, if_range: bytes | None, *, size: int, etag: str
) -> ByteRange | None:
    """The range to send, or None for the whole object. Raises :class:`NotSatisfiable`.

    A server may ignore a range (section 14.2). That is done with malformed ones and with several at once, which no
    player needs and which cost an attacker nothing to send; and where ``If-Range`` names another version.
    """
    match = _RANGE.fullmatch(header) if header and len(header) <= 64 else None
    if match is None or (if_range is not None and if_range.strip() != f'"{etag}"'.encode()):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:  # the last so many bytes
        length = min(int(last), size)
        if length == 0:
            raise NotSatisfiable
        return ByteRange(size - length, size)
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None  # not a valid range (section 14.1.1), so there is none
    if start >= size:
        raise NotSatisfiable
    return ByteRange(start, end)


def not_modified(if_none_match: bytes | None, etag: str) -> bool:
    """Whether the client's copy is this one (section 13.1.2: the comparison is weak)."""
    if if_none_match is None or len(if_none_match) > _LONGEST_CONDITION:
        return False
    if if_none_match.strip() == b"*":
        return True
    return etag.encode() in _ETAG.findall(if_none_match)


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Whether the client takes a gzip body (section 12.5.3); a weight of zero refuses it."""
    for item in (accept_encoding or b"").split(b","):
        coding, _, weight = item.partition(b";")
        if coding.strip().lower() == b"gzip":
            return not re.fullmatch(rb"\s*q\s*=\s*0(?:\.0*)?\s*", weight)
    return False
