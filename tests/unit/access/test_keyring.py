import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from penstock.access import keyring as keyring_module
from penstock.access import sealing
from penstock.access.keyring import Keyring, KeySet, SigningKey, fresh_key
from penstock.video.errors import ConfigurationError

NOW = 1_790_000_000.0


class Clock:
    """Seconds since the epoch, moved by the test."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """The time now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be; neither it nor its folder exists."""
    return tmp_path / "access" / "keyring.json"


def test_the_first_start_makes_a_file_that_only_its_owner_can_read(path: Path, clock: Clock) -> None:
    """Mode 0600, one key, nothing left beside it; the second start uses the same key."""
    first = Keyring(path, clock=clock).signing_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert Keyring(path, clock=clock).signing_key() == first


def test_a_rotation_leaves_no_moment_without_a_valid_token(path: Path, clock: Clock) -> None:
    """Before, at and after the switch, a verifier opens what every signer seals and what was sealed earlier."""
    signer, verifier = Keyring(path, clock=clock), Keyring(path, clock=clock)
    old = signer.signing_key()
    early = sealing.seal(signer, "test", b"early")
    new = signer.rotate(activation_delay=300)
    assert signer.signing_key() == old
    clock.now = NOW + 299.9
    assert signer.signing_key() == old
    clock.now = NOW + 300
    assert signer.signing_key() == new
    late = sealing.seal(signer, "test", b"late")
    assert sealing.unseal(verifier, "test", early) == b"early"
    assert sealing.unseal(verifier, "test", late) == b"late"


def test_a_verifier_learns_of_a_key_from_the_first_token_it_made(path: Path, clock: Clock) -> None:
    """Even a key that signs at once is accepted by a process that had read the file before: it looks again."""
    verifier = Keyring(path, clock=clock)
    signer = Keyring(path, clock=clock)
    signer.rotate(activation_delay=0)
    assert sealing.unseal(verifier, "test", sealing.seal(signer, "test", b"body")) == b"body"


def test_a_key_is_dropped_only_after_its_last_token_expired(path: Path, clock: Clock) -> None:
    """Rotating daily keeps every key whose tokens may live, and the file does not grow for ever."""
    keyring = Keyring(path, clock=clock)
    first = keyring.signing_key()
    for day in range(1, 9):
        clock.now = NOW + day * 24 * 3600
        keyring.rotate(activation_delay=0)
    assert keyring.find(first.id) == first
    for day in range(9, 30):
        clock.now = NOW + day * 24 * 3600
        keyring.rotate(activation_delay=0)
    assert keyring.find(first.id) is None
    assert len(json.loads(path.read_bytes())["keys"]) <= 10


def test_processes_that_start_together_end_up_with_one_key(path: Path) -> None:
    """Whoever links the file first wins; no process keeps a key that the others cannot verify."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(_signing_key_id, [path] * 8)
    assert len(set(keys)) == 1


def _signing_key_id(path: Path) -> bytes:
    return Keyring(path).signing_key().id


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620])
def test_a_file_that_others_can_read_or_write_is_refused(path: Path, clock: Clock, mode: int) -> None:
    """The start fails and names the remedy."""
    Keyring(path, clock=clock)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Keyring(path, clock=clock)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "keys": []}',
        b'{"format": 1, "keys": [{"id": "00"}]}',
    ],
)
def test_a_damaged_file_is_refused_without_quoting_it(path: Path, clock: Clock, content: bytes) -> None:
    """The message tells what to do and carries nothing of the content."""
    path.parent.mkdir()
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        Keyring(path, clock=clock)
    assert refused.value.__cause__ is None


def test_a_file_damaged_later_leaves_the_keys_in_force(path: Path, clock: Clock) -> None:
    """A running process goes on verifying with what it read last."""
    keyring = Keyring(path, clock=clock)
    token = sealing.seal(keyring, "test", b"body")
    path.write_bytes(b"damaged")
    assert keyring.find(b"nobody") is None
    assert sealing.unseal(keyring, "test", token) == b"body"


def test_a_secret_shows_in_no_representation(path: Path, clock: Clock) -> None:
    """Neither the key's, nor the set's, nor the ring's text holds the secret in any spelling."""
    keyring = Keyring(path, clock=clock)
    key = keyring.signing_key()
    shown = f"{key!r} {key} {KeySet((key,))!r} {keyring!r} {vars(keyring)!r}"
    stored = json.loads(path.read_bytes())["keys"][0]["secret"]
    assert repr(key.secret)[2:-1] not in shown
    assert key.secret.hex() not in shown
    assert stored not in shown


def test_a_clock_before_every_activation_still_signs() -> None:
    """A machine whose clock went back signs with the oldest key rather than with none."""
    keys = KeySet((SigningKey(b"a" * 6, NOW, b"s" * 32), SigningKey(b"b" * 6, NOW + 60, b"t" * 32)))
    assert keys.signing(NOW - 1000).id == b"a" * 6


def test_a_key_is_kept_longer_than_any_token_may_live() -> None:
    """The constant behind pruning covers the longest configured life."""
    config = keyring_module.__dict__["_KEEP_AFTER_SUCCESSOR"]
    from penstock.access.config import AccessConfig

    access = AccessConfig(keyring_path=Path("keyring.json"))
    assert config > max(access.token_life_ceiling, access.watch_link_life)
    assert fresh_key(NOW) != fresh_key(NOW)
