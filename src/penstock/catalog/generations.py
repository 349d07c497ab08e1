"""Generations: opening, planning, publishing and ending one complete processing of a source.

Whoever changes a task, a track or a segment holds the generation's lock first (``lock``); what is derived from them
(progress, the published prefix, follow-up tasks) is derived under that lock, or two last commits would miss each other.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, or_, select, text

from penstock.catalog import clock, schema, segments, states, tasks
from penstock.catalog.dialect import now_ms
from penstock.catalog.records import Generation, NewTrack, load
from penstock.catalog.words import TaskState
from penstock.video.errors import NotFound
from penstock.video.identity import new_id
from penstock.video.lifecycle import GenerationEvent, GenerationState, VideoEvent, VideoState

advance = states.advance_generation  # the only way a generation's state changes
lock = states.lock_generation

_ALMOST = 0.99

_UNFINISHED = (GenerationState.PLANNED, GenerationState.ENCODING)


def open_next(tx: Connection, video_id: str) -> Generation:
    """A new ``planned`` generation, the video's current one from now on; its plan comes with ``inspect``."""
    video = states.lock_video(tx, video_id)
    table = schema.generations
    number = tx.execute(
        select(func.coalesce(func.max(table.c.number), 0)).where(table.c.video_id == video_id)
    ).scalar_one()
    generation_id, now = new_id(), clock.now(tx)
    tx.execute(
        table.insert().values(
            id=generation_id,
            video_id=video_id,
            number=number + 1,
            state=GenerationState.PLANNED,
            version=1,
            traceparent=video.traceparent,
            created_at=now,
            updated_at=now,
        )
    )
    tx.execute(
        schema.videos.update()
        .where(schema.videos.c.id == video_id)
        .values(current_generation_id=generation_id, updated_at=now)
    )
    return get(tx, generation_id)


def get(tx: Connection, generation_id: str) -> Generation:
    """The generation. Raises :class:`NotFound`."""
    row = tx.execute(states.GENERATION, {"generation": generation_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such generation.", code="generation_not_found")
    return load(Generation, row)


def listing(tx: Connection, video_id: str) -> list[Generation]:
    """All generations of a video, first to last."""
    table = schema.generations
    rows = tx.execute(
        select(*states.generation_columns()).where(table.c.video_id == video_id).order_by(table.c.number)
    )
    return [load(Generation, row) for row in rows]


def lock_all(tx: Connection, video_id: str) -> list[Generation]:
    """All generations of a video, locked in the order of their ids, before the video's own row."""
    table = schema.generations
    rows = tx.execute(
        select(*states.generation_columns())
        .where(table.c.video_id == video_id)
        .order_by(table.c.id)
        .with_for_update(key_share=True)
    )
    return [load(Generation, row) for row in rows]


def plan(tx: Connection, generation_id: str) -> str | None:
    """The plan's JSON text, as ``inspect`` stored it; None before."""
    text: str | None = tx.execute(
        select(schema.generations.c.plan).where(schema.generations.c.id == generation_id)
    ).scalar_one()
    return text


def scan(tx: Connection, generation_id: str) -> str | None:
    """The JSON text of what the scan found; None before."""
    text: str | None = tx.execute(
        select(schema.generations.c.scan).where(schema.generations.c.id == generation_id)
    ).scalar_one()
    return text


def begin(
    tx: Connection,
    generation_id: str,
    *,
    plan: str,
    plan_digest: str,
    tool_fingerprint: str | None,
    tracks: Sequence[NewTrack],
    work_total: float,
    who: str,
    task_id: str | None = None,
    frames_total: int | None = None,
) -> Generation:
    """Starts encoding under a plan: the generation that does so is returned, and it need not be the one given.

    ``plan`` is its JSON text; ``work_total`` the estimated seconds of all its tasks, the ones to come included, as the
    base of progress. A retried generation whose plan's digest is equal goes on: finished tasks stay done, the others are queued again and
    their attempts keep rising. Under another plan it ends and a new one takes its place. The video goes from
    ``uploaded`` to ``processing``; a ``ready`` one that is processed again stays.
    """
    generation = states.lock_generation(tx, generation_id)
    resumed = generation.plan_digest == plan_digest
    if generation.plan_digest is not None and not resumed:
        tasks.cancel_all(tx, generation_id, keep=task_id)
        states.advance_generation(
            tx, generation_id, GenerationEvent.CANCELLED, who=who, why="the plan changed", task_id=task_id
        )
        generation = open_next(tx, generation.video_id)
    changes: dict[str, Any] = {}
    if not resumed:
        changes = {
            "plan": plan,
            "plan_digest": plan_digest,
            "tool_fingerprint": tool_fingerprint,
            "frames_total": frames_total,
            "work_total": work_total,
        }
        segments.add_tracks(tx, generation.id, tracks)
    else:
        tasks.requeue(tx, generation.id)
    states.advance_generation(
        tx,
        generation.id,
        GenerationEvent.STARTED,
        who=who,
        task_id=task_id,
        why="the plan is unchanged; finished tasks are kept" if resumed else None,
        changes=changes,
    )
    video = states.lock_video(tx, generation.video_id)
    if video.state is VideoState.UPLOADED:
        states.advance_video(
            tx, video.id, VideoEvent.INSPECTED, who=who, generation_id=generation.id, task_id=task_id
        )
    return get(tx, generation.id)


def record_scan(
    tx: Connection, generation_id: str, *, scan: str, frames_total: int | None, work_total: float
) -> None:
    """Notes what the scan found: its JSON text, the final number of output frames, the better estimate of the work."""
    table = schema.generations
    tx.execute(
        table.update()
        .where(table.c.id == generation_id)
        .values(scan=scan, frames_total=frames_total, work_total=work_total, updated_at=clock.now(tx))
    )


_t = schema.tasks.c
_SHARE = case((_t.state == TaskState.DONE, 1.0), (_t.state == TaskState.CLAIMED, _t.progress), else_=0.0)
# Composed once: the progress of every run leads to it.
_WORK = select(func.coalesce(func.sum(_t.work * _SHARE), 0.0), func.coalesce(func.sum(_t.work), 0.0)).where(
    _t.generation_id == bindparam("generation")
)


def refresh_progress(tx: Connection, generation_id: str) -> float:
    """Derives progress from the tasks, under the lock: the share of the estimated work that is done. It never goes back.

    It stays below 1 until the timeline is frozen, as ``publish`` is queued last.
    """
    before = get(tx, generation_id)
    if before.state is not GenerationState.ENCODING:  # without a plan nobody knows how much there is to do
        return before.progress
    finished, planned = tx.execute(_WORK, {"generation": generation_id}).one()
    total = max(before.work_total, planned)
    progress = max(before.progress, min(finished / total, _ALMOST) if total > 0 else 0.0)
    if progress > before.progress:
        generation = schema.generations
        tx.execute(generation.update().where(generation.c.id == generation_id).values(progress=progress))
    return progress


def take_version(tx: Connection, generation_id: str, *, prefix_ms: int | None = None) -> Generation:
    """Takes the next timeline version's number, under the lock and in the transaction that reads its content.

    ``timeline_version``, ``published_at`` and ``first_published_at`` of the result are the version's own.
    """
    before = states.lock_generation(tx, generation_id)
    now = clock.now(tx)
    table = schema.generations
    tx.execute(
        table.update()
        .where(table.c.id == generation_id)
        .values(
            timeline_version=before.timeline_version + 1,
            published_at=now,
            first_published_at=before.first_published_at or now,
            published_prefix_ms=max(before.published_prefix_ms, prefix_ms or 0),
            updated_at=now,
        )
    )
    return get(tx, generation_id)


def mark_playable(tx: Connection, generation_id: str) -> None:
    """Notes when the first segments of every track were published."""
    table = schema.generations
    tx.execute(
        table.update()
        .where(table.c.id == generation_id, table.c.playable_at.is_(None))
        .values(playable_at=now_ms())
    )


def freeze(tx: Connection, generation_id: str, *, who: str, task_id: str | None = None) -> Generation:
    """After the frozen timeline is durable: the generation is published, the one before retired, the video ``ready``."""
    generation = states.lock_generation(tx, generation_id)
    others = [g for g in lock_all(tx, generation.video_id) if g.id != generation_id]
    frozen = states.advance_generation(tx, generation_id, GenerationEvent.FROZEN, who=who, task_id=task_id)
    for other in others:
        if other.state is GenerationState.PUBLISHED:
            states.advance_generation(
                tx,
                other.id,
                GenerationEvent.REPLACED,
                who=who,
                why=f"replaced by generation {generation.number}",
            )
    states.advance_video(
        tx,
        generation.video_id,
        VideoEvent.FROZEN,
        who=who,
        generation_id=generation_id,
        task_id=task_id,
        changes={"published_generation_id": generation_id},
    )
    return frozen


def replan(tx: Connection, generation_id: str, *, who: str, why: str) -> Generation:
    """Gives up an unfinished generation and opens the next with its own ``inspect``: no node can follow the old plan."""
    generation = states.lock_generation(tx, generation_id)
    tasks.cancel_all(tx, generation_id)
    states.advance_generation(tx, generation_id, GenerationEvent.CANCELLED, who=who, why=why)
    following = open_next(tx, generation.video_id)
    video = states.lock_video(tx, generation.video_id)
    if (
        video.state is VideoState.PROCESSING
    ):  # what was published of the old generation will not grow any more
        table = schema.videos
        tx.execute(table.update().where(table.c.id == video.id).values(playable=False, playable_at=None))
    tasks.enqueue(tx, following.id, [tasks.INSPECT])
    return following


def stranded(tx: Connection) -> list[Generation]:
    """Unfinished generations whose plan pins tools that no living worker has."""
    table, w = schema.generations, schema.workers.c
    served = select(w.tool_fingerprint).where(w.lease_until > now_ms(), w.tool_fingerprint.is_not(None))
    rows = tx.execute(
        select(*states.generation_columns()).where(
            table.c.state == GenerationState.ENCODING,
            table.c.tool_fingerprint.is_not(None),
            table.c.tool_fingerprint.not_in(served),
        )
    )
    return [load(Generation, row) for row in rows]


def fail(
    tx: Connection, generation_id: str, *, code: str, message: str, who: str, task_id: str | None = None
) -> Generation:
    """Ends an unfinished generation for a reason; its other tasks are cancelled, and its video fails unless ``ready``."""
    generation = states.lock_generation(tx, generation_id)
    if generation.state not in _UNFINISHED:
        return generation
    error = {"error_code": code, "error_message": message}
    tasks.cancel_all(tx, generation_id)
    failed = states.advance_generation(
        tx,
        generation_id,
        GenerationEvent.FAILED,
        who=who,
        why=message,
        task_id=task_id,
        data={"code": code},
        changes=error,
    )
    video = states.lock_video(tx, generation.video_id)
    if (
        video.state in {VideoState.UPLOADED, VideoState.PROCESSING}
        and video.current_generation_id == generation_id
    ):
        states.advance_video(
            tx,
            video.id,
            VideoEvent.FAILED,
            who=who,
            why=message,
            generation_id=generation_id,
            task_id=task_id,
            data={"code": code},
            changes=error,
        )
    return failed


def owing_tombstone(tx: Connection, *, limit: int = 100) -> list[tuple[Generation, str]]:
    """Ended generations whose players have not been told yet, each with the tombstone's kind: ``failed`` or ``deleted``.

    A retired one owes nothing until its video is deleted; what was told of a failure is forgotten at that moment.
    """
    g, v = schema.generations.c, schema.videos.c
    kind = case((v.state == VideoState.DELETED, "deleted"), else_="failed")
    rows = tx.execute(
        select(*states.generation_columns(), kind.label("kind"))
        .join(schema.videos, v.id == g.video_id)
        .where(
            *(text(f"generations.{condition}") for condition in schema.UNTOLD),
            or_(g.state != GenerationState.RETIRED, v.state == VideoState.DELETED),
        )
        .order_by(g.id)
        .limit(limit)
    ).all()
    return [(Generation(**{k: x for k, x in row._asdict().items() if k != "kind"}), row.kind) for row in rows]


def tombstoned(tx: Connection, generation_id: str, kind: str) -> None:
    """After the tombstone is durable."""
    table = schema.generations
    tx.execute(
        table.update().where(table.c.id == generation_id).values(tombstone=kind, updated_at=clock.now(tx))
    )
