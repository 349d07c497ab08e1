"""Videos: making, finding, listing and describing them, and the two requests that change many records at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select
from sqlalchemy.exc import IntegrityError

from penstock.catalog import clock, events, garbage, generations, schema, states, tasks, texts
from penstock.catalog.records import Generation, Video, load
from penstock.catalog.words import Sort, TaskKind, UploadState, Visibility
from penstock.video import keys
from penstock.video.errors import Conflict, IllegalTransition, InvalidRequest, NotFound
from penstock.video.identity import is_id, new_id
from penstock.video.lifecycle import GenerationEvent, GenerationState, VideoEvent, VideoState

advance = states.advance_video  # the only way a video's state changes
lock = states.lock_video

TITLE_LIMIT = 512
"""Characters of a title, and of a filename."""

_EVENT_CREATED = "created"
_DELETION_GRACE_MS = (
    60_000  # players may still be told of the objects until the tombstone is seen everywhere (contract)
)


def create(
    tx: Connection,
    *,
    owner_id: str,
    title: str,
    filename: str,
    visibility: Visibility,
    who: str,
    video_id: str | None = None,
    traceparent: str | None = None,
) -> Video:
    """A new ``pending`` video without a source, with its first event."""
    video_id = video_id or new_id()
    title = texts.checked("title", title, limit=TITLE_LIMIT)
    filename = texts.checked("filename", filename, limit=TITLE_LIMIT)
    now = clock.now(tx)
    tx.execute(
        schema.videos.insert().values(
            id=video_id,
            owner_id=owner_id,
            title=title,
            filename=filename,
            folded_title=texts.folded(title),
            folded_filename=texts.folded(filename),
            visibility=visibility,
            state=VideoState.PENDING,
            version=1,
            traceparent=traceparent,
            created_at=now,
            updated_at=now,
        )
    )
    events.append(
        tx, video_id, _EVENT_CREATED, who=who, to_state=VideoState.PENDING, data={"filename": filename}
    )
    return get(tx, video_id)


def get(tx: Connection, video_id: str) -> Video:
    """The video, deleted ones included. Raises :class:`NotFound`."""
    row = tx.execute(states.VIDEO, {"video": video_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such video.", code="video_not_found")
    return load(Video, row)


def every(tx: Connection, *, after: str = "", limit: int = 1000) -> list[str]:
    """Ids of all videos there ever were, in the order of their creation, from the one after ``after`` on."""
    table = schema.videos.c
    return list(
        tx.execute(select(table.id).where(table.id > after).order_by(table.id).limit(limit)).scalars()
    )


@dataclass(frozen=True, slots=True)
class VideoFilter:
    """What a list of videos shows."""

    viewer_id: str | None = None  # who asks: all own videos, and of others the public ones that can be played
    everything: bool = False  # an administrator sees all
    owner_id: str | None = None
    state: VideoState | None = None  # deleted ones are shown only when asked for
    search: str | None = None  # anywhere in the title, or in the filename of one's own, in any case
    sort: Sort = Sort.NEWEST


def listing(
    tx: Connection, what: VideoFilter, *, after: tuple[str, ...] | None = None, limit: int = 50
) -> tuple[list[Video], tuple[str, ...] | None]:
    """One page, and the place to go on ``after`` (None at the end). Videos added meanwhile neither shift nor repeat any."""
    table = schema.videos.c
    conditions: list[ColumnElement[bool]] = []
    own: ColumnElement[bool] = table.owner_id == what.viewer_id if what.viewer_id else false()
    if not what.everything:
        conditions.append(or_(own, and_(table.visibility == Visibility.PUBLIC, table.playable)))
    if what.owner_id:
        conditions.append(table.owner_id == what.owner_id)
    conditions.append(table.state == what.state if what.state else table.state != VideoState.DELETED)
    if what.search:
        pattern = f"%{_escaped(texts.folded(texts.checked('search', what.search, limit=TITLE_LIMIT)))}%"
        in_title = table.folded_title.like(pattern, escape="\\")
        in_filename = table.folded_filename.like(pattern, escape="\\")
        # A stranger must not find out a name that he is not shown.
        conditions.append(or_(in_title, in_filename if what.everything else and_(own, in_filename)))
    if after is not None:
        conditions.append(_beyond(what.sort, after))
    order = {
        Sort.NEWEST: (table.id.desc(),),
        Sort.OLDEST: (table.id,),
        Sort.TITLE: (table.folded_title, table.id),
    }[what.sort]
    columns = states.video_columns()
    rows = tx.execute(select(*columns).where(and_(*conditions)).order_by(*order).limit(limit + 1)).all()
    page = [load(Video, row) for row in rows[:limit]]
    if len(rows) <= limit:
        return page, None
    last = page[-1]
    return page, ((texts.folded(last.title), last.id) if what.sort is Sort.TITLE else (last.id,))


def _beyond(sort: Sort, after: tuple[str, ...]) -> ColumnElement[bool]:
    """The rows that come after a cursor, which a client hands back and may have made up."""
    table = schema.videos.c
    if len(after) != (2 if sort is Sort.TITLE else 1) or not is_id(after[-1]):
        raise InvalidRequest(
            "The cursor does not belong to this list; begin again without one.", code="cursor_invalid"
        )
    video_id = after[-1]
    if sort is Sort.TITLE:
        folded = texts.checked("cursor", after[0], limit=8 * TITLE_LIMIT)
        return or_(table.folded_title > folded, and_(table.folded_title == folded, table.id > video_id))
    return table.id < video_id if sort is Sort.NEWEST else table.id > video_id


def _escaped(search: str) -> str:
    return search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def describe(
    tx: Connection, video_id: str, *, title: str | None = None, visibility: Visibility | None = None
) -> Video:
    """Changes what a person may change. The state's version stays: no step happened."""
    values: dict[str, Any] = {}
    if title is not None:
        title = texts.checked("title", title, limit=TITLE_LIMIT)
        values |= {"title": title, "folded_title": texts.folded(title)}
    if visibility is not None:
        values["visibility"] = visibility
    before = states.lock_video(tx, video_id)
    if before.state is VideoState.DELETED:
        raise Conflict("The video is deleted.", code="video_deleted")
    if values:
        tx.execute(
            schema.videos.update()
            .where(schema.videos.c.id == video_id)
            .values(updated_at=clock.now(tx), **values)
        )
    return get(tx, video_id)


_FACTS = frozenset(
    {
        "duration_ms",
        "width",
        "height",
        "truncated",
        "source_sha256",
        "source_dropped_at",
        "current_generation_id",
    }
)


def record(tx: Connection, video_id: str, **facts: Any) -> None:
    """Notes facts about the source that were found on the way: duration_ms, width, height, truncated, source_sha256."""
    unknown = facts.keys() - _FACTS
    if unknown:
        raise TypeError(f"not facts of a source: {', '.join(sorted(unknown))}")
    tx.execute(
        schema.videos.update().where(schema.videos.c.id == video_id).values(updated_at=clock.now(tx), **facts)
    )


def dedupe_key(owner_id: str, sha256: str) -> str:
    """What is equal for two uploads of the same bytes by one owner."""
    return f"{owner_id}:{sha256}"


def find_duplicate(tx: Connection, owner_id: str, sha256: str) -> Video | None:
    """The owner's video that stands for this source: neither failed nor deleted."""
    table = schema.videos
    row = tx.execute(
        select(*states.video_columns()).where(table.c.dedupe_key == dedupe_key(owner_id, sha256))
    ).one_or_none()
    return None if row is None else load(Video, row)


def claim_digest(tx: Connection, video: Video, sha256: str) -> Video | None:
    """Makes the video the one that stands for its source, or returns the one that already does."""
    key = dedupe_key(video.owner_id, sha256)
    for _ in range(2):
        existing = find_duplicate(tx, video.owner_id, sha256)
        if existing is not None:
            return existing
        try:
            with tx.begin_nested():
                tx.execute(
                    schema.videos.update().where(schema.videos.c.id == video.id).values(dedupe_key=key)
                )
        except IntegrityError:  # another completion of the same bytes committed between the two statements
            continue
        return None
    raise Conflict("The same source is being completed at this moment; try again.", code="concurrent_change")


def settle_digest(tx: Connection, video_id: str, sha256: str) -> Video | None:
    """Notes a digest that was computed after the upload; returns the owner's earlier video of the same source, if any."""
    video = states.lock_video(tx, video_id)
    tx.execute(
        schema.videos.update()
        .where(schema.videos.c.id == video_id)
        .values(source_sha256=sha256, updated_at=clock.now(tx))
    )
    if video.state in {VideoState.FAILED, VideoState.DELETED} or video.dedupe_key is not None:
        return None
    return claim_digest(tx, video, sha256)


def mark_playable(tx: Connection, video_id: str, generation_id: str, *, who: str) -> bool:
    """Notes that the published prefix of the current generation covers the first segments. True the first time."""
    video = states.lock_video(tx, video_id)
    if (
        video.playable
        or video.state is not VideoState.PROCESSING
        or video.current_generation_id != generation_id
    ):
        return False
    now = clock.now(tx)
    table = schema.videos
    tx.execute(
        table.update()
        .where(table.c.id == video_id)
        .values(playable=True, playable_at=now, published_generation_id=generation_id, updated_at=now)
    )
    events.append(tx, video_id, "playable", who=who, generation_id=generation_id)
    return True


def delete(
    tx: Connection, video_id: str, *, who: str, why: str | None = None, expected_version: int | None = None
) -> Video:
    """Ends a video: its tasks are cancelled, its uploads closed and its objects given to the collector, in one step.

    A running task finds its claim gone at its next heartbeat. Repeating it gives the same answer.
    """
    ids = generations.lock_all(tx, video_id)
    video = states.lock_video(tx, video_id)
    if video.state is VideoState.DELETED:
        return video
    # Whatever players were told of a generation before, they must be told of the deletion.
    told = schema.generations
    tx.execute(told.update().where(told.c.video_id == video_id).values(tombstone=None))
    for generation in ids:
        tasks.cancel_all(tx, generation.id)
        if generation.state not in {GenerationState.CANCELLED, GenerationState.RETIRED}:
            states.advance_generation(
                tx, generation.id, GenerationEvent.CANCELLED, who=who, why="video deleted"
            )
    video = advance(tx, video_id, VideoEvent.DELETED, who=who, why=why, expected_version=expected_version)
    now = clock.now(tx)
    uploads = schema.uploads
    closed = tx.execute(
        uploads.update()
        .where(uploads.c.video_id == video_id, uploads.c.state == UploadState.OPEN)
        .values(state=UploadState.CANCELLED, ended_at=now, updated_at=now)
        .returning(uploads.c.id)
    )
    for upload_id in closed.scalars().all():
        garbage.add(tx, "staging", upload_id, reason="video_deleted", video_id=video_id)
    prefix = keys.video_prefix(video_id)
    garbage.add(tx, "sources", prefix, reason="video_deleted", video_id=video_id)
    garbage.add(tx, "outputs", prefix, reason="video_deleted", video_id=video_id, delay_ms=_DELETION_GRACE_MS)
    return video


def retry(tx: Connection, video_id: str, *, who: str) -> Video:
    """Starts a failed video again: its generation is planned anew and ``inspect`` queued.

    Whether the work already done counts is decided when the new plan is known, see :func:`generations.begin`.
    Raises :class:`Conflict` where the source is no longer there.
    """
    generations.lock_all(tx, video_id)
    video = states.lock_video(tx, video_id)
    if video.source_dropped_at is not None:
        raise Conflict("The source was dropped after processing; upload it again.", code="source_dropped")
    if video.state is not VideoState.FAILED:
        raise IllegalTransition(
            f"The video is {video.state}; only a failed one can be retried. Nothing was changed."
        )
    video = advance(tx, video_id, VideoEvent.RETRIED, who=who, generation_id=video.current_generation_id)
    if video.source_sha256:
        claim_digest(
            tx, video, video.source_sha256
        )  # it stands for its source again, unless another came meanwhile
    generation_id = video.current_generation_id
    if generation_id is None:
        raise NotFound("The video has no generation to retry.", code="generation_not_found")
    states.advance_generation(tx, generation_id, GenerationEvent.RETRIED, who=who)
    tasks.requeue(tx, generation_id, kinds=(TaskKind.INSPECT,), finished=True)
    return get(tx, video_id)


def reprocess(tx: Connection, video_id: str, *, who: str) -> Generation:
    """Makes a ready video anew in a later generation, for other settings; the present one plays until that is frozen."""
    generations.lock_all(tx, video_id)
    video = states.lock_video(tx, video_id)
    if video.state is not VideoState.READY:
        raise IllegalTransition(
            f"The video is {video.state}; only a ready one can be made anew. Nothing was changed."
        )
    if video.source_dropped_at is not None:
        raise Conflict("The source was dropped after processing; upload it again.", code="source_dropped")
    if video.current_generation_id != video.published_generation_id:
        current = generations.get(tx, video.current_generation_id or "")
        if current.state in {GenerationState.PLANNED, GenerationState.ENCODING}:
            raise Conflict("The video is being processed again already.", code="already_processing")
    advance(tx, video_id, VideoEvent.REPROCESSED, who=who)
    generation = generations.open_next(tx, video_id)
    tasks.enqueue(tx, generation.id, [tasks.INSPECT])
    return generation


def timings(video: Video) -> Mapping[str, float]:
    """Seconds that each stage of the present run took, as far as it has come."""
    stages = {
        "upload": (video.created_at, video.uploaded_at),
        "inspect": (video.started_at, video.inspected_at),
        "playable": (video.started_at, video.playable_at),
        "ready": (video.started_at, video.ready_at),
    }
    return {
        name: (end - start) / 1000
        for name, (start, end) in stages.items()
        if start is not None and end is not None and end >= start
    }
