"""The grid of output frames that all rungs and chunks of a video share, and the choice of its rate."""

from dataclasses import dataclass
from fractions import Fraction

from penstock.video.media import VideoStream

_MAX_RATE = 60
_MIN_RATE = (
    5  # slower sources (slide shows, time lapse) get each picture several times, so that segments stay short
)
_RATES = tuple(
    Fraction(*rate)
    for rate in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60000, 1001), (60, 1))
)
_STILL_RATE = Fraction(25)
CLOCK = 1_000_000  # ticks per second of the clock between the source's times and the grid
_MIN_TIMESCALE = (
    10_000  # players compute with times; coarse ticks make uneven frames of rates with many decimals
)


@dataclass(frozen=True, slots=True)
class Grid:
    """The one constant-rate grid of output frames that all rungs and chunks share.

    Frame ``n`` is shown from ``n / rate`` seconds after ``origin`` on. The picture's own clock starts at
    ``video_origin``, which differs from ``origin`` by less than half a frame: so a constant-rate source falls exactly
    on the grid, whatever the sound's first timestamp is.
    """

    rate: Fraction  # frames/s
    timescale: (
        int  # ticks per second of the rungs' media; a multiple of the rate's numerator, at least 10 000
    )
    gop_frames: int
    segment_frames: int
    video_origin: Fraction  # seconds on the source's clock of grid frame 0

    def frame_at(self, time: Fraction) -> int:
        """The grid frame of a picture that the source shows at this time, in seconds on the source's clock.

        Rounded as the pictures themselves are on their way to the grid, by way of ``CLOCK``: of 120 pictures a second every
        other one lies in the middle between two frames, and a third of a microsecond decides.
        """
        ticks = nearest(time * CLOCK) - nearest(self.video_origin * CLOCK)
        return nearest(ticks * self.rate / CLOCK)

    @property
    def shortest_tail(self) -> int:
        """Frames that a last segment has at least, unless it is the only one: fewer belong to the segment before.

        A quarter of a keyframe interval is not worth a request. And players that overlook the edit list, such as hls.js,
        believe the pictures two frames (the reordering) later than they are: they look for a last segment of one or two
        frames where nothing is, and never come to the end.
        """
        return max(3, self.gop_frames // 4)

    @property
    def longest_segment(self) -> Fraction:
        """Seconds of a last segment with all that may be added to it."""
        return Fraction(self.segment_frames + self.shortest_tail - 1) / self.rate

    def segments(self, frames: int) -> int:
        """How many segments a run of this many frames is cut into, where nothing follows it."""
        whole, rest = divmod(frames, self.segment_frames)
        return whole if whole and rest < self.shortest_tail else whole + (rest > 0)

    @property
    def frame_ticks(self) -> int:
        """Ticks per frame: a whole number by construction."""
        return int(self.timescale / self.rate)


def nearest(value: Fraction) -> int:
    """To the nearest whole number, halves up: Python's own rounding to even would move frame boundaries about."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def _rate(stream: VideoStream, *, still: bool) -> Fraction:
    """The grid's rate: a constant one is kept (halved above 60, doubled below 5), a varying one snaps to a family."""
    if still:
        return _STILL_RATE
    rate = stream.constant_rate
    if rate is None:
        guess = stream.typical_rate or stream.average_rate or _STILL_RATE
        rate = min(_RATES, key=lambda known: abs(known - guess))
    while rate > _MAX_RATE:
        rate /= 2
    while rate < _MIN_RATE:
        rate *= 2
    return rate


def choose(
    stream: VideoStream, origin: Fraction, *, still: bool, gop_seconds: Fraction, segment_gops: int
) -> Grid:
    """The grid for a stream in a video whose zero is at ``origin`` on the source's clock."""
    rate = _rate(stream, still=still)
    gop = max(1, nearest(gop_seconds * rate))
    # Whole frames by which the pictures start after the video's zero.
    late = nearest((stream.start - origin) * rate)
    return Grid(
        rate=rate,
        timescale=rate.numerator * -(-_MIN_TIMESCALE // rate.numerator),
        gop_frames=gop,
        segment_frames=gop * segment_gops,
        video_origin=stream.start - late / rate,
    )
