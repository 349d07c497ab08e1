import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.catalog import texts
from penstock.video.errors import InvalidRequest


@given(st.text(max_size=30))
def test_what_passes_can_be_stored_by_both_databases(value: str) -> None:
    """Text is accepted as it is exactly when it fits, has no NUL and can be encoded."""
    encodable = value.encode(errors="ignore").decode() == value
    if len(value) <= 20 and "\0" not in value and encodable:
        assert texts.checked("title", value, limit=20) == value
    else:
        with pytest.raises(InvalidRequest) as raised:
            texts.checked("title", value, limit=20)
        assert raised.value.errors[0].pointer == "/title"
        assert value == "" or value not in raised.value.detail


@pytest.mark.parametrize(
    ("one", "other"), [("Straße", "STRASSE"), ("Ärger", "äRGER"), ("ΣΊΣΥΦΟΣ", "σίσυφος")]
)
def test_letter_case_of_any_script_is_folded(one: str, other: str) -> None:
    """What a reader takes for the same word is found as the same."""
    assert texts.folded(one) == texts.folded(other)
