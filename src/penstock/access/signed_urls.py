"""Signed URLs: one request, allowed to whoever holds the address, until it expires.

The signature binds a purpose, a method and a resource (by custom the URL's path; anything else that must not change may
be written into it) and carries only its expiry, so it is short enough for a query parameter.
"""

import struct

from penstock.access import sealing
from penstock.access.keyring import Keyring
from penstock.video.errors import Forbidden

_EXPIRY = struct.Struct(">I")


def sign(keyring: Keyring, *, purpose: str, method: str, resource: str, expires: int) -> str:
    """The signature that permits this request until ``expires``, whole seconds since the Unix epoch."""
    return sealing.seal(keyring, f"url/1/{purpose}", _EXPIRY.pack(expires), about=(method.upper(), resource))


def verify(keyring: Keyring, signature: str, *, purpose: str, method: str, resource: str, now: float) -> int:
    """When the permission ends. Raises :class:`Forbidden`: ``signature_invalid`` or ``signature_expired``."""
    body = sealing.unseal(keyring, f"url/1/{purpose}", signature, about=(method.upper(), resource))
    if body is None or len(body) != _EXPIRY.size:
        raise Forbidden("The signed URL is not valid for this request.", code="signature_invalid")
    expires: int = _EXPIRY.unpack(body)[0]
    if now >= expires:
        raise Forbidden("The signed URL has expired. Ask for a fresh one.", code="signature_expired")
    return expires
