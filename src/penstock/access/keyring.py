"""The signing keys: a small JSON file, mode 0600, read by every process that signs or verifies.

Several keys verify at a time; the newest that has reached its activation time signs. A rotation adds a key that starts
to sign only when every verifier has had time to read it, and drops keys whose last token has expired: nobody is ever
refused because of it. Secrets appear in this file's values and nowhere else, not in a ``repr``, not in a log.
"""

import base64
import binascii
import fcntl
import json
import os
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.video.errors import ConfigurationError

FORMAT = 1
KEY_ID_BYTES = 6
_SECRET_BYTES = 32  # as many as the output of SHA-256 (RFC 2104 section 3)
_CHECK_EVERY = 1.0  # seconds between looks at the file's time; one stat call, so the rate hardly matters
# Every kind of token and link has expired this long after its key stopped signing: the longest lives seven days.
_KEEP_AFTER_SUCCESSOR = 8 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One secret and the time, in seconds since the Unix epoch, from which it signs."""

    id: bytes
    activates: float
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one reading of the file, oldest activation first."""

    keys: tuple[SigningKey, ...]

    def signing(self, now: float) -> SigningKey:
        """The newest key that is active; before the first activation (a clock that went back), the first."""
        return next((key for key in reversed(self.keys) if key.activates <= now), self.keys[0])

    def find(self, key_id: bytes) -> SigningKey | None:
        """The key with this id, whether it signs already, still, or no longer."""
        for key in self.keys:  # two or three; this is asked with every segment
            if key.id == key_id:
                return key
        return None

    def rotated(self, fresh: SigningKey, now: float) -> "KeySet":
        """With ``fresh`` added, and without the keys whose successor has signed for longer than any token lives."""
        keys = sorted((*self.keys, fresh), key=lambda key: key.activates)
        successors = [key.activates for key in keys[1:]]
        kept = [k for k, since in zip(keys, successors, strict=False) if since > now - _KEEP_AFTER_SUCCESSOR]
        return KeySet((*kept, keys[-1]))


def fresh_key(activates: float) -> SigningKey:
    """A new random key."""
    return SigningKey(secrets.token_bytes(KEY_ID_BYTES), activates, secrets.token_bytes(_SECRET_BYTES))


class Keyring:
    """The keys in a file, kept up to date with it. Safe to use from several threads and processes."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Reads the file, or makes it with one key where there is none. ``clock`` gives seconds since the Unix epoch."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        if not path.exists():
            _create(path, KeySet((fresh_key(clock()),)))
        self._identity, self._keys = _read(path)
        self._checked = time.monotonic()

    def signing_key(self) -> SigningKey:
        """The key to sign with now."""
        if time.monotonic() - self._checked > _CHECK_EVERY:
            self._refresh()
        return self._keys.signing(self._clock())

    def find(self, key_id: bytes) -> SigningKey | None:
        """The key that made a token. An unknown id makes the file be looked at once more: it may just have arrived."""
        if time.monotonic() - self._checked > _CHECK_EVERY:
            self._refresh()
        found = self._keys.find(key_id)
        if found is None and self._refresh():
            found = self._keys.find(key_id)
        return found

    def present(self) -> KeySet:
        """All keys of the file as it is now."""
        self._refresh()
        return self._keys

    def rotate(self, activation_delay: float) -> SigningKey:
        """Adds a key that signs after ``activation_delay`` seconds, durably, and drops those that no token can need."""
        with _exclusive(self._path):
            _, keys = _read(self._path)
            now = self._clock()
            fresh = fresh_key(now + activation_delay)
            _replace(self._path, keys.rotated(fresh, now))
        self._refresh()
        return fresh

    def _refresh(self) -> bool:
        """Reads the file again if it is another one than before; True when it was. A bad file leaves the keys in force."""
        with self._lock:
            self._checked = time.monotonic()
            try:
                if _file_identity(self._path.stat()) == self._identity:
                    return False
                self._identity, self._keys = _read(self._path)
            except (OSError, ConfigurationError):
                return False
            return True


def _file_identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> tuple[tuple[int, int, int], KeySet]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
            raise ConfigurationError("The file of signing keys is open to others; run 'chmod 600' on it.")
        content = file.read()
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise ConfigurationError(
                f"The file of signing keys has format {document['format']}; update this program."
            )
        keys = tuple(sorted((_decode(item) for item in document["keys"]), key=lambda key: key.activates))
    except (KeyError, TypeError, ValueError, binascii.Error):
        # The cause is left out on purpose: a JSON error quotes what it read.
        raise ConfigurationError(
            "The file of signing keys is damaged; restore it, or remove it to start anew."
        ) from None
    if not keys:
        raise ConfigurationError(
            "The file of signing keys holds no key; restore it, or remove it to start anew."
        )
    return _file_identity(status), KeySet(keys)


def _decode(item: dict[str, Any]) -> SigningKey:
    key = SigningKey(
        id=bytes.fromhex(item["id"]),
        activates=float(item["activates"]),
        secret=base64.b64decode(item["secret"], validate=True),
    )
    if len(key.id) != KEY_ID_BYTES or len(key.secret) != _SECRET_BYTES:
        raise ValueError("a signing key has an odd length")
    return key


def _encode(keys: KeySet) -> bytes:
    items = [
        {"id": key.id.hex(), "activates": key.activates, "secret": base64.b64encode(key.secret).decode()}
        for key in keys.keys
    ]
    return json.dumps({"format": FORMAT, "keys": items}, indent=2).encode() + b"\n"


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """One rotation at a time, over processes: a lock on the folder, which outlives the file that is replaced."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _written_beside(path: Path, keys: KeySet) -> Iterator[str]:
    """A synced temporary file with the keys, in the same folder, mode 0600 from its first byte; gone afterwards."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encode(keys))
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        Path(name).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _create(path: Path, keys: KeySet) -> None:
    """Of several processes that start at once the first to link its file wins; the others read that one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _written_beside(path, keys) as name:
        try:
            os.link(name, path)
        except FileExistsError:
            return


def _replace(path: Path, keys: KeySet) -> None:
    with _written_beside(path, keys) as name:
        Path(name).replace(path)
