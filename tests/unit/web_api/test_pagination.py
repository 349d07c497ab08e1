import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.video.errors import InvalidRequest
from penstock.web_api import pagination


@given(title=st.text(max_size=200), number=st.integers(-(2**63), 2**63))
def test_a_cursor_gives_back_the_key_it_was_made_from(title: str, number: int) -> None:
    """Any text and number survive, and the cursor stands in a query as it is."""
    title = title.encode("utf-8", "ignore").decode()
    cursor = pagination.encode("title", (title, number))
    assert pagination.decode(cursor, "title", (str, int)) == (title, number)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(text=st.text(max_size=300))
def test_arbitrary_text_is_an_invalid_cursor(text: str) -> None:
    """It is the caller's mistake, told with a pointer, whatever it was."""
    with pytest.raises(InvalidRequest) as refused:
        pagination.decode(text, "title", (str, int))
    assert refused.value.code == "cursor_invalid"
    assert refused.value.errors[0].pointer == "/query/cursor"


@pytest.mark.parametrize(
    "values",
    [
        ["other", "a", 1],
        ["title", "a"],
        ["title", "a", 1, 2],
        ["title", 1, "a"],
        ["title", "a", True],
        ["title", "a", 1.0],
    ],
)
def test_a_cursor_of_another_list_is_refused(values: list[object]) -> None:
    """Another order, another number of values, or values of another kind."""
    cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
    with pytest.raises(InvalidRequest):
        pagination.decode(cursor, "title", (str, int))
