"""The keys of a cluster: every one opens what arrives, the primary one seals what is sent.

Rolling without a gap: add the new key everywhere, then make it primary everywhere, then remove the old one. The ring is a
text file, one key per line in base64, the primary one first.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from penstock.membership.errors import InvalidInput, KeyInUse, StateUnreadable, UnknownKey
from penstock.membership.files import write_durably

log = structlog.get_logger()

KEY_BYTES = 32  # AES-256


@dataclass(frozen=True, slots=True)
class Key:
    """One secret."""

    secret: bytes

    @property
    def fingerprint(self) -> str:
        """A name that may be shown: 16 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.secret).hexdigest()[:16]

    @property
    def hint(self) -> int:
        """One byte in each packet that says which key to try first; two keys may share it."""
        return hashlib.sha256(self.secret).digest()[0]

    @classmethod
    def parse(cls, text: str) -> "Key":
        """From base64. Raises :class:`InvalidInput`."""
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise InvalidInput(
                "A key is 32 random bytes in base64, 44 characters; 'penstock keys generate' makes one."
            )
        return cls(secret)

    @classmethod
    def generate(cls) -> "Key":
        """A new one, from the system's randomness."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def __str__(self) -> str:
        return base64.b64encode(self.secret).decode()

    def __repr__(self) -> str:
        return f"Key({self.fingerprint})"


class KeyRing:
    """At least one key; the first is primary. Changes are on disk before they take effect."""

    def __init__(self, keys: Iterable[Key], path: Path | None = None) -> None:
        self._keys = list(dict.fromkeys(keys))
        self._path = path
        if not self._keys:
            raise InvalidInput("A key ring holds at least one key; 'penstock keys generate' makes one.")

    @classmethod
    def load(cls, path: Path) -> "KeyRing":
        """Reads the file, or makes one with a new key where there is none: the first node of a cluster.

        Raises :class:`StateUnreadable`.
        """
        if not path.exists():
            ring = cls([Key.generate()], path)
            ring._save(ring._keys)
            log.warning(
                "key_made",
                file=path.name,
                detail="the other nodes need a copy of this file to understand this one",
            )
            return ring
        try:
            lines = [line.strip() for line in path.read_text().splitlines()]
            return cls((Key.parse(line) for line in lines if line and not line.startswith("#")), path)
        except (OSError, UnicodeDecodeError, InvalidInput) as error:
            raise StateUnreadable(f"The key ring {path.name} cannot be used: {error}") from error

    @property
    def primary(self) -> Key:
        """Seals what is sent."""
        return self._keys[0]

    @property
    def keys(self) -> tuple[Key, ...]:
        """All, the primary one first."""
        return tuple(self._keys)

    def add(self, key: Key) -> None:
        """Opens what is sealed with ``key`` from now on. Adding one that is there changes nothing."""
        if key not in self._keys:
            self._replace([*self._keys, key])

    def use(self, fingerprint: str) -> None:
        """Makes a key primary. Raises :class:`UnknownKey`."""
        key = self._find(fingerprint)
        self._replace([key, *(other for other in self._keys if other != key)])

    def remove(self, fingerprint: str) -> None:
        """Opens nothing sealed with this key any more. Raises :class:`UnknownKey`, :class:`KeyInUse`."""
        key = self._find(fingerprint)
        if key == self.primary:
            raise KeyInUse("This key seals what the node sends: make another one primary first.")
        self._replace([other for other in self._keys if other != key])

    def _find(self, fingerprint: str) -> Key:
        for key in self._keys:
            if key.fingerprint == fingerprint:
                return key
        raise UnknownKey(f"No key has the fingerprint {fingerprint}; list them to see those there are.")

    def _replace(self, keys: list[Key]) -> None:
        self._save(keys)
        self._keys = keys

    def _save(self, keys: list[Key]) -> None:
        if self._path is not None:
            write_durably(self._path, "".join(f"{key}\n" for key in keys).encode())
