import pytest

from penstock.video import ladder


@pytest.mark.parametrize(
    ("name", "height"), [("240p", 240), ("1080p", 1080), ("98p", 98), ("audio-0", None), ("p", None)]
)
def test_a_rung_is_limited_by_the_height_in_its_name(name: str, height: int | None) -> None:
    """Whatever shape the picture has; what is no rung has no height."""
    assert ladder.named_height(name) == height
