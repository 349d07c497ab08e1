"""The timeline: the published list of a generation's segments, from which both manifests are written.

A timeline version is an immutable object. Readers use the highest version and never step down; a later version only
lengthens what an earlier one said, or ends it. This file gives the value, its JSON form, the rule that cuts a growing timeline to
the part that every track covers, and the check that one version may follow another. It knows no store and no clock.

Times are integer ticks of the track's own ``timescale`` (ticks per second); sizes are bytes; an ``etag`` is the first
32 hexadecimal digits of the object's SHA-256.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from itertools import groupby
from typing import Any

from penstock.video import keys
from penstock.video.errors import PermanentError

FORMAT = 1


class TimelineState(StrEnum):
    """What may follow a version: its ends are told by tombstones.

    ``growing`` versions are followed by others. A tombstone (``failed``, ``deleted``) may follow any version and nothing
    else a ``frozen`` one; after ``failed`` a retry may go on, and ``deleted`` is the end.
    """

    GROWING = "growing"
    FROZEN = "frozen"
    FAILED = "failed"
    DELETED = "deleted"


class TrackKind(StrEnum):
    """What a track carries."""

    VIDEO = "video"
    AUDIO = "audio"


class TimelineMalformed(PermanentError):
    """Bytes that are no timeline of this format, or a version that does not follow from the one before."""

    code = "timeline_malformed"


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One independently decodable picture inside a segment: the byte range of its fragment's head and first sample."""

    offset: int
    length: int
    duration: int  # ticks until the next keyframe or the segment's end


@dataclass(frozen=True, slots=True)
class Segment:
    """One published media segment. ``prefix`` is that of the attempt that wrote it."""

    number: int  # from 1; common to all rungs, as they share one grid
    start: int
    duration: int
    size: int
    etag: str
    prefix: str
    keyframes: tuple[Keyframe, ...] = ()

    @property
    def end(self) -> int:
        """The tick after the last."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class Artefact:
    """One whole object beside the tracks: an init segment, a poster, a storyboard sheet, captions."""

    name: str  # the last part of its URL, for instance ``poster.jpg``
    key: str
    size: int
    etag: str
    media_type: str
    language: str | None = None  # BCP 47, for captions
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """One rung or one audio track, and its segments so far."""

    name: str
    kind: TrackKind
    codecs: str  # RFC 6381, from the init segment's own boxes
    timescale: int
    bandwidth: int  # bit/s that the encoder is capped to; the manifests use it while the timeline grows
    init: Artefact
    segments: tuple[Segment, ...] = ()
    complete: bool = False  # no further segment will come
    width: int | None = None
    height: int | None = None
    frame_rate: Fraction | None = None
    language: str | None = None
    label: str | None = None
    channels: int | None = None
    default: bool = False

    @property
    def end(self) -> Fraction:
        """Seconds up to which the track is published."""
        return Fraction(self.segments[-1].end, self.timescale) if self.segments else Fraction(0)

    def key(self, segment: Segment) -> str:
        """The object key of one of this track's segments."""
        return keys.media_segment(segment.prefix, self.name, segment.number)

    def segment(self, number: int) -> Segment | None:
        """The segment with this number, or None where it is not published."""
        first = self.segments[0].number if self.segments else 1
        index = number - first
        return self.segments[index] if 0 <= index < len(self.segments) else None

    def peak_bandwidth(self, target_duration: int) -> int:
        """Peak segment bit rate in bit/s (``BANDWIDTH``), see :func:`peak_bit_rate`; the cap where nothing is measured."""
        measured = peak_bit_rate(
            [(s.size, s.duration) for s in self.segments], self.timescale, target_duration
        )
        return self.bandwidth if measured is None else measured

    def average_bandwidth(self) -> int:
        """Bit/s over all segments (``AVERAGE-BANDWIDTH``)."""
        ticks = sum(s.duration for s in self.segments)
        return (
            _bits_per_second(sum(s.size for s in self.segments), ticks, self.timescale)
            if ticks
            else self.bandwidth
        )


@dataclass(frozen=True, slots=True)
class Timeline:
    """One version of what a generation has published."""

    video_id: str
    generation_id: str
    version: int
    state: TimelineState
    published_ms: int  # Unix epoch, of this version
    first_published_ms: int  # of the first version, constant: DASH availability is counted from it
    planned_duration: Fraction  # seconds; what the plan expects while growing, the truth once frozen
    target_duration: int  # seconds, fixed from the first version on (RFC 8216 section 4.3.3.1)
    tracks: tuple[Track, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    captions: tuple[Artefact, ...] = ()
    error_code: str | None = None  # of a ``failed`` one

    @property
    def video_tracks(self) -> tuple[Track, ...]:
        """The rungs, lowest first."""
        return tuple(track for track in self.tracks if track.kind is TrackKind.VIDEO)

    @property
    def audio_tracks(self) -> tuple[Track, ...]:
        """The audio tracks in source order."""
        return tuple(track for track in self.tracks if track.kind is TrackKind.AUDIO)

    def track(self, name: str) -> Track | None:
        """The track with this name."""
        return next((track for track in self.tracks if track.name == name), None)

    def artefact(self, name: str) -> Artefact | None:
        """The artefact or captions file with this name."""
        return next((item for item in (*self.artefacts, *self.captions) if item.name == name), None)

    def prefix(self) -> Fraction:
        """Seconds that can be played from the start, see :func:`prefix`."""
        return prefix(self.tracks)


def prefix(tracks: Iterable[Track]) -> Fraction:
    """The least contiguous end over all tracks, in seconds; a complete track does not limit unless all are complete."""
    tracks = tuple(tracks)
    limiting = [track.end for track in tracks if not track.complete]
    return min(limiting) if limiting else max((track.end for track in tracks), default=Fraction(0))


def playable(tracks: Iterable[Track]) -> bool:
    """Whether play can begin: every rung and track has its first segment (or is complete without any)."""
    tracks = tuple(tracks)
    return any(track.segments for track in tracks) and all(
        track.segments or track.complete for track in tracks
    )


def contiguous(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The unbroken run of segments from number 1, in order; later ones that stand alone are not yet published."""
    run: list[Segment] = []
    for segment in sorted(segments, key=lambda s: s.number):
        if segment.number != len(run) + 1 or (run and segment.start != run[-1].end):
            break
        run.append(segment)
    return tuple(run)


def cut(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Every track cut to the common prefix: a segment is published once it begins before the prefix.

    So each published track covers the whole prefix though segments of audio and video end at different times. A track
    is reported complete only when none of its segments was cut away.
    """
    end = prefix(tracks)
    result = []
    for track in tracks:
        kept = tuple(s for s in track.segments if Fraction(s.start, track.timescale) < end)
        result.append(
            replace(track, segments=kept, complete=track.complete and len(kept) == len(track.segments))
        )
    return tuple(result)


def check(timeline: Timeline) -> None:
    """Raises :class:`TimelineMalformed` unless every track is contiguous and, when frozen, complete."""
    for track in timeline.tracks:
        if contiguous(track.segments) != track.segments:
            raise TimelineMalformed(f"Track {track.name} of the timeline has a hole.")
        if timeline.state is TimelineState.FROZEN and not track.complete:
            raise TimelineMalformed(f"The timeline is frozen but track {track.name} is not complete.")
    if timeline.state is TimelineState.FROZEN and not timeline.tracks:
        raise TimelineMalformed("The timeline is frozen without any track.")


def check_successor(before: Timeline, after: Timeline) -> None:
    """Raises :class:`TimelineMalformed` unless ``after`` only lengthens ``before`` (or is its tombstone)."""
    if (before.video_id, before.generation_id) != (after.video_id, after.generation_id):
        raise TimelineMalformed("The versions belong to different generations.")
    if after.version <= before.version:
        raise TimelineMalformed(f"Version {after.version} does not come after {before.version}.")
    if after.state is TimelineState.DELETED:
        return
    if after.state is TimelineState.FAILED and before.state is not TimelineState.DELETED:
        return
    if (
        before.state is TimelineState.FAILED
    ):  # a retry under the same plan; what it continues came before the failure
        return
    frozen = (
        before.state is TimelineState.FROZEN
    )  # its writer may have died before it was recorded: written again
    if before.state is TimelineState.DELETED or (frozen and after.state is not TimelineState.FROZEN):
        raise TimelineMalformed(f"Nothing follows a timeline that is {before.state}.")
    if [track.name for track in before.tracks] != [track.name for track in after.tracks]:
        raise TimelineMalformed("The set of tracks changed after the first publication.")
    if before.target_duration != after.target_duration:
        raise TimelineMalformed("The target duration changed after the first publication.")
    for old, new in zip(before.tracks, after.tracks, strict=True):
        kept = new.segments if frozen else new.segments[: len(old.segments)]
        if kept != old.segments or new.init != old.init:
            raise TimelineMalformed(f"Track {old.name} does not continue what was published.")


def encode(timeline: Timeline) -> bytes:
    """The JSON form, UTF-8. Segments are grouped by attempt and written as arrays: a two-hour video stays near 1 MB."""
    document = {
        "format": FORMAT,
        "video": timeline.video_id,
        "generation": timeline.generation_id,
        "version": timeline.version,
        "state": timeline.state,
        "published_ms": timeline.published_ms,
        "first_published_ms": timeline.first_published_ms,
        "planned_duration": _fraction(timeline.planned_duration),
        "target_duration": timeline.target_duration,
        "error_code": timeline.error_code,
        "tracks": [_encode_track(track) for track in timeline.tracks],
        "artefacts": [_encode_artefact(item) for item in timeline.artefacts],
        "captions": [_encode_artefact(item) for item in timeline.captions],
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def decode(data: bytes) -> Timeline:
    """The value of the JSON form. Raises :class:`TimelineMalformed` on anything else."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise TimelineMalformed(
                f"Timeline format {document['format']} is newer than this program; update it."
            )
        return Timeline(
            video_id=document["video"],
            generation_id=document["generation"],
            version=document["version"],
            state=TimelineState(document["state"]),
            published_ms=document["published_ms"],
            first_published_ms=document["first_published_ms"],
            planned_duration=Fraction(*document["planned_duration"]),
            target_duration=document["target_duration"],
            error_code=document["error_code"],
            tracks=tuple(_decode_track(item) for item in document["tracks"]),
            artefacts=tuple(_decode_artefact(item) for item in document["artefacts"]),
            captions=tuple(_decode_artefact(item) for item in document["captions"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise TimelineMalformed("The object is not a timeline of this format.") from error


def peak_bit_rate(parts: Sequence[tuple[int, int]], timescale: int, target_duration: int) -> int | None:
    """Peak bit/s of consecutive parts, each (bytes, ticks), by RFC 8216 section 4.1; None without parts.

    It is the highest rate of any contiguous run that lasts between half and one and a half target durations (seconds).
    A run and not a single part, because a last segment of one keyframe would otherwise speak for the whole video. What
    is shorter than any such run has its average rate.
    """
    shortest, longest = target_duration * timescale, 3 * target_duration * timescale  # both times two
    peak = first = size = ticks = 0
    for part_size, part_ticks in parts:
        size, ticks = size + part_size, ticks + part_ticks
        while 2 * ticks > longest and ticks > part_ticks:
            size, ticks, first = size - parts[first][0], ticks - parts[first][1], first + 1
        run_size, run_ticks, start = size, ticks, first
        while 2 * run_ticks >= shortest:
            if 2 * run_ticks <= longest:
                peak = max(peak, _bits_per_second(run_size, run_ticks, timescale))
            run_size, run_ticks, start = run_size - parts[start][0], run_ticks - parts[start][1], start + 1
    total = sum(part_ticks for _, part_ticks in parts)
    if not peak and total:
        peak = _bits_per_second(sum(part_size for part_size, _ in parts), total, timescale)
    return peak or None


def _bits_per_second(size: int, ticks: int, timescale: int) -> int:
    return -(
        -size * 8 * timescale // max(ticks, 1)
    )  # rounded up: a manifest must not promise less than it needs


def _fraction(value: Fraction) -> list[int]:
    return [value.numerator, value.denominator]


def _encode_artefact(item: Artefact) -> dict[str, Any]:
    return {
        "name": item.name,
        "key": item.key,
        "size": item.size,
        "etag": item.etag,
        "type": item.media_type,
        "language": item.language,
        "label": item.label,
    }


def _decode_artefact(item: dict[str, Any]) -> Artefact:
    return Artefact(
        name=item["name"],
        key=item["key"],
        size=item["size"],
        etag=item["etag"],
        media_type=item["type"],
        language=item["language"],
        label=item["label"],
    )


def _encode_track(track: Track) -> dict[str, Any]:
    return {
        "name": track.name,
        "kind": track.kind,
        "codecs": track.codecs,
        "timescale": track.timescale,
        "bandwidth": track.bandwidth,
        "init": _encode_artefact(track.init),
        "complete": track.complete,
        "width": track.width,
        "height": track.height,
        "frame_rate": None if track.frame_rate is None else _fraction(track.frame_rate),
        "language": track.language,
        "label": track.label,
        "channels": track.channels,
        "default": track.default,
        "first": track.segments[0].number if track.segments else 1,
        "start": track.segments[0].start if track.segments else 0,
        "runs": [
            [prefix_, [_encode_segment(s) for s in run]]
            for prefix_, run in groupby(track.segments, lambda s: s.prefix)
        ],
    }


def _encode_segment(segment: Segment) -> list[Any]:
    return [
        segment.duration,
        segment.size,
        segment.etag,
        [[frame.offset, frame.length, frame.duration] for frame in segment.keyframes],
    ]


def _decode_track(item: dict[str, Any]) -> Track:
    segments: list[Segment] = []
    number, start = item["first"], item["start"]
    for prefix_, run in item["runs"]:
        for duration, size, etag, frames in run:
            keyframes = tuple(Keyframe(*frame) for frame in frames)
            segments.append(Segment(number, start, duration, size, etag, prefix_, keyframes))
            number, start = number + 1, start + duration
    return Track(
        name=item["name"],
        kind=TrackKind(item["kind"]),
        codecs=item["codecs"],
        timescale=item["timescale"],
        bandwidth=item["bandwidth"],
        init=_decode_artefact(item["init"]),
        segments=tuple(segments),
        complete=item["complete"],
        width=item["width"],
        height=item["height"],
        frame_rate=None if item["frame_rate"] is None else Fraction(*item["frame_rate"]),
        language=item["language"],
        label=item["label"],
        channels=item["channels"],
        default=item["default"],
    )
