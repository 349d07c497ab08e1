import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.video.errors import InvalidRequest
from penstock.web_api import pagination


@given(
    key=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200),
        min_size=1,
        max_size=3,
    )
)
def test_a_cursor_gives_back_the_key_it_was_made_from(key: list[str]) -> None:
    """Any text survives, and the cursor stands in a query as it is."""
    cursor = pagination.encode("title", key)
    assert pagination.decode(cursor, "title", len(key)) == tuple(key)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(text=st.text(max_size=300))
def test_arbitrary_text_is_an_invalid_cursor(text: str) -> None:
    """It is the caller's mistake, told with a pointer, whatever it was."""
    with pytest.raises(InvalidRequest) as refused:
        pagination.decode(text, "title", 2)
    assert refused.value.code == "cursor_invalid"
    assert refused.value.errors[0].pointer == "/query/cursor"


@pytest.mark.parametrize(
    "values",
    [
        ["other", "a", "b"],
        ["title", "a"],
        ["title", "a", "b", "c"],
        ["title", 1, "a"],
        ["title", "a", None],
        "title",
        {},
        ["title", "a\0", "b"],
        ["title", "\ud800", "b"],
    ],
)
def test_a_cursor_of_another_list_is_refused(values: object) -> None:
    """Another order, another number of values, or values of another kind."""
    cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
    with pytest.raises(InvalidRequest):
        pagination.decode(cursor, "title", 2)
