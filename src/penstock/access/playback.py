"""Playback tokens: the part of a playback URL's path that says what its holder may stream, and until when.

A token names one video and one generation, so every manifest and segment below it inherits the permission, and a CDN
that knows the keys can verify it and cache the segment without it. It is opaque to clients.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache

from penstock.access import sealing
from penstock.access.keyring import Keyring
from penstock.video import identity
from penstock.video.errors import Forbidden

_PURPOSE = "playback/1"
# expiry, highest rung (0 for none), video, generation, session; an origin follows, where there is one
_BODY = struct.Struct(">IH16s16s16s")
_LONGEST_ORIGIN = 128


@dataclass(frozen=True, slots=True)
class PlaybackGrant:
    """What a token permits. ``expires`` is in whole seconds since the Unix epoch."""

    video_id: str
    generation_id: str
    session_id: str  # one viewing, an id; logs tell its story
    expires: int
    max_height: int | None = None  # the highest rung that may be fetched, by the height in its name
    origin: str | None = None  # the one web origin that may embed it, for instance ``https://example.org``


def mint(keyring: Keyring, grant: PlaybackGrant) -> str:
    """The token for a grant, about 100 characters."""
    origin = (grant.origin or "").encode("ascii")
    if len(origin) > _LONGEST_ORIGIN:
        raise ValueError("an origin is longer than a token may carry")
    body = _BODY.pack(
        grant.expires,
        grant.max_height or 0,
        identity.to_bytes(grant.video_id),
        identity.to_bytes(grant.generation_id),
        identity.to_bytes(grant.session_id),
    )
    return sealing.seal(keyring, _PURPOSE, body + origin)


def verify(keyring: Keyring, token: str, *, video_id: str, generation_id: str, now: float) -> PlaybackGrant:
    """What the token permits at ``now``, seconds since the Unix epoch.

    Raises :class:`Forbidden` with code ``token_invalid`` (not ours, or altered), ``token_expired``, or
    ``token_foreign`` (good, for another video or generation than the URL asks for).
    """
    body = sealing.unseal(keyring, _PURPOSE, token)
    if body is None or len(body) < _BODY.size:
        raise Forbidden(
            "The playback URL is not valid. Ask the library for a fresh one.", code="token_invalid"
        )
    grant = _read(body)
    if now >= grant.expires:
        raise Forbidden(
            "The playback URL has expired. Ask the library for a fresh one.", code="token_expired"
        )
    if (grant.video_id, grant.generation_id) != (video_id, generation_id):
        raise Forbidden("The playback URL was given for something else.", code="token_foreign")
    return grant


@lru_cache(maxsize=8192)  # as many as tokens that are remembered
def _read(body: bytes) -> PlaybackGrant:
    expires, max_height, video, generation, session = _BODY.unpack_from(body)
    return PlaybackGrant(
        video_id=identity.from_bytes(video),
        generation_id=identity.from_bytes(generation),
        session_id=identity.from_bytes(session),
        expires=expires,
        max_height=max_height or None,
        origin=body[_BODY.size :].decode("ascii") or None,
    )


def check_origin(grant: PlaybackGrant, origin: str | None) -> None:
    """Refuses a request from elsewhere than the grant's origin; ``origin`` is the request's own header, None if absent."""
    if grant.origin is not None and origin != grant.origin:
        raise Forbidden("The playback URL may not be used on this site.", code="token_origin_refused")


def check_height(grant: PlaybackGrant, height: int | None) -> None:
    """Refuses a rung above the grant's highest; ``height`` is what the rung's name says, None for audio."""
    if grant.max_height is not None and height is not None and height > grant.max_height:
        raise Forbidden("The playback URL does not permit this rung.", code="token_rung_refused")
