"""The only place where the state of a video or a generation changes: the lifecycle's table, by compare-and-swap.

Each step raises the row's version and leaves one event. What a step means for other columns of the row (stage times,
playable, the error, the dedupe key) is decided here too, so that no caller can forget it.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select

from penstock.catalog import clock, events, garbage, schema
from penstock.catalog.records import Generation, Video, load
from penstock.video import keys, lifecycle
from penstock.video.errors import Conflict, NotFound
from penstock.video.lifecycle import GenerationEvent, GenerationState, VideoEvent, VideoState

_TOKEN_LIFE_MS = 25 * 3_600_000
"""After this nobody plays an ended generation: a token that names it lives 24 h at most; an hour for clocks that differ."""


def lock_video(tx: Connection, video_id: str) -> Video:
    """The video, locked against other writers until the commit. Raises :class:`NotFound`."""
    row = tx.execute(_LOCKED_VIDEO, {"video": video_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such video.", code="video_not_found")
    return load(Video, row)


def lock_generation(tx: Connection, generation_id: str) -> Generation:
    """The generation, locked until the commit: what every change of its tasks, tracks and segments does first.

    On SQLite the transaction is already the only writer. Raises :class:`NotFound`.
    """
    row = tx.execute(_LOCKED_GENERATION, {"generation": generation_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such generation.", code="generation_not_found")
    return load(Generation, row)


def video_columns() -> list[Any]:
    """The columns of :class:`Video`: all but the one for searching."""
    return [column for column in schema.videos.c if not column.name.startswith("folded_")]


def generation_columns() -> list[Any]:
    """The columns of :class:`Generation`: all but the two long documents."""
    return [column for column in schema.generations.c if column.name not in {"plan", "scan"}]


# Composed once: nearly every transaction asks one of these, and composing a question takes longer than answering it.
VIDEO = select(*video_columns()).where(schema.videos.c.id == bindparam("video"))
GENERATION = select(*generation_columns()).where(schema.generations.c.id == bindparam("generation"))
_LOCKED_VIDEO = VIDEO.with_for_update(key_share=True)
_LOCKED_GENERATION = GENERATION.with_for_update(key_share=True)


def advance_video(
    tx: Connection,
    video_id: str,
    event: VideoEvent,
    *,
    who: str,
    why: str | None = None,
    expected_version: int | None = None,
    generation_id: str | None = None,
    task_id: str | None = None,
    data: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Video:
    """One step of a video; ``changes`` are further columns that change with it. Returns the video after the step.

    Raises :class:`IllegalTransition` where the table has no such step and :class:`Conflict` where ``expected_version``
    is no longer the video's.
    """
    before = lock_video(tx, video_id)
    target = lifecycle.advance(lifecycle.VIDEO_TRANSITIONS, before.state, event)
    now = clock.now(tx)
    values = {"updated_at": now, **_consequences(before, event, target, now), **(changes or {})}
    _swap(tx, schema.videos, before, expected_version, target, values)
    events.append(
        tx,
        video_id,
        event,
        who=who,
        from_state=before.state,
        to_state=target,
        why=why,
        generation_id=generation_id,
        task_id=task_id,
        data=data,
    )
    return lock_video(tx, video_id)


def _consequences(before: Video, event: VideoEvent, target: VideoState, now: int) -> dict[str, Any]:
    """The columns that follow from a step of a video."""
    match event:
        case VideoEvent.UPLOAD_COMPLETED:
            return {"uploaded_at": now, "started_at": now}
        case VideoEvent.INSPECTED:
            return {"inspected_at": now}
        case VideoEvent.FROZEN:
            return {"ready_at": now, "playable": True, "playable_at": before.playable_at or now}
        case VideoEvent.FAILED:
            return {"failed_at": now, "playable": False, "dedupe_key": None}
        case VideoEvent.RETRIED:
            cleared = dict.fromkeys(
                ("inspected_at", "playable_at", "failed_at", "error_code", "error_message")
            )
            return {"started_at": now, **cleared}
        case VideoEvent.REPROCESSED:  # it stays playable, and ready, since when it was
            return {"started_at": now}
        case _ if target is VideoState.DELETED:
            return {
                "deleted_at": now,
                "playable": False,
                "dedupe_key": None,
                "error_code": None,
                "error_message": None,
            }
    return {}


def advance_generation(
    tx: Connection,
    generation_id: str,
    event: GenerationEvent,
    *,
    who: str,
    why: str | None = None,
    task_id: str | None = None,
    data: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Generation:
    """One step of a generation, as :func:`advance_video`; its event is named ``generation_...`` in the video's history."""
    before = lock_generation(tx, generation_id)
    target = lifecycle.advance(lifecycle.GENERATION_TRANSITIONS, before.state, event)
    now = clock.now(tx)
    values: dict[str, Any] = {"updated_at": now}
    if target is GenerationState.ENCODING:
        values["started_at"] = now
    elif target is GenerationState.PLANNED:  # retried
        values |= dict.fromkeys(("ended_at", "error_code", "error_message", "tombstone"))
    elif target is GenerationState.PUBLISHED:
        values |= {"frozen_at": now, "progress": 1.0}
    else:
        values["ended_at"] = now
    _swap(tx, schema.generations, before, None, target, values | dict(changes or {}))
    events.append(
        tx,
        before.video_id,
        f"generation_{event}",
        who=who,
        from_state=before.state,
        to_state=target,
        why=why,
        generation_id=generation_id,
        task_id=task_id,
        data={"generation": before.number, **(data or {})},
    )
    if target in lifecycle.FINAL_GENERATION_STATES:
        timelines = keys.timeline_prefix(before.video_id, generation_id)
        garbage.add(
            tx,
            "outputs",
            timelines,
            reason="generation_ended",
            video_id=before.video_id,
            delay_ms=_TOKEN_LIFE_MS,
        )
    return lock_generation(tx, generation_id)


def _swap(
    tx: Connection,
    table: Table,
    before: Video | Generation,
    expected_version: int | None,
    target: VideoState | GenerationState,
    values: dict[str, Any],
) -> None:
    """Writes the new state where state and version are still those that were read, and asked for."""
    version = before.version if expected_version is None else expected_version
    changed = tx.execute(
        table.update()
        .where(table.c.id == before.id, table.c.state == before.state, table.c.version == version)
        .values(state=target, version=version + 1, **values)
    ).rowcount
    if changed != 1:
        raise Conflict("It was changed by somebody else meanwhile; look again.", code="concurrent_change")
