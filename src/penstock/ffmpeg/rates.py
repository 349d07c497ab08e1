"""Recognising a frame rate from timestamps: headers guess, containers round, cameras drop frames. Pure arithmetic."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median

from penstock.video.grid import nearest

# Rates that are met often enough to be tried where a header's word does not fit: film, both broadcast families and
# their halves and multiples, webcams, old phones, action cameras.
_COMMON = tuple(
    Fraction(*rate)
    for rate in (
        (24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (48000, 1001), (50, 1), (60000, 1001), (60, 1),
        (100, 1), (120000, 1001), (120, 1), (240, 1), (15, 1), (15000, 1001), (25, 2), (10, 1), (12, 1), (20, 1), (5, 1), (1, 1),
    )
)  # fmt: skip
_LARGEST_PART = 1_000_000  # of a rate's numerator: it becomes the time scale of what is encoded (32 bits)


def typical(times: Sequence[Fraction]) -> Fraction | None:
    """Frames/s of the median interval of ascending times."""
    intervals = [later - earlier for earlier, later in pairwise(times) if later > earlier]
    return 1 / Fraction(median(intervals)) if intervals else None


def constant(
    times: Sequence[Fraction], tick: Fraction, named: Iterable[Fraction | None], average: Fraction | None
) -> Fraction | None:
    """The constant rate on whose grid all ascending ``times`` (seconds) fall; None where there is none.

    ``tick`` is the resolution of the times, ``named`` are the rates that the header suggests, ``average`` is what
    it says over the whole file: it decides between candidates that a short sample cannot tell apart. Frames may be
    missing here and there, but most follow each other directly: else a multiple of the rate would fit as well.
    """
    best: tuple[Fraction, Fraction, int] | None = None
    chosen = None
    candidates = [rate for rate in (*named, *_COMMON) if rate is not None and rate > 0]
    for order, rate in enumerate(dict.fromkeys(candidates)):
        if rate.numerator > _LARGEST_PART or rate > 1000:
            continue
        error = _misfit(times, tick, rate)
        if error is None:
            continue
        distance = abs(rate - average) / average if average else Fraction(0)
        score = (Fraction(round(error * 100)), distance, order)
        if best is None or score < best:
            best, chosen = score, rate
    return chosen


def _misfit(times: Sequence[Fraction], tick: Fraction, rate: Fraction) -> Fraction | None:
    """The mean distance of the times from the rate's grid, in frames; None if any is off it or most are not neighbours."""
    if len(times) < 3:
        return None
    # A time is rounded to a tick, and cameras jitter: an eighth of a frame never changes which grid frame is nearest.
    tolerance = min(max(tick * rate * Fraction(11, 10), Fraction(1, 8)), Fraction(49, 100))
    total, direct, previous = Fraction(0), 0, 0
    for index, time in enumerate(times):
        position = (time - times[0]) * rate
        frame = nearest(position)
        if abs(position - frame) > tolerance or (index and frame <= previous):
            return None
        direct += frame == previous + 1
        total += abs(position - frame)
        previous = frame
    return total / len(times) if direct * 5 >= (len(times) - 1) * 3 else None
