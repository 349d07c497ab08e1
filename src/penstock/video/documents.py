"""Frozen values to and from plain JSON documents: what a plan, a probe or a scan looks like when it is stored.

The field types of the dataclass are the schema. This file knows nothing about what the values mean.
"""

import dataclasses
import functools
import hashlib
import json
import types
import typing
from enum import Enum
from fractions import Fraction
from typing import Any, TypeVar

from penstock.video.errors import PermanentError

T = TypeVar("T")  # PEP 695 syntax needs Python 3.12


class DocumentMalformed(PermanentError):
    """A stored document does not have the form that this program writes."""

    code = "document_malformed"


def to_document(value: Any) -> Any:
    """Plain JSON values: a dataclass becomes an object, a tuple an array, a Fraction the text ``"30000/1001"``."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, tuple):
        return [to_document(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_document(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def from_document(kind: type[T], document: Any) -> T:
    """The value of type ``kind`` that ``document`` describes. Raises :class:`DocumentMalformed` on anything else."""
    try:
        value: T = _decode(kind, document)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DocumentMalformed(f"The document is not a {kind.__name__} of this program's format.") from error
    return value


def dumps(value: Any) -> str:
    """The canonical JSON text of a value: sorted keys, no spaces, so that equal values have equal texts."""
    return json.dumps(to_document(value), separators=(",", ":"), sort_keys=True)


def loads(kind: type[T], text: str | bytes) -> T:
    """The value of type ``kind`` in a JSON text. Raises :class:`DocumentMalformed`."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DocumentMalformed("The document is not JSON.") from error
    return from_document(kind, document)


def digest(value: Any) -> str:
    """SHA-256 of the canonical text, in hexadecimal: equal values, equal digests, on every machine."""
    return hashlib.sha256(dumps(value).encode()).hexdigest()


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Name and type of each field; finding them out takes longer than decoding by them."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _decode(kind: Any, document: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [part for part in typing.get_args(kind) if part is not type(None)]
        return None if document is None else _decode(inner[0], document)
    if origin is tuple:
        element = typing.get_args(kind)[0]
        return tuple(_decode(element, item) for item in _expect(document, list))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        fields = _expect(document, dict)
        return kind(**{name: _decode(hint, fields[name]) for name, hint in _hints(kind).items()})
    if issubclass(kind, Enum):
        return kind(document)
    if kind is Fraction:
        return Fraction(_expect(document, str))
    return _expect(document, kind)


def _expect(document: Any, kind: type[Any]) -> Any:
    if not isinstance(document, kind) or (kind is int and isinstance(document, bool)):
        raise TypeError(f"expected {kind.__name__}")
    return document
