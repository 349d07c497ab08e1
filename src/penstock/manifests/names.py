"""How URLs below a generation are spelled, and which words of a hostile file may enter a manifest.

All names are relative to the manifest that holds them, so that the token in the path is inherited. Labels and languages
come from uploaded files: whatever they hold, the manifest stays well-formed and says nothing but a name.
"""

import re
import unicodedata
from urllib.parse import quote

from penstock.video.timeline import Artefact

MULTIVARIANT = "master.m3u8"
MPD = "manifest.mpd"
MEDIA_PLAYLIST = "index.m3u8"
IFRAME_PLAYLIST = "iframes.m3u8"
INIT_SEGMENT = "init.mp4"
SEGMENT_SUFFIX = ".m4s"
PLAYLIST_SUFFIX = ".m3u8"

_LONGEST_LABEL = 100  # characters; a menu shows fewer
_BIDI_CONTROLS = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # they reorder what stands beside
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")  # RFC 5646 section 2.1, the shape of it


def segment(number: int) -> str:
    """The name of a media segment beside its track's playlist."""
    return f"{number}{SEGMENT_SUFFIX}"


def is_manifest(name: str) -> bool:
    """Whether a name is that of a manifest, of whatever kind."""
    return name == MPD or name.endswith(PLAYLIST_SUFFIX)


def captions_playlist(item: Artefact) -> str:
    """The name of the HLS playlist that wraps one captions file."""
    return item.name.removesuffix(".vtt") + PLAYLIST_SUFFIX


def url(name: str) -> str:
    """A name as one relative URL reference: nothing in it can become a scheme, a query or another folder."""
    return quote(name, safe="")


def label(text: str | None) -> str | None:
    """A label in NFC (RFC 8216 section 4.1) without controls, unassigned characters, line breaks and double quotes.

    None where nothing readable is left. HLS has no way to escape a quote, XML none to carry most controls.
    """
    kept = "".join(_readable(character) for character in (text or "")[: 4 * _LONGEST_LABEL])
    return " ".join(unicodedata.normalize("NFC", kept).split())[:_LONGEST_LABEL].rstrip() or None


def language(tag: str | None) -> str | None:
    """A language tag if it has the shape of one and says something; ``und`` does not."""
    known = (
        tag is not None and tag.lower() != "und" and len(tag) <= _LONGEST_LABEL and _LANGUAGE.fullmatch(tag)
    )
    return tag if known else None


def _readable(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    if category in ("Cs", "Cn", "Co") or character in _BIDI_CONTROLS:
        return ""
    return "'" if character == '"' else character
