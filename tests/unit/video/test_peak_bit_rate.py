"""The peak bit rate that manifests promise, against the definition of RFC 8216 section 4.1 taken literally."""

import math

from hypothesis import given
from hypothesis import strategies as st

from penstock.video.timeline import peak_bit_rate

PARTS = st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 9_000)), max_size=30)


@given(parts=PARTS, target=st.integers(1, 8))
def test_it_is_the_highest_rate_of_any_run_near_the_target_duration(
    parts: list[tuple[int, int]], target: int
) -> None:
    """No other contiguous run of half to one and a half target durations has a higher rate."""
    timescale = 1000
    runs = [parts[i:j] for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]
    lengths = [(sum(s for s, _ in run), sum(t for _, t in run)) for run in runs]
    rates = [
        math.ceil(size * 8 * timescale / ticks)
        for size, ticks in lengths
        if target * timescale <= 2 * ticks <= 3 * target * timescale
    ]
    highest = max(rates, default=0)
    if highest:
        assert peak_bit_rate(parts, timescale, target) == highest


def test_a_last_segment_of_one_keyframe_does_not_speak_for_the_video() -> None:
    """One large frame that lasts 40 ms is averaged with its neighbours, as players buffer it with them."""
    parts = [(500_000, 4_000)] * 3 + [(100_000, 40)]
    assert peak_bit_rate(parts, 1000, 4) == math.ceil(600_000 * 8 / 4.04)


def test_a_video_shorter_than_half_a_segment_has_its_average() -> None:
    """One short clip is measured whole; nothing at all is not measured."""
    assert peak_bit_rate([(1_000, 500)], 1000, 4) == 16_000
    assert peak_bit_rate([], 1000, 4) is None
