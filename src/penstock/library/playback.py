"""Playback addresses: a fresh session and a signed token for somebody who may watch, and links to watch pages.

Whether the caller may watch was decided before; this file knows how long a permission lives and how it is addressed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.requests import Request

from penstock.access import playback, signed_urls
from penstock.access.config import AccessConfig
from penstock.access.keyring import Keyring
from penstock.access.playback import PlaybackGrant
from penstock.library.config import LibraryConfig
from penstock.manifests import names
from penstock.video import identity

_WATCH = "watch"  # the purpose that a watch link is signed for
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks of its addresses: limits, and the viewing that they shall go on with."""

    max_height: int | None = None
    origin: str | None = None
    session_id: str | None = None  # None: a new one


@dataclass(frozen=True, slots=True)
class Session:
    """One viewing: everything below ``base`` may be fetched until ``expires``, seconds since the Unix epoch."""

    id: str
    base: str
    expires: int

    def address(self, *path: str) -> str:
        """The address of something below the generation."""
        return "/".join((self.base, *(names.url(part) for part in path)))


@dataclass(frozen=True, slots=True)
class Playback:
    """Gives permissions to watch. ``clock`` is in seconds since the Unix epoch, ``here`` the address that was called."""

    config: LibraryConfig
    access: AccessConfig
    keyring: Keyring
    clock: Callable[[], float]
    here: str = ""

    def called_by(self, request: Request) -> "Playback":
        """The same for one request: where nothing is configured, addresses begin with the one that it called."""
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            name, port = request.scope.get("server") or ("localhost", None)
            host = f"{name}:{port}" if port else name
        return replace(self, here=f"{request.url.scheme}://{host}")

    def open(self, video_id: str, generation_id: str, duration: float, wish: Wish) -> Session:
        """Permission to watch a generation of ``duration`` seconds."""
        grant = PlaybackGrant(
            video_id=video_id,
            generation_id=generation_id,
            session_id=wish.session_id or identity.new_id(),
            expires=int(self.clock() + self.access.playback_token_life(duration)),
            max_height=wish.max_height,
            origin=wish.origin,
        )
        token = playback.mint(self.keyring, grant)
        base = f"{_root(self.config.playback_url, self.here)}/stream/{token}/{video_id}/{generation_id}"
        return Session(grant.session_id, base, grant.expires)

    def watch_page(self, video_id: str, *, signed: bool) -> str:
        """The address of a video's page; ``signed`` lets its holder watch a private one."""
        address = f"{_root(self.config.public_url, self.here)}/watch/{video_id}"
        if not signed:
            return address
        expires = int(self.clock() + self.access.watch_link_life)
        link = signed_urls.sign(
            self.keyring, purpose=_WATCH, method="GET", resource=video_id, expires=expires
        )
        return f"{address}?t={link}"

    def check_watch_link(self, video_id: str, link: str) -> None:
        """Raises :class:`Forbidden` unless ``link`` is a good one for this video."""
        signed_urls.verify(
            self.keyring, link, purpose=_WATCH, method="GET", resource=video_id, now=self.clock()
        )


def _root(configured: str | None, here: str) -> str:
    return (configured or here).rstrip("/")
