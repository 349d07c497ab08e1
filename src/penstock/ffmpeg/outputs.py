"""What a media run hands to its caller: files in the caller's scratch folder, with what a timeline needs to know."""

from dataclasses import dataclass
from pathlib import Path

from penstock.video.timeline import Keyframe


@dataclass(frozen=True, slots=True)
class EncodedInit:
    """The initialisation segment of one rung or audio track; it comes before the track's first segment."""

    track: str  # ``720p``, ``audio-0``...
    path: Path
    size: int  # bytes
    sha256: str  # 64 hexadecimal digits
    codecs: str  # RFC 6381, from its own boxes
    timescale: int  # ticks per second of the track's segments


@dataclass(frozen=True, slots=True)
class EncodedSegment:
    """One media segment: complete, closed and never touched again when it is announced."""

    track: str
    number: int  # from 1, over the whole video
    start: int  # ticks from the video's zero
    duration: int  # ticks
    path: Path
    size: int  # bytes
    sha256: str  # 64 hexadecimal digits
    frames: int  # pictures, or AAC frames of 1024 samples
    keyframes: tuple[Keyframe, ...]  # of a rung; empty for sound


@dataclass(frozen=True, slots=True)
class EncodedTrack:
    """One rung's part in a chunk, or a whole audio track."""

    init: EncodedInit
    segments: tuple[EncodedSegment, ...]

    @property
    def frames(self) -> int:
        """Pictures (or AAC frames) in all segments."""
        return sum(segment.frames for segment in self.segments)


@dataclass(frozen=True, slots=True)
class ChunkOutput:
    """Every rung of one chunk, checked: as many frames as planned, at the planned times, with the pinned init segment."""

    tracks: tuple[EncodedTrack, ...]  # in the order of the plan's rungs


@dataclass(frozen=True, slots=True)
class MadeFile:
    """One whole artefact: a poster, a captions file."""

    name: str  # ``poster.jpg``, ``captions-0.vtt``...
    path: Path
    size: int
    sha256: str
    media_type: str
