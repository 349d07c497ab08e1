"""The sealed form under every token: key id, body and a message authentication code, as one url-safe word.

The algorithm is HMAC-SHA256 cut to 128 bits (RFC 2104 section 5), and the token has no say in it. The code covers the
purpose, so that a token of one kind is never one of another, and every part is preceded by its length, so that no two
different inputs are the same bytes. A text that is not exactly what :func:`seal` would write is refused.
"""

import base64
import binascii
import hmac
from functools import lru_cache

from penstock.access.keyring import KEY_ID_BYTES, Keyring

_MAC_BYTES = 16
_KEY_ID_CHARACTERS = KEY_ID_BYTES * 4 // 3  # of the text; a whole number of them
_LONGEST_TEXT = 512  # no token is longer; a longer path segment costs no decoding


def seal(keyring: Keyring, purpose: str, body: bytes, *, about: tuple[str, ...] = ()) -> str:
    """The token for ``body``. ``about`` is covered by the code but not carried: whoever opens it must know it."""
    key = keyring.signing_key()
    return _text(key.id + body + _mac(key.secret, purpose, key.id, body, about))


def unseal(keyring: Keyring, purpose: str, text: str, *, about: tuple[str, ...] = ()) -> bytes | None:
    """The body that a token carries, or None unless this ring sealed it for this purpose and this ``about``."""
    key_id = _key_id(text[:_KEY_ID_CHARACTERS])
    key = None if key_id is None else keyring.find(key_id)
    return None if key is None else _opened(key.secret, purpose, text, about)


# A player brings the same token with every request. The ring is asked each time all the same, so what it no longer has opens
# nothing; what a key says of a text never changes.
@lru_cache(maxsize=8192)
def _opened(secret: bytes, purpose: str, text: str, about: tuple[str, ...]) -> bytes | None:
    data = _data(text)
    if data is None or len(data) < KEY_ID_BYTES + _MAC_BYTES:
        return None
    key_id, body, code = data[:KEY_ID_BYTES], data[KEY_ID_BYTES:-_MAC_BYTES], data[-_MAC_BYTES:]
    return body if hmac.compare_digest(_mac(secret, purpose, key_id, body, about), code) else None


@lru_cache(maxsize=256)
def _key_id(text: str) -> bytes | None:
    return _data(text)


def _mac(secret: bytes, purpose: str, key_id: bytes, body: bytes, about: tuple[str, ...]) -> bytes:
    parts = (b"penstock", purpose.encode(), key_id, body, *(part.encode() for part in about))
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(secret, message, "sha256")[:_MAC_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _data(text: str) -> bytes | None:
    """The bytes of a text, or None unless it is their one canonical form (no padding, no stray bits or characters)."""
    if len(text) > _LONGEST_TEXT or not text.isascii():
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return data if _text(data) == text else None
