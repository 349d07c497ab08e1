"""Recognising a frame rate from timestamps: headers guess, containers round, cameras drop frames. Pure arithmetic."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
_FASTEST = 1000  # frames/s; what claims more is a time base and no rate
_CONVINCING = 12  # times on a grid most of whose places are empty: fewer may lie there by chance
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
    missing; where most follow each other directly that is the rate, else the lowest rate that fits at all.
    """
    candidates = dict.fromkeys(
        rate for rate in (*named, *_COMMON) if rate is not None and 0 < rate <= _FASTEST
    )
    direct: list[tuple[Fraction, Fraction, int, Fraction]] = []
    sparse: list[Fraction] = []
    for order, rate in enumerate(candidates):
        fit = _fit(times, tick, rate) if rate.numerator <= _LARGEST_PART else None
        if fit is None:
            continue
        if fit.direct:
            distance = abs(rate - average) / average if average else Fraction(0)
            direct.append((Fraction(round(fit.error * 100)), distance, order, rate))
        elif len(times) >= _CONVINCING:
            sparse.append(rate)
    if direct:
        return min(direct)[-1]
    return min(sparse, default=None)


@dataclass(frozen=True, slots=True)
class _Fit:
    error: Fraction  # mean distance of the times from the grid, in frames
    direct: bool  # most times are neighbours on the grid


def _fit(times: Sequence[Fraction], tick: Fraction, rate: Fraction) -> _Fit | None:
    """How the times lie on a rate's grid that begins with the first one; None if any is off it."""
    if len(times) < 3:
        return None
    # A time is rounded to a tick, and cameras jitter: an eighth of a frame never changes which grid frame is nearest.
    tolerance = min(max(tick * rate * Fraction(11, 10), Fraction(1, 8)), Fraction(49, 100))
    total, neighbours, previous = Fraction(0), 0, -1
    for time in times:
        position = (time - times[0]) * rate
        frame = nearest(position)
        if abs(position - frame) > tolerance or frame <= previous:
            return None
        neighbours += frame == previous + 1
        total += abs(position - frame)
        previous = frame
    return _Fit(total / len(times), neighbours * 5 >= len(times) * 3)
