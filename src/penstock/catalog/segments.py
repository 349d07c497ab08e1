"""Tracks and their segments: recording what is durable, and how far each track is published without a gap.

All of it happens under the generation's lock, so ``contiguous`` and ``complete`` follow from rows that no other commit is
changing.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from sqlalchemy import Connection, func, select

from penstock.catalog import schema
from penstock.catalog.dialect import insert
from penstock.catalog.records import InitSegment, NewTrack, SegmentRecord, TrackRecord, load
from penstock.video import keys, timeline
from penstock.video.errors import NotFound, ToolFailed
from penstock.video.timeline import Keyframe, Segment, Track, TrackKind

_ETAG_DIGITS = 32  # of the SHA-256, see video.timeline
_INIT_TYPE = {TrackKind.VIDEO: "video/mp4", TrackKind.AUDIO: "audio/mp4"}


def add_tracks(tx: Connection, generation_id: str, new: Iterable[NewTrack]) -> None:
    """Records a plan's tracks; those that exist stay as they are."""
    rows = [
        {
            "generation_id": generation_id,
            "name": track.name,
            "kind": track.kind,
            "position": track.position,
            "timescale": track.timescale,
            "bandwidth": track.bandwidth,
            "width": track.width,
            "height": track.height,
            "frame_rate_num": track.frame_rate.numerator if track.frame_rate else None,
            "frame_rate_den": track.frame_rate.denominator if track.frame_rate else None,
            "language": track.language,
            "label": track.label,
            "channels": track.channels,
            "default": track.default,
            "segments_total": track.segments_total,
        }
        for track in new
    ]
    if rows:
        tx.execute(insert(tx, schema.tracks).on_conflict_do_nothing(), rows)


def tracks(tx: Connection, generation_id: str) -> list[TrackRecord]:
    """A generation's tracks in the order of the manifests."""
    table = schema.tracks
    rows = tx.execute(
        select(table).where(table.c.generation_id == generation_id).order_by(table.c.position, table.c.name)
    )
    return [load(TrackRecord, row) for row in rows]


def record(
    tx: Connection,
    generation_id: str,
    new: Sequence[SegmentRecord],
    *,
    inits: Mapping[str, InitSegment] | None = None,
) -> int:
    """Records segments whose objects are durable, and the tracks' init segments; returns how many were new.

    What another attempt has recorded stays: nothing published ever changes. Raises :class:`ToolFailed` where an init
    segment is not the one the track already has, as the segments would not join.
    """
    for name, init in (inits or {}).items():
        _record_init(tx, generation_id, name, init)
    rows = [
        {
            "generation_id": generation_id,
            "track": item.track,
            "number": item.number,
            "start": item.start,
            "duration": item.duration,
            "frames": item.frames,
            "size": item.size,
            "sha256": item.sha256,
            "prefix": item.prefix,
            "keyframes": [list(frame) for frame in item.keyframes],
        }
        for item in new
    ]
    added = 0
    if rows:
        table = schema.segments
        statement = insert(tx, table).on_conflict_do_nothing().returning(table.c.number)
        added = len(tx.execute(statement, rows).all())
    for name in sorted({item.track for item in new}):
        _extend(tx, _track(tx, generation_id, name))
    return added


def expect(tx: Connection, generation_id: str, totals: Mapping[str, int]) -> None:
    """Says how many segments each track will have in the end; a track that has them all is complete."""
    table = schema.tracks
    for name, total in totals.items():
        tx.execute(
            table.update()
            .where(table.c.generation_id == generation_id, table.c.name == name)
            .values(segments_total=total)
        )
        _extend(tx, _track(tx, generation_id, name))


def prefix(items: Iterable[TrackRecord]) -> Fraction:
    """Seconds that can be played from the start: the least unbroken end over the tracks; a complete one does not limit."""
    items = tuple(items)
    limiting = [track.end for track in items if not track.complete]
    return min(limiting) if limiting else max((track.end for track in items), default=Fraction(0))


def playable(items: Iterable[TrackRecord]) -> bool:
    """Whether every track has its first segment (or is complete without any)."""
    items = tuple(items)
    return any(track.contiguous for track in items) and all(
        track.contiguous or track.complete for track in items
    )


def listing(
    tx: Connection, generation_id: str, track: str, *, after: int = 0, until: int | None = None
) -> list[SegmentRecord]:
    """A track's recorded segments numbered above ``after`` and up to ``until``, gaps and all, in order."""
    table = schema.segments
    query = select(*(column for column in table.c if column.name != "generation_id")).where(
        table.c.generation_id == generation_id, table.c.track == track, table.c.number > after
    )
    if until is not None:
        query = query.where(table.c.number <= until)
    return [
        SegmentRecord(**{**row._asdict(), "keyframes": tuple((a, b, c) for a, b, c in row.keyframes)})
        for row in tx.execute(query.order_by(table.c.number))
    ]


def timeline_tracks(tx: Connection, known: Iterable[TrackRecord]) -> tuple[Track, ...]:
    """The tracks as a timeline has them, each with its unbroken run of segments; those without an init segment are left out.

    ``known`` is what :func:`tracks` said, under the lock where the answer must be of one moment. The run that it speaks of
    never changes, so it may be read long after. Not yet cut to the common prefix: see :func:`penstock.video.timeline.cut`.
    """
    return tuple(_timeline_track(track, _run(tx, track)) for track in known if track.init_key is not None)


def _run(tx: Connection, track: TrackRecord) -> tuple[Segment, ...]:
    """A track's unbroken run; there are thousands of a long video, each time it is published."""
    s = schema.segments.c
    rows = tx.execute(
        select(s.number, s.start, s.duration, s.size, s.sha256, s.prefix, s.keyframes)
        .where(s.generation_id == track.generation_id, s.track == track.name, s.number <= track.contiguous)
        .order_by(s.number)
    )
    return tuple(
        Segment(
            number, start, duration, size, sha256[:_ETAG_DIGITS], prefix, tuple(Keyframe(*f) for f in frames)
        )
        for number, start, duration, size, sha256, prefix, frames in rows
    )


def referenced_keys(tx: Connection, prefix: str) -> set[str]:
    """The keys below an attempt's prefix that committed records refer to: segments, init segments, artefacts.

    Only generations of the same video can refer to them.
    """
    s, t, a, g = schema.segments, schema.tracks, schema.artefacts, schema.generations
    of_video = select(g.c.id).where(g.c.video_id == keys.video_of(prefix))
    found = {
        keys.media_segment(prefix, row.track, row.number)
        for row in tx.execute(select(s.c.track, s.c.number).where(s.c.prefix == prefix))
    }
    whole = set(tx.execute(select(t.c.init_key).where(t.c.generation_id.in_(of_video))).scalars())
    whole |= set(tx.execute(select(a.c.key).where(a.c.generation_id.in_(of_video))).scalars())
    return found | {key for key in whole if key and key.startswith(prefix)}


def forget(tx: Connection, generation_id: str) -> set[str]:
    """Drops an ended generation's references and returns the attempts' prefixes that it referred to.

    Another generation may refer to the same objects: :func:`referenced_keys` tells what of them is still needed.
    """
    s, t, a = schema.segments, schema.tracks, schema.artefacts
    written = prefixes(tx, generation_id)
    whole = set(tx.execute(select(t.c.init_key).where(t.c.generation_id == generation_id)).scalars())
    whole |= set(tx.execute(select(a.c.key).where(a.c.generation_id == generation_id)).scalars())
    for table in (s, t, a):
        tx.execute(table.delete().where(table.c.generation_id == generation_id))
    return written | {keys.attempt_prefix_of(key) for key in whole if key}


def prefixes(tx: Connection, generation_id: str) -> set[str]:
    """Of the attempts that wrote the recorded segments of a generation."""
    table = schema.segments.c
    return set(
        tx.execute(select(table.prefix).where(table.generation_id == generation_id).distinct()).scalars()
    )


def totals(tx: Connection, generation_id: str) -> dict[str, tuple[int, int]]:
    """Per track: how many segments are recorded, gaps or not, and their bytes."""
    table = schema.segments
    rows = tx.execute(
        select(table.c.track, func.count().label("count"), func.sum(table.c.size).label("size"))
        .where(table.c.generation_id == generation_id)
        .group_by(table.c.track)
    )
    return {row.track: (row._asdict()["count"], int(row.size)) for row in rows}


def _track(tx: Connection, generation_id: str, name: str) -> TrackRecord:
    table = schema.tracks
    row = tx.execute(
        select(table).where(table.c.generation_id == generation_id, table.c.name == name)
    ).one_or_none()
    if row is None:
        raise NotFound(f"The plan has no track {name}.", code="track_not_found")
    return load(TrackRecord, row)


def _record_init(tx: Connection, generation_id: str, name: str, init: InitSegment) -> None:
    track = _track(tx, generation_id, name)
    if track.init_sha256 is None:
        table = schema.tracks
        tx.execute(
            table.update()
            .where(table.c.generation_id == generation_id, table.c.name == name)
            .values(init_key=init.key, init_size=init.size, init_sha256=init.sha256, codecs=init.codecs)
        )
    elif track.init_sha256 != init.sha256:
        raise ToolFailed(
            f"The initialisation segment of {name} differs from that of its other chunks.",
            code="init_mismatch",
        )


def _extend(tx: Connection, track: TrackRecord) -> None:
    """Lengthens the unbroken run by what is there now."""
    table = schema.segments
    number, end = track.contiguous, track.contiguous_end
    rows = tx.execute(
        select(table.c.number, table.c.start, table.c.duration)
        .where(
            table.c.generation_id == track.generation_id, table.c.track == track.name, table.c.number > number
        )
        .order_by(table.c.number)
    )
    for row in rows:
        if row.number != number + 1 or (number and row.start != end):
            break
        number, end = row.number, row.start + row.duration
    complete = track.segments_total is not None and number >= track.segments_total
    tx.execute(
        schema.tracks.update()
        .where(schema.tracks.c.generation_id == track.generation_id, schema.tracks.c.name == track.name)
        .values(contiguous=number, contiguous_end=end, complete=complete)
    )


def _timeline_track(track: TrackRecord, items: tuple[Segment, ...]) -> Track:
    assert track.init_key is not None
    assert track.init_size is not None
    assert track.init_sha256 is not None
    return Track(
        name=track.name,
        kind=track.kind,
        codecs=track.codecs or "",
        timescale=track.timescale,
        bandwidth=track.bandwidth,
        init=timeline.Artefact(
            name="init.mp4",
            key=track.init_key,
            size=track.init_size,
            etag=track.init_sha256[:_ETAG_DIGITS],
            media_type=_INIT_TYPE[track.kind],
        ),
        segments=items,
        complete=track.complete,
        width=track.width,
        height=track.height,
        frame_rate=track.frame_rate,
        language=track.language,
        label=track.label,
        channels=track.channels,
        default=track.default,
    )
