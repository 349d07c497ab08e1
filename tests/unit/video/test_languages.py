import pytest

from penstock.video.languages import bcp47


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("eng", "en"),
        ("ger", "de"),
        ("deu", "de"),
        ("EN", "en"),
        ("en-GB", "en-GB"),
        ("zh_Hant", "zh-Hant"),
        ("yue", "yue"),
        ("und", None),
        ("", None),
        (None, None),
        ("English", None),
        ('en"><script>', None),
    ],
)
def test_container_tags_become_bcp_47(tag: str | None, expected: str | None) -> None:
    """Two letters where a language has them, nothing where the tag says nothing or is no tag."""
    assert bcp47(tag) == expected
