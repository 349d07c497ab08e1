"""Whether one OpenAPI document may replace another without breaking the clients written against the former.

A pure function of two documents (OpenAPI 3.1, as FastAPI writes them). Direction matters: what a client *sends* may be
accepted more widely but never more narrowly; what it *receives* may gain fields but never lose one, and a value's type
may become narrower but never wider. Clients are expected to ignore fields, enumeration values and status codes they do
not know, so those may be added.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

Document = Mapping[str, Any]
Schema = Mapping[str, Any]

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
# Bounds on what may be sent: (keyword, whether a greater value is the tighter one).
_BOUNDS = (
    ("minimum", True),
    ("exclusiveMinimum", True),
    ("minLength", True),
    ("minItems", True),
    ("maximum", False),
    ("exclusiveMaximum", False),
    ("maxLength", False),
    ("maxItems", False),
)


class Direction(Enum):
    """Who sends the value that a schema describes."""

    SENT = "sent by the client"
    RECEIVED = "received by the client"


def incompatibilities(former: Document, present: Document) -> list[str]:
    """What breaks for a client of ``former`` when ``present`` is served; empty where nothing does."""
    return list(_Comparison(former, present).documents())


class _Comparison:
    """One walk over two documents. ``_seen`` holds the pairs of references on the way down: schemas may be recursive."""

    def __init__(self, former: Document, present: Document) -> None:
        self._former = former
        self._present = present
        self._seen: set[tuple[str, str, Direction]] = set()

    def documents(self) -> Iterator[str]:
        present = {_shape(path): item for path, item in self._present.get("paths", {}).items()}
        for path, item in self._former.get("paths", {}).items():
            counterpart = present.get(_shape(path))
            if counterpart is None:
                yield f"{path}: the path is gone"
                continue
            for method in _METHODS:
                if method not in item:
                    continue
                where = f"{method.upper()} {path}"
                if method in counterpart:
                    yield from self._operation(where, item[method], counterpart[method])
                else:
                    yield f"{where}: the method is gone"

    def _operation(self, where: str, former: Document, present: Document) -> Iterator[str]:
        yield from self._parameters(where, former.get("parameters", ()), present.get("parameters", ()))
        yield from self._request(where, former.get("requestBody"), present.get("requestBody"))
        answers = present.get("responses", {})
        for status, answer in former.get("responses", {}).items():
            if status in answers:
                place = f"{where}: response {status}"
                yield from self._content(place, answer, answers[status], Direction.RECEIVED)
            else:
                yield f"{where}: response {status} is gone"

    def _parameters(
        self, where: str, former: Sequence[Document], present: Sequence[Document]
    ) -> Iterator[str]:
        # Path parameters are matched by position in the path: their names are not seen by clients.
        known = {(item["in"], item["name"]): item for item in former if item["in"] != "path"}
        given = {(item["in"], item["name"]): item for item in present if item["in"] != "path"}
        for (kind, name), item in known.items():
            place = f"{where}: {kind} parameter '{name}'"
            if (kind, name) not in given:
                yield f"{place} is gone"
                continue
            counterpart = given[kind, name]
            if counterpart.get("required") and not item.get("required"):
                yield f"{place} is now required"
            yield from self._schema(
                place, item.get("schema", {}), counterpart.get("schema", {}), Direction.SENT
            )
        for (kind, name), item in given.items():
            if item.get("required") and (kind, name) not in known:
                yield f"{where}: {kind} parameter '{name}' is new and required"

    def _request(self, where: str, former: Document | None, present: Document | None) -> Iterator[str]:
        if former is None:
            if present is not None and present.get("required"):
                yield f"{where}: a request body is now required"
        elif present is None:
            yield f"{where}: the request body is gone"
        else:
            if present.get("required") and not former.get("required"):
                yield f"{where}: the request body is now required"
            yield from self._content(f"{where}: request", former, present, Direction.SENT)

    def _content(
        self, where: str, former: Document, present: Document, direction: Direction
    ) -> Iterator[str]:
        given = present.get("content", {})
        for media_type, item in former.get("content", {}).items():
            if media_type in given:
                yield from self._schema(
                    where, item.get("schema", {}), given[media_type].get("schema", {}), direction
                )
            else:
                yield f"{where}: media type {media_type} is gone"

    def _schema(self, where: str, former: Schema, present: Schema, direction: Direction) -> Iterator[str]:
        pair = (str(former.get("$ref")), str(present.get("$ref")), direction)
        if "$ref" in former and "$ref" in present:
            if pair in self._seen:
                return
            self._seen.add(pair)
        # The side that must be covered: everything a client may send, everything it may be sent.
        if direction is Direction.SENT:
            needed, covering = (
                self._alternatives(former, self._former),
                self._alternatives(present, self._present),
            )
        else:
            needed, covering = (
                self._alternatives(present, self._present),
                self._alternatives(former, self._former),
            )
        for alternative in needed:
            yield from self._covered(where, alternative, covering, direction)

    def _covered(
        self, where: str, needed: Schema, covering: Sequence[Schema], direction: Direction
    ) -> Iterator[str]:
        """Nothing where one of ``covering`` takes all of ``needed``, else the complaints about the one that comes nearest."""
        candidates = [schema for schema in covering if _types_cover(schema, needed)]
        if not candidates:
            verb = "no longer accepted" if direction is Direction.SENT else "new"
            yield f"{where}: type {_name(needed)} is {verb}"
            return
        complaints = []
        for candidate in candidates:
            pair = (needed, candidate) if direction is Direction.SENT else (candidate, needed)
            complaints.append(list(self._alike(where, *pair, direction)))
        yield from min(complaints, key=len)

    def _alike(self, where: str, former: Schema, present: Schema, direction: Direction) -> Iterator[str]:
        if direction is Direction.SENT:
            yield from _tightened(where, former, present)
        yield from self._properties(where, former, present, direction)
        if "items" in former and "items" in present:
            yield from self._schema(f"{where}[]", former["items"], present["items"], direction)

    def _properties(self, where: str, former: Schema, present: Schema, direction: Direction) -> Iterator[str]:
        known, given = former.get("properties", {}), present.get("properties", {})
        was_required, is_required = set(former.get("required", ())), set(present.get("required", ()))
        for name, schema in known.items():
            if name in given:
                yield from self._schema(f"{where}.{name}", schema, given[name], direction)
            else:
                yield f"{where}.{name}: the field is gone"
        if direction is Direction.SENT:
            for name in sorted(is_required - was_required):
                yield f"{where}.{name}: the field is {'now' if name in known else 'new and'} required"
        else:
            for name in sorted((was_required - is_required) & set(given)):
                yield f"{where}.{name}: the field may now be missing"

    def _alternatives(self, schema: Schema, document: Document) -> list[Schema]:
        """The schemas without references, of which a value meets at least one; a list of types is spread out."""
        if "$ref" in schema:
            return self._alternatives(_resolve(schema["$ref"], document), document)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return [found for item in schema[keyword] for found in self._alternatives(item, document)]
        if "allOf" in schema:
            merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                for found in self._alternatives(part, document):
                    merged = _merged(merged, found)
            return [merged]
        if isinstance(schema.get("type"), list):
            return [{**schema, "type": each} for each in schema["type"]]
        return [schema]


def _shape(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def _resolve(reference: str, document: Document) -> Schema:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node  # type: ignore[no-any-return]


def _merged(left: Schema, right: Schema) -> dict[str, Any]:
    return {
        **left,
        **right,
        "properties": {**left.get("properties", {}), **right.get("properties", {})},
        "required": [*left.get("required", ()), *right.get("required", ())],
    }


def _types_cover(covering: Schema, needed: Schema) -> bool:
    wide, narrow = covering.get("type"), needed.get("type")
    return wide is None or wide == narrow or (wide, narrow) == ("number", "integer")


def _tightened(where: str, former: Schema, present: Schema) -> Iterator[str]:
    """Values that were accepted and are no longer."""
    allowed = _values(present)
    if allowed is not None:
        were = _values(former)
        if were is None:
            yield f"{where}: only certain values are accepted now"
        else:
            for value in sorted(were - allowed):
                yield f"{where}: value {value} is no longer accepted"
    for keyword, greater_is_tighter in _BOUNDS:
        if keyword not in present:
            continue
        before, now = former.get(keyword), present[keyword]
        if before is None or (now > before if greater_is_tighter else now < before):
            yield f"{where}: {keyword} is tighter ({before} before, {now} now)"
    if "pattern" in present and present["pattern"] != former.get("pattern"):
        yield f"{where}: the pattern changed"


def _values(schema: Schema) -> frozenset[str] | None:
    """The accepted values as JSON-like texts, or None where any value of the type is accepted."""
    if "const" in schema:
        return frozenset({repr(schema["const"])})
    return frozenset(map(repr, schema["enum"])) if "enum" in schema else None


def _name(schema: Schema) -> str:
    return str(schema.get("type", "any"))
