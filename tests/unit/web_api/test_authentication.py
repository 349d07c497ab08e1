from collections.abc import Collection
from dataclasses import dataclass

import pytest

from penstock.access import api_keys
from penstock.access.principals import ANONYMOUS, Role, Scope
from penstock.video.errors import Unauthenticated
from penstock.web_api.authentication import StoredKey, principal_of


@dataclass(frozen=True)
class Record:
    """A key as a catalog would give it."""

    id: str
    digest: str
    account_id: str = "account"
    role: str = "admin"
    scopes: Collection[str] = ("read", "admin", "a scope of a later version")


KEY = api_keys.new()


def lookup(digest: str) -> StoredKey | None:
    """Knows one key."""
    return Record(KEY.id, KEY.digest) if digest == KEY.digest else None


def test_no_header_is_anonymous() -> None:
    """Whether that suffices is decided elsewhere."""
    assert principal_of(None, lookup) is ANONYMOUS


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_good_key_gives_its_account(scheme: str) -> None:
    """With role and scopes; a scope that this version does not know gives nothing."""
    principal = principal_of(f"{scheme} {KEY.text}", lookup)
    assert (principal.account_id, principal.role, principal.key_id) == ("account", Role.ADMIN, KEY.id)
    assert principal.scopes == {Scope.READ, Scope.ADMIN}


def test_every_bad_key_gets_the_same_answer() -> None:
    """Unknown, with a wrong secret, or no key at all: nobody learns which ids exist."""
    wrong_secret = api_keys.ApiKey(KEY.id, api_keys.new().secret)
    answers = set()
    for text in (api_keys.new().text, wrong_secret.text, "pst_nonsense", ""):
        with pytest.raises(Unauthenticated) as refused:
            principal_of(f"Bearer {text}", lookup)
        answers.add((refused.value.code, refused.value.detail))
    assert len(answers) == 1


@pytest.mark.parametrize(
    "header", ["", "Basic dXNlcjpwYXNz", KEY.text], ids=["none", "basic", "key without its scheme"]
)
def test_other_schemes_are_refused(header: str) -> None:
    """A credential that is not understood is not silently taken for none."""
    with pytest.raises(Unauthenticated):
        principal_of(header, lookup)
