"""Facts about a source as a probe found them: what is inside, when it starts, what its pictures look like.

Values only. Nothing here decides what becomes of a source (that is ``plan.py``) or knows how the facts were obtained.
All times are exact seconds (``Fraction``) on the source's own clock, where zero means nothing in particular.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Self

from penstock.video import documents

TRANSPORT_CLOCKS = frozenset({"mpegts", "mpeg"})
"""Containers (by FFmpeg's names) that carry a broadcast's clock, which may begin anew anywhere in the file."""

LONGEST_GAP = 3600
"""Seconds for which such a recording may pause. What comes later by its clock is taken to be another clock's."""


class Hdr(StrEnum):
    """The transfer function of a high-dynamic-range picture."""

    PQ = "pq"  # SMPTE ST 2084: HDR10, Dolby Vision with an HDR10 base
    HLG = "hlg"  # ARIB STD-B67


class Scan(StrEnum):
    """How the lines of a frame were taken."""

    PROGRESSIVE = "progressive"
    TOP_FIRST = "top_first"
    BOTTOM_FIRST = "bottom_first"


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour tags in FFmpeg's names (``bt709``, ``smpte2084``...); None where the source does not say."""

    full_range: bool = False
    matrix: str | None = None
    primaries: str | None = None
    transfer: str | None = None

    @property
    def hdr(self) -> Hdr | None:
        """The kind of high dynamic range, None for standard range."""
        return {"smpte2084": Hdr.PQ, "arib-std-b67": Hdr.HLG}.get(self.transfer or "")


@dataclass(frozen=True, slots=True)
class VideoStream:
    """One stream of moving pictures (cover art is not one)."""

    index: int  # of the stream in its container, as FFmpeg counts
    codec: str  # FFmpeg's name: h264, hevc, av1, vp9, mpeg2video...
    width: int  # pixels as decoded, before rotation and before the aspect ratio is applied
    height: int
    sample_aspect: Fraction  # width of a pixel over its height; 1 where unknown
    rotation: int  # degrees clockwise that bring the picture upright: 0, 90, 180 or 270
    pixel_format: str  # FFmpeg's name: yuv420p, yuv420p10le...
    bit_depth: int  # bits per component
    colour: Colour
    time_base: Fraction  # seconds per tick of the stream's timestamps
    start: Fraction  # presentation time of the first frame
    duration: Fraction | None  # as the header claims; headers lie
    header_frames: int | None  # frames that the header claims
    constant_rate: Fraction | None  # frames/s that every sampled timestamp fits; None where the rate varies
    typical_rate: Fraction | None  # frames/s of the median interval sampled; None with fewer than two frames
    average_rate: Fraction | None  # frames/s over the whole stream as the header claims
    scan: Scan
    language: str | None = None  # as tagged, for instance ``eng``
    mirrored: bool = False  # to be shown left to right swapped, before it is turned

    @property
    def upright_size(self) -> tuple[Fraction, Fraction]:
        """Width and height as a viewer sees them, in square pixels: the pixel's shape applied first, then the rotation."""
        width, height = self.width * self.sample_aspect, Fraction(self.height)
        return (height, width) if self.rotation in {90, 270} else (width, height)


@dataclass(frozen=True, slots=True)
class AudioStream:
    """One stream of sound."""

    index: int
    codec: str
    sample_rate: int  # Hz
    channels: int
    layout: str | None  # FFmpeg's name: mono, stereo, 5.1(side)...
    start: Fraction
    duration: Fraction | None
    language: str | None = None
    title: str | None = None
    default: bool = False


@dataclass(frozen=True, slots=True)
class SubtitleStream:
    """One stream of subtitles; only ``text`` ones can become captions."""

    index: int
    codec: str
    text: bool
    language: str | None = None
    title: str | None = None
    default: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named part of the source; ``start`` and ``end`` are seconds on the source's clock."""

    start: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True, slots=True)
class SkippedStream:
    """A stream that is left out, and why: ``cover_art``, ``data``, ``empty``, ``undecodable``."""

    index: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceMedia:
    """Everything that planning needs to know about a source. At least one video or audio stream is there."""

    container: str  # FFmpeg's demuxer name, for instance ``mov,mp4,m4a,3gp,3g2,mj2``
    size: int  # bytes
    start: Fraction  # the container's start time: seeking counts from it
    duration: Fraction | None  # seconds as the header claims; None where it does not say
    video: tuple[VideoStream, ...] = ()
    audio: tuple[AudioStream, ...] = ()
    subtitles: tuple[SubtitleStream, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    skipped: tuple[SkippedStream, ...] = ()
    still: bool = False  # one picture without a duration of its own
    truncated: bool = False  # the file ends before its own structure says it does

    def to_json(self) -> str:
        """Canonical JSON text."""
        return documents.dumps(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The value of :meth:`to_json`. Raises ``DocumentMalformed``."""
        return documents.loads(cls, text)
