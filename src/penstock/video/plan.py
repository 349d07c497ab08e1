"""The plan: what a source will become. A pure function of the source's facts and the settings, stored with the video.

Same facts and settings give the same plan on every machine, and its digest says whether two plans are the same. The
plan pins what the encoder's bytes depend on. It knows no commands, files or records; ``ffmpeg/commands.py`` writes the
commands, and every chunk's number of frames is known before it is encoded.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Self

from penstock.video import documents
from penstock.video.ladder import Rung
from penstock.video.media import Chapter, Colour, Scan, SourceMedia

FORMAT = 1


class Profile(StrEnum):
    """How much work goes into each bit."""

    SPEED = "speed"  # fewest CPU seconds; about a fifth more bits for the same picture
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator decides about every video. Changing one changes the plan's digest, so a retry plans anew."""

    profile: Profile = Profile.BALANCED
    max_rung: int = 1080  # highest standard height; 1440 and 2160 cost two and four times 1080
    gop_seconds: Fraction = Fraction(2)  # between keyframes: how precisely a player can seek and switch
    segment_gops: int = 2  # keyframe intervals per segment: 4 s segments halve the requests of 2 s ones
    first_chunk_segments: int = 1  # the first chunk is short, because the video becomes playable with it
    chunk_segments: int = 4  # 16 s: long enough that the restart of the rate control costs nothing to see
    threads: int = 2  # of one encoder of a large rung; part of the plan because bytes depend on it
    loudness: bool = (
        False  # bring each track to -16 LUFS (EBU R128); costs a pass of its own and changes the mix
    )
    fingerprint: str = ""  # of the tools (``ffmpeg/tools.py``): only nodes with the same may work on the plan


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

    @property
    def frame_ticks(self) -> int:
        """Ticks per frame: a whole number by construction."""
        return int(self.timescale / self.rate)


@dataclass(frozen=True, slots=True)
class VideoTreatment:
    """What is done to every picture before it is scaled to the rungs."""

    stream: int  # index in the source
    width: int  # of the pictures as decoded
    height: int
    rotation: int  # degrees clockwise
    deinterlace: Scan  # progressive: nothing to do; else the field that comes first
    colour_in: Colour  # with gaps filled by what the size suggests
    colour_out: Colour
    tonemap: bool  # from HDR to the standard range
    start: Fraction  # presentation time of the first picture on the source's clock
    time_base: Fraction  # of the source stream


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One audio representation: AAC-LC, 48 kHz, segments of whole 1024-sample frames of about the video's length."""

    name: str  # ``audio-0``, ``audio-1``...; the number is the index of its task
    stream: int  # index in the source
    channels: int  # 2 or 6
    bitrate: int  # bit/s
    sample_rate: int
    segment_samples: int
    language: str | None
    label: str
    default: bool
    loudness: bool

    @property
    def bandwidth(self) -> int:
        """Bit/s for the manifests while the track grows: AAC spreads bits between frames; the container adds a little."""
        return self.bitrate * 115 // 100


@dataclass(frozen=True, slots=True)
class CaptionsTrack:
    """One text subtitle stream that becomes WebVTT; the number in ``name`` is the index of its task."""

    name: str  # ``captions-0``...
    stream: int
    language: str | None
    label: str
    default: bool


@dataclass(frozen=True, slots=True)
class Poster:
    """The still that stands for the video."""

    time: Fraction  # seconds on the source's clock
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a source will become. ``grid``, ``video`` and ``poster`` are None for a source without pictures."""

    format: int
    fingerprint: str  # of the tools whose bytes the plan counts on
    container: str  # the source's demuxer
    start: Fraction  # the container's own start time, from which FFmpeg counts when it seeks
    origin: Fraction  # seconds on the source's clock that become zero: the earliest start of any chosen track
    duration: Fraction | None  # seconds after ``origin`` as the header claims; None: only the scan will tell
    still: bool  # one picture, held for one segment
    preset: str  # the encoder's
    grid: Grid | None
    video: VideoTreatment | None
    rungs: tuple[Rung, ...]  # lowest first
    audio: tuple[AudioTrack, ...]
    captions: tuple[CaptionsTrack, ...]
    chapters: tuple[Chapter, ...]  # times after ``origin``
    poster: Poster | None
    target_duration: int  # seconds: no segment is longer, rounded (RFC 8216 section 4.3.3.1)
    first_chunk_segments: int
    chunk_segments: int
    first_chunk_early: (
        bool  # whether chunk 0 can be planned before the scan: the header is believable and long enough
    )

    def to_json(self) -> str:
        """Canonical JSON text."""
        return documents.dumps(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The value of :meth:`to_json`. Raises ``DocumentMalformed``."""
        return documents.loads(cls, text)

    def digest(self) -> str:
        """64 hexadecimal digits; equal for equal plans on every machine."""
        return documents.digest(self)

    def rung(self, name: str) -> Rung:
        """The rung with this name."""
        return next(rung for rung in self.rungs if rung.name == name)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What reading every packet's head found out. Times are ticks of ``time_base`` on the source's clock."""

    time_base: Fraction  # of the chosen video stream; of the first audio track where there are no pictures
    keyframes: tuple[int, ...]  # presentation times of the frames that decoding can start at, ascending
    frames: int  # packets of the chosen video stream
    end: int  # when the last frame ends (of the first audio track where there are no pictures)
    truncated: bool  # the packets end earlier than the header said

    def to_json(self) -> str:
        """Canonical JSON text."""
        return documents.dumps(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The value of :meth:`to_json`. Raises ``DocumentMalformed``."""
        return documents.loads(cls, text)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of whole segments that one task encodes for all rungs with one decode."""

    index: int  # from 0; the index of the task
    first_frame: int  # on the grid, from 0
    frames: int  # what every rung must contain, no more and no less
    first_segment: int  # its number, from 1
    segments: int
    seek: (
        Fraction | None
    )  # seconds on the source's clock of the keyframe to start decoding at; None: from the beginning
    last: bool  # nothing follows; the source's last picture may have to be held for its rounding


def plan(media: SourceMedia, settings: Settings) -> Plan:
    """The plan for a source. Raises ``MediaError`` for sources that cannot become a video."""
    raise NotImplementedError


def total_frames(plan: Plan, scan: ScanResult) -> int:
    """Frames of every rung over the whole video, known once the source is scanned; 0 without pictures."""
    raise NotImplementedError


def duration(plan: Plan, scan: ScanResult) -> Fraction:
    """Seconds of the finished video, as the scan knows it."""
    raise NotImplementedError


def chunks(plan: Plan, scan: ScanResult | None) -> tuple[Chunk, ...]:
    """All chunks in order; without a scan at most the first one, and none where the header cannot be believed.

    The first chunk planned early equals the first chunk planned with the scan unless the header lied about the length:
    so a task derives its chunk from whatever is known when it runs, and a retry after the scan is right by itself.
    """
    raise NotImplementedError
