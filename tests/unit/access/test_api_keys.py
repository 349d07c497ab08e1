import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access import api_keys
from penstock.video.errors import Unauthenticated


def test_a_key_is_recognised_by_its_digest_alone() -> None:
    """What is shown once parses back to the same key, and only that key matches what is stored."""
    key, other = api_keys.new(), api_keys.new()
    presented = api_keys.parse(key.text)
    assert presented == key
    assert key.text.startswith(f"{key.prefix}_")
    assert key.prefix == f"pst_{key.id}"
    assert key.digest == hashlib.sha256(key.text.encode()).hexdigest()
    assert api_keys.ApiKey(other.id, key.secret).digest != key.digest
    assert presented.matches(key.digest)
    assert not presented.matches(other.digest)


def test_a_secret_shows_in_no_representation() -> None:
    """A key in a log line or a traceback gives only its id away."""
    key = api_keys.new()
    assert key.id in repr(key)
    assert key.secret not in f"{key!r} {key}"


@given(text=st.text(max_size=120) | st.from_regex(r"pst_[0-9a-z]{26}_[0-9A-Za-z]{42,44}", fullmatch=True))
def test_other_text_is_refused_with_one_answer(text: str) -> None:
    """A text either is a key spelled exactly so, or is refused with the code that every bad key gets."""
    try:
        parsed = api_keys.parse(text)
    except Unauthenticated as error:
        refusal = error.code, error.detail
        assert refusal == (api_keys.invalid().code, api_keys.invalid().detail)  # either outcome may be right
    else:
        assert parsed.text == text


@pytest.mark.parametrize("change", [str.upper, str.strip, lambda text: text[:-1], lambda text: text + "x"])
def test_a_key_altered_in_form_does_not_match(change: object) -> None:
    """Case and length count; only the very same text is the key."""
    key = api_keys.new()
    altered = change(key.text)  # type: ignore[operator]  # the parametrised functions differ in kind
    if altered == key.text:
        return
    with pytest.raises(Unauthenticated):
        api_keys.parse(altered)
