"""Whether a finished video is what it should be: every object's digest, every join, every frame, against its source.

Given stores, tools and a source it knows no server and no records; it reads what players read, and decodes it whole.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock.ffmpeg import commands
from penstock.ffmpeg import inspect as looking
from penstock.ffmpeg.fragments import Fragment, FragmentReader
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.storage.store import ObjectStore
from penstock.video import keys, plan, timeline
from penstock.video.errors import NotFound, PenstockError
from penstock.video.timeline import Artefact, Segment, Timeline, TimelineState, Track, TrackKind

_ETAG_DIGITS = 32  # of the SHA-256 in hexadecimal, see ``video.timeline``


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``good`` is None where it could not be looked at, which is no fault of the video."""

    subject: str
    good: bool | None
    detail: str


def published(store: ObjectStore, video_id: str, generation_id: str) -> Timeline:
    """The highest timeline version. Raises :class:`NotFound` where nothing was published."""
    versions = [info.key for info in store.list(keys.timeline_prefix(video_id, generation_id))]
    if not versions:
        raise NotFound(
            "Nothing of this video is published in this store; is PENSTOCK_OUTPUTS_URL the server's?"
        )
    return timeline.decode(store.get(versions[-1]))


def examine(video: Timeline, outputs: ObjectStore, tools: Tools, scratch: Path) -> Iterator[Finding]:
    """What can be said of the outputs alone."""
    yield _frozen(video)
    yield _digests(video, outputs)
    for track in video.tracks:
        with _joined(track, outputs, scratch) as path:
            yield _joins(track, outputs)
            if track.kind is TrackKind.VIDEO:
                yield _decoded(track, path, tools)


def compare(video: Timeline, source: Path, tools: Tools, settings: plan.Settings) -> Iterator[Finding]:
    """What the source says the outputs should be: the number of frames, their rate, and where sound ends."""
    media = looking.inspect(tools, source)
    made = plan.plan(media, settings)
    scan = looking.scan(tools, source, made)
    frames = plan.total_frames(made, scan)
    for track in video.video_tracks:
        have = _frames(track)
        yield Finding(
            f"{track.name}: length",
            have == frames,
            f"{have} frames; the source gives {frames} at {_rate(track)}/s",
        )
    end = max((track.end for track in video.video_tracks), default=plan.duration(made, scan))
    for track in video.audio_tracks:
        # Sound ends on a whole AAC frame; what is missing at its end is silence in the source, or the source's own lack.
        apart = track.end - end
        yield Finding(
            f"{track.name}: length", None, f"ends {float(apart) * 1000:+.0f} ms from the picture's end"
        )


def digest_of(source: Path) -> str:
    """SHA-256 in hexadecimal."""
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _frozen(video: Timeline) -> Finding:
    try:
        timeline.check(video)
    except PenstockError as error:
        return Finding("timeline", good=False, detail=error.detail)
    good = video.state is TimelineState.FROZEN
    return Finding("timeline", good, f"version {video.version}, {video.state}, {len(video.tracks)} tracks")


def _digests(video: Timeline, outputs: ObjectStore) -> Finding:
    wrong: list[str] = []
    count = size = 0
    for key, expected in _objects(video):
        digest = hashlib.sha256()
        length = 0
        try:
            for piece in outputs.stream(key):
                digest.update(piece)
                length += len(piece)
        except NotFound:
            wrong.append(f"{key} is missing")
            continue
        count, size = count + 1, size + length
        if (length, digest.hexdigest()[:_ETAG_DIGITS]) != (expected.size, expected.etag):
            wrong.append(f"{key} has other bytes")
    if wrong:
        return Finding("digests", good=False, detail="; ".join(wrong[:5]))
    return Finding(
        "digests", good=True, detail=f"{count} objects, {size / 1e6:.1f} MB, each as it was recorded"
    )


def _objects(video: Timeline) -> Iterator[tuple[str, Artefact | Segment]]:
    for item in (*video.artefacts, *video.captions):
        yield item.key, item
    for track in video.tracks:
        yield track.init.key, track.init
        for segment in track.segments:
            yield track.key(segment), segment


def _joins(track: Track, outputs: ObjectStore) -> Finding:
    """Reads the fragments as a player does: decode times go on without a gap, and a rung's pictures lie on one grid."""
    reader = FragmentReader()
    list(reader.feed(outputs.get(track.init.key)))
    times: list[int] = []
    for segment in track.segments:
        fragments = [
            item for item in reader.feed(outputs.get(track.key(segment))) if isinstance(item, Fragment)
        ]
        position = segment.start
        for fragment in fragments:
            if fragment.start != position:
                return _broken(track, segment, f"a fragment begins at {fragment.start}, not at {position}")
            position += fragment.duration
            times += fragment.times
        if position != segment.end:
            return _broken(track, segment, f"it ends at {position}, not at {segment.end}")
        if track.kind is TrackKind.VIDEO and not fragments[0].starts_with_keyframe:
            return _broken(track, segment, "it does not begin with a keyframe")
    if track.kind is TrackKind.VIDEO and sorted(times) != _grid(track):
        return Finding(
            f"{track.name}: joins", good=False, detail="its pictures are not evenly spaced from zero on"
        )
    detail = f"{len(track.segments)} segments without a gap, {len(times)} samples, {float(track.end):.3f} s"
    return Finding(f"{track.name}: joins", good=True, detail=detail)


def _decoded(track: Track, joined: Path, tools: Tools) -> Finding:
    """Decodes all of it. A decoder that lost pictures still ends with status 0, so they are counted."""
    report = bytearray()
    finished = run(
        tools, commands.decode(joined, tools.config.max_pixels), {commands.FIRST_OUTPUT_PIPE: report.extend}
    )
    pictures = sum(1 for line in report.splitlines() if line and not line.startswith(b"#"))
    good = finished.status == 0 and not finished.messages.strip() and pictures == _frames(track)
    complaint = f"; it says: {finished.messages.strip()[-200:]}" if finished.messages.strip() else ""
    return Finding(f"{track.name}: decoded", good, f"{pictures} of {_frames(track)} frames{complaint}")


@contextmanager
def _joined(track: Track, outputs: ObjectStore, scratch: Path) -> Iterator[Path]:
    """Init segment and all segments as one file, for a decoder."""
    with TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / f"{track.name}.mp4"
        with path.open("wb") as file:
            for key in (track.init.key, *(track.key(segment) for segment in track.segments)):
                for piece in outputs.stream(key):
                    file.write(piece)
        yield path


def _broken(track: Track, segment: Segment, why: str) -> Finding:
    return Finding(f"{track.name}: joins", good=False, detail=f"segment {segment.number}: {why}")


def _frames(track: Track) -> int:
    assert track.frame_rate is not None
    return round(track.end * track.frame_rate)


def _grid(track: Track) -> list[int]:
    assert track.frame_rate is not None
    step = int(track.timescale / track.frame_rate)
    return list(range(0, step * _frames(track), step))


def _rate(track: Track) -> str:
    assert track.frame_rate is not None
    return f"{float(track.frame_rate):.3f}".rstrip("0").rstrip(".")
