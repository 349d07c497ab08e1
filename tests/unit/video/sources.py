"""Facts about sources as a probe would find them, for tests that plan."""

from fractions import Fraction
from typing import Any

from penstock.video.media import AudioStream, Colour, Scan, SourceMedia, SubtitleStream, VideoStream

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


def picture(**changes: Any) -> VideoStream:
    """An ordinary film: 1280x720, 25 frames per second, ten minutes."""
    facts: dict[str, Any] = {
        "index": 0,
        "codec": "h264",
        "width": 1280,
        "height": 720,
        "sample_aspect": Fraction(1),
        "rotation": 0,
        "pixel_format": "yuv420p",
        "bit_depth": 8,
        "colour": Colour(full_range=False, matrix="bt709", primaries="bt709", transfer="bt709"),
        "time_base": Fraction(1, 12800),
        "start": Fraction(0),
        "duration": Fraction(600),
        "header_frames": 15000,
        "constant_rate": Fraction(25),
        "typical_rate": Fraction(25),
        "average_rate": Fraction(25),
        "scan": Scan.PROGRESSIVE,
    }
    return VideoStream(**(facts | changes))


def sound(**changes: Any) -> AudioStream:
    """An ordinary stereo track of the same length."""
    facts: dict[str, Any] = {
        "index": 1,
        "codec": "aac",
        "sample_rate": 48_000,
        "channels": 2,
        "layout": "stereo",
        "start": Fraction(0),
        "duration": Fraction(600),
    }
    return AudioStream(**(facts | changes))


def subtitles(**changes: Any) -> SubtitleStream:
    """A SubRip track."""
    facts: dict[str, Any] = {"index": 2, "codec": "subrip", "text": True}
    return SubtitleStream(**(facts | changes))


def source(**changes: Any) -> SourceMedia:
    """The film with its sound."""
    facts: dict[str, Any] = {
        "container": MP4,
        "size": 100_000_000,
        "start": Fraction(0),
        "duration": Fraction(600),
        "video": (picture(),),
        "audio": (sound(),),
    }
    return SourceMedia(**(facts | changes))
