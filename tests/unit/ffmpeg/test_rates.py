from fractions import Fraction

import pytest

from penstock.ffmpeg.rates import constant, typical

NTSC = Fraction(30000, 1001)
MILLISECOND = Fraction(1, 1000)


def on_ticks(rate: Fraction, count: int, tick: Fraction, *, skip: int | None = None) -> list[Fraction]:
    """Times of a constant rate as a container with coarse ticks writes them; every ``skip``-th frame is missing."""
    return [round(n / rate / tick) * tick for n in range(count) if skip is None or n % skip or n == 0]


@pytest.mark.parametrize(
    "rate", [Fraction(24000, 1001), Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(50)]
)
def test_rates_are_told_apart_through_milliseconds(rate: Fraction) -> None:
    """Matroska rounds 33.3667 ms to 33 and 34; a few seconds suffice to tell 29.97 from 30."""
    assert constant(on_ticks(rate, 200, MILLISECOND), MILLISECOND, (Fraction(1000),), None) == rate


def test_the_average_decides_where_the_sample_cannot() -> None:
    """A second of milliseconds fits 30 and 29.97 alike; a header that counted all frames knows."""
    times = on_ticks(NTSC, 20, MILLISECOND)
    assert constant(times, MILLISECOND, (), NTSC) == NTSC
    assert constant(times, MILLISECOND, (), Fraction(30)) == 30


def test_an_unusual_rate_is_believed_if_it_fits() -> None:
    """Whatever the header names."""
    odd = Fraction(90000, 3001)
    assert constant(on_ticks(odd, 9, Fraction(1, 90000)), Fraction(1, 90000), (odd,), odd) == odd


def test_a_time_base_is_no_rate() -> None:
    """A header that claims 90 000 frames per second, or 60 for what are 30, is not believed."""
    times = on_ticks(Fraction(30), 100, MILLISECOND)
    assert constant(times, MILLISECOND, (Fraction(90000), Fraction(60)), None) == 30


def test_dropped_frames_do_not_change_the_rate() -> None:
    """A phone that skips a frame now and then still records at 30."""
    assert constant(on_ticks(Fraction(30), 200, MILLISECOND, skip=7), MILLISECOND, (), None) == 30


def test_mostly_empty_places_still_make_a_grid() -> None:
    """A recording that writes a frame when something changes: the lowest rate on which all of them lie."""
    times = [Fraction(n, 25) for n in (0, 3, 4, 9, 15, 16, 22, 30, 33, 41, 48, 55, 63, 64, 70)]
    assert constant(times, Fraction(1, 12800), (), None) == 25


def test_irregular_times_have_no_rate() -> None:
    """Only a typical interval."""
    times = [Fraction(n * n + 37 * (n % 3), 1000) for n in range(40)]
    assert constant(times, MILLISECOND, (Fraction(30),), None) is None
    assert typical(times) is not None


def test_too_few_frames_have_no_rate() -> None:
    """Two frames fit anything."""
    assert constant([Fraction(0), Fraction(1, 25)], MILLISECOND, (Fraction(25),), None) is None
    assert typical([Fraction(0)]) is None


def test_ticks_as_long_as_frames_are_fine() -> None:
    """AVI counts frames, and empty ones are left out."""
    film = Fraction(24000, 1001)
    times = [n / film for n in (0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)]
    assert constant(times, 1 / film, (film,), film) == film
