"""The tracks beside the pictures: which sound and which captions a source gives, in which language, under which name."""

from dataclasses import dataclass
from fractions import Fraction

from penstock.video.grid import nearest
from penstock.video.languages import bcp47
from penstock.video.media import SourceMedia

_SAMPLE_RATE = 48_000
_AAC_FRAME = 1024  # samples
_STEREO_BITS, _SURROUND_BITS = 128_000, 384_000


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


def audio(media: SourceMedia, seconds: Fraction, *, loudness: bool) -> tuple[AudioTrack, ...]:
    """Stereo for every stream, in source order; 5.1 beside it where the stream has six channels or more."""
    frames = max(1, nearest(seconds * _SAMPLE_RATE / _AAC_FRAME))
    chosen = next((stream.index for stream in media.audio if stream.default), None)
    if chosen is None and media.audio:
        chosen = media.audio[0].index
    tracks: list[AudioTrack] = []
    labels: list[str] = []
    for number, stream in enumerate(media.audio, start=1):
        language = bcp47(stream.language)
        label = stream.title or language or f"Audio {number}"
        for channels in (2, 6) if stream.channels >= 6 else (2,):
            labels.append(_unlike(f"{label} 5.1" if channels == 6 else label, labels))
            tracks.append(
                AudioTrack(
                    name=f"audio-{len(tracks)}",
                    stream=stream.index,
                    channels=channels,
                    bitrate=_STEREO_BITS if channels == 2 else _SURROUND_BITS,
                    sample_rate=_SAMPLE_RATE,
                    segment_samples=frames * _AAC_FRAME,
                    language=language,
                    label=labels[-1],
                    default=channels == 2 and stream.index == chosen,
                    loudness=loudness,
                )
            )
    return tuple(tracks)


def captions(media: SourceMedia) -> tuple[CaptionsTrack, ...]:
    """The subtitle streams that are text; pictures of text cannot become captions."""
    tracks: list[CaptionsTrack] = []
    labels: list[str] = []
    for stream in media.subtitles:
        if stream.text:
            language = bcp47(stream.language)
            label = stream.title or language or f"Captions {len(tracks) + 1}"
            labels.append(_unlike(label, labels))
            name = f"captions-{len(tracks)}"
            tracks.append(CaptionsTrack(name, stream.index, language, labels[-1], default=stream.default))
    return tuple(tracks)


def _unlike(label: str, taken: list[str]) -> str:
    """``label``, numbered if it is taken: HLS wants distinct names in a group."""
    candidates = (label, *(f"{label} ({number})" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)
