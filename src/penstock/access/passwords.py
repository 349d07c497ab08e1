"""Passwords of accounts: Argon2id, with its parameters inside each hash so that they can rise later."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

# OWASP's least for Argon2id: 19 MiB and two passes on one lane. More memory would let a burst of sign-ins on a small
# machine push out the encoders; a stored hash made with less is renewed at the next sign-in.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def digest(password: str) -> str:
    """The salted hash to store, in the PHC string format."""
    return _HASHER.hash(password)


def matches(password: str, stored: str) -> bool:
    """Whether the password is the one whose hash was stored; False as well where what is stored is no hash."""
    try:
        return _HASHER.verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether the hash was made with other parameters than today's and should be made again."""
    return _HASHER.check_needs_rehash(stored)
