"""Taking a source the whole way through the media tools, as the processing service does, for tests that look at the result."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from penstock.ffmpeg.encode import encode_audio, encode_chunk
from penstock.ffmpeg.inspect import inspect, scan
from penstock.ffmpeg.outputs import EncodedTrack
from penstock.ffmpeg.tools import Tools
from penstock.ffmpeg.verify import join
from penstock.video.media import SourceMedia
from penstock.video.plan import Chunk, Plan, ScanResult, Settings, chunks, plan, total_frames

# Half-second segments, so that clips of a second have several chunks; small rungs, so that all clips take little.
SHORT = Settings(gop_seconds=Fraction(1, 2), segment_gops=1, chunk_segments=8, max_rung=360)


@dataclass(frozen=True, slots=True)
class Planned:
    """A source that was looked at, planned and scanned."""

    source: Path
    media: SourceMedia
    plan: Plan
    scan: ScanResult

    @property
    def frames(self) -> int:
        """Frames of every rung."""
        return total_frames(self.plan, self.scan)

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """All chunks."""
        return chunks(self.plan, self.scan)

    @property
    def all_at_once(self) -> Chunk:
        """One chunk that is the whole video: what the others, joined, must equal."""
        assert self.plan.grid is not None
        return Chunk(0, 0, self.frames, 1, self.plan.grid.segments(self.frames), None, last=True)


def planned(tools: Tools, source: Path, settings: Settings = SHORT) -> Planned:
    """Look, plan, scan."""
    media = inspect(tools, source)
    made = plan(media, replace(settings, fingerprint=tools.fingerprint))
    return Planned(source, media, made, scan(tools, source, made))


def joined_rungs(tools: Tools, work: Planned, cut: tuple[Chunk, ...], folder: Path) -> dict[str, Path]:
    """Encode chunks and put each rung's segments together into one file."""
    parts: dict[str, list[EncodedTrack]] = {}
    for chunk in cut:
        pinned = {name: tracks[0].init.sha256 for name, tracks in parts.items()}
        scratch = folder / f"chunk-{chunk.index}"
        output = encode_chunk(tools, work.source, work.plan, chunk, scratch, pinned=pinned)
        for track in output.tracks:
            parts.setdefault(track.init.track, []).append(track)
    return {
        name: join(
            tracks[0].init.path, (s.path for track in tracks for s in track.segments), folder / f"{name}.mp4"
        )
        for name, tracks in parts.items()
    }


def joined_sound(tools: Tools, work: Planned, folder: Path) -> dict[str, Path]:
    """Encode every audio track and put its segments together into one file."""
    made = {}
    for track in work.plan.audio:
        encoded = encode_audio(tools, work.source, work.plan, track, folder)
        made[track.name] = join(
            encoded.init.path, (segment.path for segment in encoded.segments), folder / f"{track.name}.mp4"
        )
    return made
