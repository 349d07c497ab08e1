"""What a player says about itself (CTA-5004, Common Media Client Data), read for the log.

The data is a list of ``key`` or ``key=value`` members in the manner of RFC 8941, in a query argument or in four headers.
Whatever a client sends, reading it never fails: what is not understood is left out.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs

Facts = dict[str, int | str | bool]

_HEADERS = (b"cmcd-object", b"cmcd-request", b"cmcd-session", b"cmcd-status")
_LONGEST = 2048  # bytes; every key of the specification together stays below
_MOST_FIELDS = 16  # of a query in which it is looked for
_MEMBER = re.compile(r'([a-z][a-z0-9-]*)(?:=(?:"((?:[^"\\]|\\.)*)"|([^,"]*)))?(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")
# What a log line needs to explain a switch: encoded, top and measured bitrate (kbit/s), buffer and deadline (ms),
# session, object type, and the player's own words for a stall and a start.
_INTEGERS = frozenset({"br", "bl", "dl", "mtp", "rtp", "tb", "d"})
_TEXTS = frozenset({"sid", "ot", "st", "sf"})
_FLAGS = frozenset({"bs", "su"})
_LONGEST_TEXT = 64  # characters, the specification's limit for the session id


def facts(query: bytes, headers: Mapping[bytes, bytes]) -> Facts:
    """The known members of a request's query and headers; a query argument wins, as players send one or the other."""
    found: Facts = {}
    if not headers.keys().isdisjoint(_HEADERS):
        for name in _HEADERS:
            found.update(parse(headers.get(name, b"").decode("latin-1")))
    if b"CMCD" in query and len(query) <= 3 * _LONGEST:  # percent-encoded
        for text in _arguments(query).get("CMCD", ()):
            found.update(parse(text))
    return found


def _arguments(query: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(query.decode("latin-1"), errors="replace", max_num_fields=_MOST_FIELDS)
    except ValueError:  # there are more
        return {}


def parse(text: str) -> Facts:
    """The known members of one list."""
    found: Facts = {}
    for match in _MEMBER.finditer(text[:_LONGEST]):
        key, quoted, bare = match.groups()
        if key in _FLAGS:
            found[key] = bare != "false"
        elif key in _INTEGERS and bare is not None and bare.isascii() and bare.isdigit() and len(bare) <= 9:
            found[key] = int(bare)
        elif key in _TEXTS and (quoted or bare):
            value = _ESCAPED.sub(r"\1", quoted) if quoted else bare
            found[key] = "".join(c for c in value if c.isprintable())[:_LONGEST_TEXT]
    return found
