import pytest
from argon2 import PasswordHasher

from penstock.access import passwords


def test_a_password_is_recognised_and_nothing_else_is() -> None:
    """The stored form is salted Argon2id; a wrong password and a damaged hash are both just wrong."""
    stored = passwords.digest("correct horse")
    assert stored.startswith("$argon2id$")
    assert stored != passwords.digest("correct horse")
    assert passwords.matches("correct horse", stored)
    assert not passwords.matches("Correct horse", stored)
    assert not passwords.matches("correct horse", "not a hash")


@pytest.mark.parametrize(("memory", "old"), [(8 * 1024, True), (19 * 1024, False)])
def test_a_hash_of_other_parameters_is_outdated(memory: int, old: bool) -> None:
    """So that it can be made again at the next sign-in."""
    stored = PasswordHasher(time_cost=2, memory_cost=memory, parallelism=1).hash("x")
    assert passwords.outdated(stored) is old
