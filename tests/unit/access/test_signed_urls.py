import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access import signed_urls
from penstock.access.keyring import Keyring
from penstock.video.errors import Forbidden

NOW = 1_790_000_000.0
EXPIRES = int(NOW) + 600


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """One ring for the module: property tests would make a file per example."""
    return Keyring(tmp_path_factory.mktemp("access") / "keyring.json", clock=lambda: NOW)


def test_a_signature_permits_the_request_it_was_made_for(keyring: Keyring) -> None:
    """The method's case does not matter, and the answer says how long the permission lasts."""
    signature = signed_urls.sign(keyring, purpose="part", method="put", resource="/a/1", expires=EXPIRES)
    verified = signed_urls.verify(keyring, signature, purpose="part", method="PUT", resource="/a/1", now=NOW)
    assert verified == EXPIRES


@pytest.mark.parametrize(
    "changed",
    [{"purpose": "watch"}, {"method": "GET"}, {"resource": "/a/2"}, {"resource": ""}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_signature_permits_no_other_request(keyring: Keyring, changed: dict[str, str]) -> None:
    """Purpose, method and resource are bound: changing any of them is refused."""
    request = {"purpose": "part", "method": "PUT", "resource": "/a/1"}
    signature = signed_urls.sign(keyring, **request, expires=EXPIRES)
    with pytest.raises(Forbidden) as refused:
        signed_urls.verify(keyring, signature, **(request | changed), now=NOW)
    assert refused.value.code == "signature_invalid"


@given(method=st.text(max_size=5), resource=st.text(max_size=5), moved=st.integers(1, 5))
def test_moving_a_character_between_the_bound_parts_is_another_request(
    keyring: Keyring, method: str, resource: str, moved: int
) -> None:
    """Parts are delimited by their lengths, so 'ab' + 'c' is not 'a' + 'bc'."""
    signature = signed_urls.sign(keyring, purpose="p", method=method, resource=resource, expires=EXPIRES)
    joined = method.upper() + resource
    cut = min(moved, len(joined))
    if (joined[:cut].upper(), joined[cut:]) == (method.upper(), resource):
        return
    with pytest.raises(Forbidden):
        signed_urls.verify(
            keyring, signature, purpose="p", method=joined[:cut], resource=joined[cut:], now=NOW
        )


def test_a_signature_ends_at_its_expiry(keyring: Keyring) -> None:
    """At the second of its expiry it is refused, with a code of its own."""
    signature = signed_urls.sign(keyring, purpose="part", method="PUT", resource="/a", expires=EXPIRES)
    with pytest.raises(Forbidden) as refused:
        signed_urls.verify(keyring, signature, purpose="part", method="PUT", resource="/a", now=EXPIRES)
    assert refused.value.code == "signature_expired"
