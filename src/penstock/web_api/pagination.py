"""Keyset pagination: ``{items, next_cursor}``.

A cursor is the sort order and the sort key of the last item that was returned. It stays good whatever is inserted or
deleted meanwhile, and is opaque: its form may change between versions, its meaning not.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Generic, TypeVar

from pydantic import BaseModel, Field

from penstock.video.errors import FieldError, InvalidRequest

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_LONGEST = 2048
T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some of the items, and where to go on."""

    items: list[T]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null after the last.")


def encode(sort: str, key: Sequence[str]) -> str:
    """The cursor after an item whose sort key is ``key`` in the order ``sort``."""
    text = json.dumps([sort, *key], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode(cursor: str, sort: str, length: int) -> tuple[str, ...]:
    """The sort key of ``length`` values that a cursor carries.

    Raises :class:`InvalidRequest` unless it was made for this order and this many values.
    """
    values = _values(cursor)
    if values is None or len(values) != length + 1:
        raise _invalid("It is not a cursor that this list gave.")
    if values[0] != sort:
        raise _invalid("It belongs to another sort order; begin again without a cursor.")
    return tuple(values[1:])


def _values(cursor: str) -> list[str] | None:
    if len(cursor) > _LONGEST or not cursor.isascii():
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return values if isinstance(values, list) and all(map(_is_text, values)) else None


def _is_text(value: object) -> bool:
    """Whether a database can compare with it: neither holds a NUL character nor half a surrogate pair."""
    return isinstance(value, str) and "\0" not in value and value.encode("utf-8", "replace").decode() == value


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The cursor cannot be used. {why}", code="cursor_invalid", errors=(FieldError("/query/cursor", why),)
    )
