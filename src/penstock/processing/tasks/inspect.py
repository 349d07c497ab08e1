"""``inspect``: what is in the source and what will become of it; the first work towards early play is queued at once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from penstock.catalog import artefacts, claims, generations, tasks, videos
from penstock.catalog.records import NewTask, NewTrack
from penstock.catalog.words import TaskKind
from penstock.processing import follow_ups, stages, work
from penstock.processing.attempt import Attempt
from penstock.processing.tasks import chunk_tasks
from penstock.video import documents
from penstock.video import plan as planning
from penstock.video.media import SourceMedia
from penstock.video.plan import Plan
from penstock.video.timeline import TrackKind


def run(attempt: Attempt) -> None:
    """``uploaded`` to ``processing``: facts, plan, and first chunk, audio, scan, poster and captions queued together."""
    parts = attempt.parts
    media = parts.media.inspect(attempt.source(), cancel=attempt.run.cancel)
    settings = replace(parts.config.planning, fingerprint=parts.media.fingerprint)
    plan = planning.plan(media, settings)
    _tell(attempt, media, plan)
    chapters = _store_chapters(attempt, plan)
    duration = plan.duration or Fraction(0)
    frames = int(duration * plan.grid.rate) if plan.grid else 0
    new = _first_tasks(plan, media, duration)
    with attempt.holding() as (tx, _):
        generation = generations.begin(
            tx,
            attempt.task.generation_id,
            plan=plan.to_json(),
            plan_digest=plan.digest(),
            tool_fingerprint=plan.fingerprint or None,
            tracks=_tracks(plan),
            who=attempt.who,
            task_id=attempt.task.id,
            frames_total=frames or None,
            work_total=work.total(plan, frames, duration),
        )
        tasks.enqueue(tx, generation.id, new)
        videos.record(tx, attempt.task.video_id, **_facts(media, plan))
        if chapters is not None:
            key, size, sha256 = chapters
            artefacts.record(
                tx,
                attempt.artefact(
                    generation.id,
                    "chapters.json",
                    "chapters",
                    key,
                    size=size,
                    sha256=sha256,
                    media_type="application/json",
                ),
            )
        claims.commit(
            tx,
            attempt.task.id,
            attempt.worker_id,
            attempt.task.attempt,
            result={"media": documents.to_document(media)},
        )
        follow_ups.derive(tx, generation.id)
        video = videos.get(tx, attempt.task.video_id)
    stages.observe(video, "inspect")


def _first_tasks(plan: Plan, media: SourceMedia, duration: Fraction) -> list[NewTask]:
    """All that can start before the scan. What early play waits for is urgent."""
    tools = plan.fingerprint or None
    new = chunk_tasks.new(plan, planning.chunks(plan, None))
    new += [
        NewTask(TaskKind.AUDIO, index, urgent=True, work=work.audio(duration), tool_fingerprint=tools)
        for index, _ in enumerate(plan.audio)
    ]
    new.append(NewTask(TaskKind.SCAN, work=work.scan(media.size), tool_fingerprint=tools))
    if plan.poster is not None:
        new.append(NewTask(TaskKind.POSTER, required=False, work=work.LIGHT, tool_fingerprint=tools))
    new += [
        NewTask(TaskKind.CAPTIONS, index, required=False, work=work.LIGHT, tool_fingerprint=tools)
        for index, _ in enumerate(plan.captions)
    ]
    return new


def _tracks(plan: Plan) -> Sequence[NewTrack]:
    """The rungs, lowest first, then the audio tracks."""
    tracks: list[NewTrack] = []
    if plan.grid is not None:
        segment = plan.grid.segment_frames / plan.grid.rate
        tracks += [
            NewTrack(
                name=rung.name,
                kind=TrackKind.VIDEO,
                position=position,
                timescale=plan.grid.timescale,
                bandwidth=rung.bandwidth(segment),
                width=rung.width,
                height=rung.height,
                frame_rate=plan.grid.rate,
            )
            for position, rung in enumerate(plan.rungs)
        ]
    return tracks + [
        NewTrack(
            name=track.name,
            kind=TrackKind.AUDIO,
            position=len(tracks) + position,
            timescale=track.sample_rate,
            bandwidth=track.bandwidth,
            language=track.language,
            label=track.label,
            channels=track.channels,
            default=track.default,
        )
        for position, track in enumerate(plan.audio)
    ]


def _facts(media: SourceMedia, plan: Plan) -> dict[str, Any]:
    facts: dict[str, Any] = {"truncated": media.truncated}
    if plan.duration is not None:
        facts["duration_ms"] = int(plan.duration * 1000)
    if media.video:
        width, height = media.video[0].upright_size
        facts |= {"width": round(width), "height": round(height)}
    return facts


def _store_chapters(attempt: Attempt, plan: Plan) -> tuple[str, int, str] | None:
    """The chapters as an object beside the tracks: key, size and digest; None where the source has none."""
    if not plan.chapters:
        return None
    data = json.dumps(
        [{"start": float(each.start), "end": float(each.end), "title": each.title} for each in plan.chapters],
        ensure_ascii=False,
    ).encode()
    return attempt.put_bytes("chapters.json", data)


def _tell(attempt: Attempt, media: SourceMedia, plan: Plan) -> None:
    """What was found and what was decided, for who reads the log."""
    attempt.log.info(
        "source_inspected",
        container=media.container,
        bytes=media.size,
        duration=None if media.duration is None else round(float(media.duration), 3),
        video=[f"{s.codec} {s.width}x{s.height} {s.pixel_format}" for s in media.video],
        audio=[f"{s.codec} {s.sample_rate} Hz {s.channels} ch" for s in media.audio],
        subtitles=[s.codec for s in media.subtitles],
        skipped=[f"{s.kind}: {s.reason}" for s in media.skipped],
        truncated=media.truncated,
    )
    attempt.log.info(
        "plan_decided",
        plan_digest=plan.digest(),
        rungs=[f"{rung.name} {rung.width}x{rung.height}" for rung in plan.rungs],
        rate=None if plan.grid is None else str(plan.grid.rate),
        preset=plan.preset,
        audio=[track.name for track in plan.audio],
        captions=[track.name for track in plan.captions],
        first_chunk_early=plan.first_chunk_early,
    )
