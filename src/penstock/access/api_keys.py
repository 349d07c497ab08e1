"""API keys: ``pst_<id>_<secret>``.

The id is what people recognise a key by; the secret has 256 bits of randomness, so the plain SHA-256 of the whole is
what is stored and looked up (a slow hash protects guessable secrets, which this is not). The text is shown once, when
the key is made.
"""

import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass, field

from penstock.video import identity
from penstock.video.errors import Unauthenticated

PREFIX = "pst"
_ALPHABET = string.ascii_letters + string.digits  # a double click selects the whole key
_SECRET_LENGTH = 43  # log2(62 ** 43) = 256 bits


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in the clear: just made, or just presented and not yet believed."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What the caller sends; never log it."""
        return f"{PREFIX}_{self.id}_{self.secret}"

    @property
    def prefix(self) -> str:
        """The part that may be shown again."""
        return f"{PREFIX}_{self.id}"

    @property
    def digest(self) -> str:
        """The SHA-256 of the text in hexadecimal: the only form that is stored."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def matches(self, stored_digest: str) -> bool:
        """Whether this is the key whose digest was stored; takes the same time whatever the difference."""
        return hmac.compare_digest(self.digest, stored_digest)


def new() -> ApiKey:
    """A fresh key."""
    return ApiKey(identity.new_id(), "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH)))


def parse(text: str) -> ApiKey:
    """The key that a caller presented. Raises :class:`Unauthenticated` where the text cannot be one."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    well_formed = len(secret) == _SECRET_LENGTH and all(character in _ALPHABET for character in secret)
    if prefix != PREFIX or not identity.is_id(key_id) or not well_formed:
        raise invalid()
    return ApiKey(key_id, secret)


def invalid() -> Unauthenticated:
    """The one answer to every key that does not open: malformed, unknown, wrong, revoked."""
    return Unauthenticated(
        "The API key is not valid. It may have been revoked; ask for a new one.", code="api_key_invalid"
    )
