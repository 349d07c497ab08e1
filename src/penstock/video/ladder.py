"""The ladder: which sizes a source is encoded in, and how many bits each may take.

Pure arithmetic on the size a viewer sees. A rung is never larger than the source; it has square pixels and even sides.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

STANDARD_HEIGHTS = (240, 360, 480, 720, 1080, 1440, 2160)

# A source within this factor below a standard rung is that rung, at its own size: 1916x1076 is called 1080p.
_NEARLY = Fraction(107, 100)
# A source larger than its highest standard rung by this factor gets a rung of its own size besides: 768x432 beside 360p.
_WORTH_A_RUNG = Fraction(115, 100)

_REFERENCE_PIXELS = 1920 * 1080
_REFERENCE_BITS = (
    4_600_000  # what veryfast x264 at the CRF below needs for 1080p30 of ordinary film, measured generously
)
_REFERENCE_FPS = 30


@dataclass(frozen=True, slots=True)
class Rung:
    """One video representation. ``name`` is the standard height (the shorter side of an upright picture) and a ``p``."""

    name: str
    width: int  # pixels, even
    height: int  # pixels, even
    crf: int  # constant-rate factor of the encoder: the quality aimed at
    maxrate: int  # bit/s that the encoder's buffer model is refilled with: the cap on difficult passages
    bufsize: int  # bits of that buffer
    # Of the encoder. Two of them cost a little more CPU, and under a cap their bytes differ from run to run: so they are for
    # the first chunk, which somebody waits for; later ones are encoded side by side.
    threads: int
    first_threads: int  # in the first chunk

    def bandwidth(self, seconds: Fraction) -> int:
        """Bit/s that no segment of this length exceeds: the buffer may be spent once over it; 2 % for the container."""
        return int((self.maxrate + self.bufsize / seconds) * 102 / 100) + 1


def choose(
    width: Fraction,
    height: Fraction,
    *,
    rate: Fraction,
    max_rung: int,
    crf: int,
    threads: int,
    first_threads: int,
) -> tuple[Rung, ...]:
    """The rungs for a picture of this upright size in square pixels, lowest first; at least one.

    A standard rung is a 16:9 box of its height (turned for an upright picture), and the picture is fitted into it: so
    a wide 1920x800 film is 1080p, and an upright 1080x1920 one too. Sources below 240p get one rung of their own size.
    """
    rungs: list[Rung] = []
    pinned = (threads, first_threads)
    factor = Fraction(0)  # of the highest rung so far
    for standard in STANDARD_HEIGHTS:
        fit = _fit(width, height, standard)
        if standard > max_rung or fit > _NEARLY:
            break
        factor = min(fit, Fraction(1))
        rungs.append(_rung(f"{standard}p", width, height, factor, rate, crf, pinned))
    if not rungs or (_fit(width, height, max_rung) > 1 and factor * _WORTH_A_RUNG < 1):
        # Named like the standard rungs: after the height of the 16:9 box around the picture.
        enclosing = max(min(width, height), max(width, height) * Fraction(9, 16))
        rungs.append(_rung(f"{_even(enclosing)}p", width, height, Fraction(1), rate, crf, pinned))
    return tuple(rungs)


def named_height(name: str) -> int | None:
    """The height that a rung's name says, by which limits go: 1080 for ``1080p``, of whatever shape the picture is."""
    digits = name.removesuffix("p")
    return int(digits) if digits.isascii() and digits.isdigit() else None


def fitted(width: Fraction, height: Fraction, standard: int) -> tuple[int, int]:
    """The even size that a picture takes in the box of a standard height, never larger than the picture."""
    factor = min(_fit(width, height, standard), Fraction(1))
    return _even(width * factor), _even(height * factor)


def _fit(width: Fraction, height: Fraction, standard: int) -> Fraction:
    """The factor that fits the picture into the standard rung's box; above 1 the box is larger than the picture."""
    longer, shorter = Fraction(standard * 16, 9), Fraction(standard)
    box = (longer, shorter) if width >= height else (shorter, longer)
    return min(box[0] / width, box[1] / height)


def _rung(
    name: str,
    width: Fraction,
    height: Fraction,
    factor: Fraction,
    rate: Fraction,
    crf: int,
    pinned: tuple[int, int],
) -> Rung:
    even_width, even_height = _even(width * factor), _even(height * factor)
    cap = _cap(even_width * even_height, rate)
    # A small picture gains nothing from a second thread.
    threads, first_threads = pinned if even_width * even_height > 400_000 else (1, 1)
    return Rung(
        name=name,
        width=even_width,
        height=even_height,
        crf=crf,
        maxrate=cap,
        bufsize=cap,  # one second: a segment may then exceed the cap by a quarter at most
        threads=threads,
        first_threads=first_threads,
    )


def _even(length: Fraction) -> int:
    """The nearest even number not above ``length`` by more than rounding; at least 16, the smallest an encoder takes."""
    return max(16, 2 * round(length / 2 - Fraction(1, 100)))


def _cap(pixels: int, rate: Fraction) -> int:
    """Bit/s for a picture size, rounded to 10 kbit/s.

    It grows with the pixels to the power 3/4 (detail per pixel falls with size) and with the square root of rates above
    30 (neighbouring frames resemble each other more).
    """
    # Roots are exact to the last bit on every machine.
    size = math.sqrt(math.sqrt(pixels / _REFERENCE_PIXELS)) ** 3
    speed = math.sqrt(max(1.0, float(rate / _REFERENCE_FPS)))
    return max(100_000, round(_REFERENCE_BITS * 1.2 * size * speed / 10_000) * 10_000)
