"""Names from uploaded files, made fit for manifests."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.manifests import names


@given(st.text())
def test_a_label_is_one_clean_line_or_nothing(text: str) -> None:
    """What is left of any text is NFC, has no control character, no double quote and no line break."""
    label = names.label(text)
    if label is not None:
        assert label == label.strip()
        assert 0 < len(label) <= 100
        assert unicodedata.is_normalized("NFC", label)
        assert not any(unicodedata.category(c) in ("Cc", "Cs", "Cn", "Zl", "Zp") for c in label)
        assert '"' not in label
        label.encode()


def test_readable_names_stay_as_they_are() -> None:
    """Scripts, accents, emoji and joiners are what people write."""
    for text in ("Français (commentaire)", "日本語", "می‌خواهم", "👩‍👩‍👧", "O'Neill & Söhne <live>"):
        assert names.label(text) == unicodedata.normalize("NFC", text)


def test_characters_that_reorder_their_neighbours_are_dropped() -> None:
    """A label cannot make the menu beside it read backwards."""
    assert names.label("a\u202eb\u2066c") == "abc"


@pytest.mark.parametrize("tag", ["en", "de-AT", "zh-Hant-TW", "sr-Latn"])
def test_language_tags_pass(tag: str) -> None:
    """What has the shape of a tag is one."""
    assert names.language(tag) == tag


@pytest.mark.parametrize(
    "tag", [None, "", "und", "UND", "e", "en_US", 'en"', "en\n", "a" * 9, "en-" + "b" * 9]
)
def test_what_is_no_language_tag_is_left_out(tag: str | None) -> None:
    """A tag that says nothing, or is none, does not appear in a manifest."""
    assert names.language(tag) is None


def test_a_name_stays_one_relative_reference() -> None:
    """Nothing in a name can become a scheme, a folder or a query."""
    assert names.url("a:b/../c?d#e") == "a%3Ab%2F..%2Fc%3Fd%23e"
