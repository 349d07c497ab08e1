"""``transcode``: one chunk of every rung with one decode; all of it is recorded at once, or nothing."""

import time

from sqlalchemy import Connection

from penstock import faults
from penstock.catalog import garbage, segments
from penstock.catalog.records import Generation
from penstock.faults import Point
from penstock.ffmpeg.outputs import EncodedInit
from penstock.processing import metrics
from penstock.processing.attempt import Attempt
from penstock.processing.failures import AwaitsScan
from penstock.processing.tasks import chunk_tasks
from penstock.processing.tasks.storing import Storing, storing
from penstock.video.errors import MediaError, ToolFailed
from penstock.video.plan import Chunk, Plan


def run(attempt: Attempt) -> None:
    """Objects are durable as they appear; the commit names them and lengthens what can be published."""
    plan = attempt.plan()
    chunk, early = chunk_tasks.chunk_of(attempt, plan)
    begun = time.monotonic()
    faults.reach(Point.ENCODE_BEGUN)
    with storing(attempt) as store:
        try:
            _encode(attempt, plan, chunk, store)
        except (MediaError, ToolFailed) as error:
            if early:  # the header may have lied about the length, and nothing be wrong; the scan will know
                raise AwaitsScan(error.detail) from error
            raise
        seconds = time.monotonic() - begun
        store.finish()
    _check(store, plan, chunk)
    faults.reach(Point.ENCODE_ENDED)
    with attempt.committing(result={"frames": chunk.frames}) as (tx, generation):
        segments.record(tx, generation.id, store.segments, inits=store.inits)
        _discard_doubled(tx, generation, store)
    _tell(attempt, plan, chunk, store, seconds=seconds)


def _encode(attempt: Attempt, plan: Plan, chunk: Chunk, store: Storing) -> None:
    with attempt.parts.catalog.read() as tx:
        known = segments.tracks(tx, attempt.task.generation_id)
    pinned = {track.name: track.init_sha256 for track in known if track.init_sha256}

    def init(made: EncodedInit) -> None:
        if made.track not in pinned:
            store.init(made)

    attempt.parts.media.encode_chunk(
        attempt.source(),
        plan,
        chunk,
        attempt.scratch,
        pinned=pinned,
        on_init=init,
        on_segment=store.segment,
        on_progress=attempt.progressed,
        cancel=attempt.run.cancel,
    )


def _check(store: Storing, plan: Plan, chunk: Chunk) -> None:
    """Every rung has every segment of the chunk. Raises ``ToolFailed``."""
    wanted = set(range(chunk.first_segment, chunk.first_segment + chunk.segments))
    for rung in plan.rungs:
        found = {segment.number for segment in store.segments if segment.track == rung.name}
        if found != wanted:
            raise ToolFailed(f"Segments of {rung.name} are missing.", code="segments_missing")


def _discard_doubled(tx: Connection, generation: Generation, store: Storing) -> None:
    """Chunks that began together each stored the initialisation segments; the first to commit had its own recorded."""
    recorded = {track.name: track.init_key for track in segments.tracks(tx, generation.id)}
    for name, init in store.inits.items():
        if recorded[name] != init.key:
            garbage.add(tx, "outputs", init.key, reason="init_doubled", video_id=generation.video_id)


def _tell(attempt: Attempt, plan: Plan, chunk: Chunk, store: Storing, *, seconds: float) -> None:
    assert plan.grid is not None
    media_seconds = float(chunk.frames / plan.grid.rate)
    metrics.media_seconds.labels(attempt.task.kind).inc(media_seconds)
    metrics.encode_speed.labels(attempt.task.kind).observe(media_seconds / max(seconds, 1e-3))
    attempt.log.info(
        "chunk_encoded",
        chunk=chunk.index,
        first_frame=chunk.first_frame,
        frames=chunk.frames,
        segments=len(store.segments),
        bytes=sum(segment.size for segment in store.segments),
        seconds=round(seconds, 3),
        speed=round(media_seconds / max(seconds, 1e-3), 2),
    )
