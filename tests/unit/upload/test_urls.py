from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.keyring import Keyring
from penstock.upload.config import UploadConfig
from penstock.upload.urls import Urls, content_path, part_path
from penstock.video.errors import Forbidden
from penstock.video.identity import new_id

UPLOAD = new_id()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """A ring with one key."""
    return Keyring(tmp_path_factory.mktemp("ring") / "keyring.json")


@pytest.fixture(scope="module")
def urls(keyring: Keyring) -> Urls:
    """The service's signer."""
    return Urls(keyring, UploadConfig(public_url="https://video.example"))


def signature_of(url: str) -> str:
    """What the query of an address carries."""
    return parse_qs(urlsplit(url).query)["signature"][0]


@given(number=st.integers(1, 10_000), other=st.integers(1, 10_000))
def test_a_part_s_address_opens_that_part_alone(urls: Urls, number: int, other: int) -> None:
    """A signature is good for the path it was made for, and for no other."""
    signed = urls.part(UPLOAD, number)
    path = part_path(UPLOAD, number)
    assert signed.url.startswith(f"https://video.example{path}?")
    urls.check(path, signature_of(signed.url))
    if other != number:
        with pytest.raises(Forbidden):
            urls.check(part_path(UPLOAD, other), signature_of(signed.url))
    with pytest.raises(Forbidden):
        urls.check(content_path(UPLOAD), signature_of(signed.url))


@given(text=st.text(max_size=80))
def test_no_made_up_signature_opens(urls: Urls, text: str) -> None:
    """Whatever a stranger writes there is refused as invalid, and nothing else happens."""
    with pytest.raises(Forbidden) as caught:
        urls.check(content_path(UPLOAD), text)
    assert caught.value.code == "signature_invalid"


def test_an_address_says_when_it_ends(keyring: Keyring) -> None:
    """Past its time an address is refused by name."""
    signed = Urls(keyring, UploadConfig(url_life_s=0)).content(UPLOAD)
    with pytest.raises(Forbidden) as caught:
        Urls(keyring, UploadConfig()).check(content_path(UPLOAD), signature_of(signed.url))
    assert caught.value.code == "signature_expired"
