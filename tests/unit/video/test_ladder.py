from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.video.ladder import STANDARD_HEIGHTS, Rung, choose, fitted


def rungs(
    width: int, height: int, *, max_rung: int = 1080, rate: Fraction = Fraction(25)
) -> tuple[Rung, ...]:
    """The ladder of a whole-numbered size."""
    return choose(
        Fraction(width), Fraction(height), rate=rate, max_rung=max_rung, crf=23, threads=1, first_threads=2
    )


def sizes(width: int, height: int, *, max_rung: int = 1080) -> list[tuple[str, int, int]]:
    """Name, width and height of each of its rungs."""
    return [(rung.name, rung.width, rung.height) for rung in rungs(width, height, max_rung=max_rung)]


@pytest.mark.parametrize(
    ("source", "ladder"),
    [
        ((1280, 720), [("240p", 426, 240), ("360p", 640, 360), ("480p", 854, 480), ("720p", 1280, 720)]),
        ((720, 1280), [("240p", 240, 426), ("360p", 360, 640), ("480p", 480, 854), ("720p", 720, 1280)]),
        ((768, 432), [("240p", 426, 240), ("360p", 640, 360), ("432p", 768, 432)]),
        ((642, 642), [("240p", 240, 240), ("360p", 360, 360), ("480p", 480, 480), ("642p", 642, 642)]),
        ((960, 400), [("240p", 426, 178), ("360p", 640, 266), ("480p", 854, 356)]),
        ((176, 144), [("144p", 176, 144)]),
        ((1, 1), [("16p", 16, 16)]),
    ],
)
def test_real_sizes_get_the_ladder_one_would_expect(
    source: tuple[int, int], ladder: list[tuple[str, int, int]]
) -> None:
    """Wide, upright, square, in between and tiny pictures."""
    assert sizes(*source) == ladder


def test_a_nearly_full_size_source_is_that_rung_at_its_own_size() -> None:
    """1916x1076 is what people call 1080p; it is not enlarged."""
    assert sizes(1916, 1076)[-1] == ("1080p", 1916, 1076)


def test_a_wide_film_belongs_to_the_rung_whose_width_it_fills() -> None:
    """A 2.40:1 film is 1080p though it has 800 lines."""
    assert sizes(1920, 800)[-1] == ("1080p", 1920, 800)


def test_a_large_source_is_cut_to_the_highest_rung_allowed() -> None:
    """Rungs above the setting are left out, and so is the source's own size."""
    assert sizes(3840, 2160)[-1] == ("1080p", 1920, 1080)
    assert sizes(3840, 2160, max_rung=2160)[-1] == ("2160p", 3840, 2160)
    assert sizes(2560, 1440, max_rung=720)[-1] == ("720p", 1280, 720)


def test_faster_pictures_get_more_bits() -> None:
    """Sixty frames per second need more than thirty, but not twice as many."""
    slow, fast = rungs(1920, 1080)[-1], rungs(1920, 1080, rate=Fraction(60))[-1]
    assert slow.maxrate < fast.maxrate < 2 * slow.maxrate


lengths = st.integers(min_value=1, max_value=9000)


@given(width=lengths, height=lengths, max_rung=st.sampled_from(STANDARD_HEIGHTS))
def test_every_ladder_keeps_the_rules(width: int, height: int, max_rung: int) -> None:
    """Ascending, distinct, even, in proportion, never above the source by more than the encoder's least size."""
    ladder = rungs(width, height, max_rung=max_rung)
    assert len({rung.name for rung in ladder}) == len(ladder) >= 1
    pixels = [rung.width * rung.height for rung in ladder]
    assert pixels == sorted(set(pixels))
    for rung in ladder:
        assert rung.width % 2 == rung.height % 2 == 0
        assert rung.width <= max(16, width + 1)
        assert rung.height <= max(16, height + 1)
        assert min(rung.width, rung.height) <= max(16, max_rung)
        assert rung.bandwidth(Fraction(4)) > rung.maxrate > 0


@given(width=lengths, height=lengths)
def test_a_fitted_picture_stays_in_its_box(width: int, height: int) -> None:
    """The poster's size follows the rules of the rungs."""
    w, h = fitted(Fraction(width), Fraction(height), 720)
    assert max(w, h) <= 1280
    assert min(w, h) <= 720
