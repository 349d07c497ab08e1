"""Situations that several tests begin with."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy import Connection

from penstock.catalog import Catalog, accounts, claims, generations, schema, tasks, uploads, videos, workers
from penstock.catalog.records import (
    Account,
    Generation,
    InitSegment,
    NewTask,
    NewTrack,
    SegmentRecord,
    Task,
    Video,
    Worker,
)
from penstock.catalog.uploads import Completion
from penstock.catalog.words import TaskKind, TaskState, Transport, Visibility
from penstock.video.timeline import TrackKind

HOUR_MS = 3_600_000


def sha256(text: str) -> str:
    """A digest that differs for different texts."""
    return hashlib.sha256(text.encode()).hexdigest()


def owner(catalog: Catalog, login: str = "ann") -> Account:
    """An account."""
    with catalog.write() as tx:
        return accounts.find_by_login(tx, login) or accounts.create(tx, login=login, name=login.title())


def pending(
    catalog: Catalog, account: Account, title: str = "Harbour", visibility: Visibility = Visibility.PRIVATE
) -> Video:
    """A video whose bytes have not come."""
    with catalog.write() as tx:
        return videos.create(
            tx,
            owner_id=account.id,
            title=title,
            filename=f"{title}.mov",
            visibility=visibility,
            who=f"account:{account.id}",
        )


def uploaded(
    catalog: Catalog,
    account: Account,
    source: str | None = None,
    *,
    title: str = "Harbour",
    allow_duplicate: bool = False,
) -> Completion:
    """A video whose bytes are durable, with ``inspect`` queued. ``source`` stands for the content."""
    video = pending(catalog, account, title)
    with catalog.write() as tx:
        upload = uploads.create(
            tx, video, transport=Transport.PUT, life_ms=HOUR_MS, allow_duplicate=allow_duplicate
        )
        digest = None if source is None else sha256(source)
        return uploads.complete(tx, upload.id, size=1000, sha256=digest, who=f"account:{account.id}")


def worker(
    catalog: Catalog,
    node: str = "node-1",
    slot: int = 0,
    *,
    lease_ms: int = HOUR_MS,
    tools: str | None = None,
) -> Worker:
    """A living worker, unless ``lease_ms`` says otherwise."""
    with catalog.write() as tx:
        return workers.register(
            tx, node_id=node, slot=slot, capacity=2, version="1", tool_fingerprint=tools, lease_ms=lease_ms
        )


def silence(catalog: Catalog, who: Worker) -> None:
    """The worker's lease runs out."""
    with catalog.write() as tx:
        workers.renew(tx, who.id, lease_ms=-1)


def miss_heartbeats(catalog: Catalog, who: Worker) -> None:
    """Its last renewal is half a minute ago, and its lease lasts for an hour."""
    table = schema.workers
    with catalog.write() as tx:
        workers.renew(tx, who.id, lease_ms=HOUR_MS)
        changed = table.c.renewed_at - 30_000
        tx.execute(table.update().where(table.c.id == who.id).values(renewed_at=changed))


def take(catalog: Catalog, task_id: str, who: Worker) -> Task:
    """The task, claimed by the worker."""
    with catalog.write() as tx:
        claim = claims.claim(tx, task_id, who.id)
    assert claim.task is not None, claim.outcome
    return claim.task


def finish(catalog: Catalog, task: Task) -> Task:
    """The claimed task, done."""
    assert task.worker_id is not None
    with catalog.write() as tx:
        return claims.commit(tx, task.id, task.worker_id, task.attempt)


@dataclass(frozen=True, slots=True)
class Encoding:
    """A video that is being encoded: one task per chunk, all queued."""

    video: Video
    generation: Generation
    worker: Worker
    chunks: tuple[Task, ...]


TRACKS = (
    NewTrack(
        name="240p",
        kind=TrackKind.VIDEO,
        position=0,
        timescale=12_000,
        bandwidth=400_000,
        frame_rate=Fraction(24),
    ),
    NewTrack(name="audio-0", kind=TrackKind.AUDIO, position=1, timescale=48_000, bandwidth=128_000),
)


def begin(
    catalog: Catalog,
    task: Task,
    *,
    plan: str = "{}",
    tracks: tuple[NewTrack, ...] = TRACKS,
    tools: str | None = None,
) -> Generation:
    """The claimed ``inspect`` is done and the plan begun."""
    assert task.worker_id is not None
    with catalog.write() as tx:
        claims.commit(tx, task.id, task.worker_id, task.attempt)
        return generations.begin(
            tx,
            task.generation_id,
            plan=plan,
            plan_digest=sha256(plan),
            tool_fingerprint=tools,
            tracks=tracks,
            work_total=0.0,
            who=f"worker:{task.worker_id}",
            task_id=task.id,
        )


def encoding(catalog: Catalog, *, chunks: int = 2, login: str = "ann", required: bool = True) -> Encoding:
    """A video whose plan is made, with its chunks queued."""
    done = uploaded(catalog, owner(catalog, login))
    assert done.task_id is not None
    mine = worker(catalog, node=f"node-of-{done.video.id}")
    generation = begin(catalog, take(catalog, done.task_id, mine))
    with catalog.write() as tx:
        tasks.enqueue(
            tx,
            generation.id,
            [NewTask(kind=TaskKind.TRANSCODE, index=i, work=10.0, required=required) for i in range(chunks)],
        )
        queued = tasks.listing(tx, generation_id=generation.id, state=TaskState.QUEUED)
        return Encoding(videos.get(tx, done.video.id), generation, mine, tuple(queued))


def segment(track: str, number: int, *, duration: int = 48_000, prefix: str = "v/t.1/") -> SegmentRecord:
    """The segment with this number on a grid of equal segments."""
    return SegmentRecord(
        track=track,
        number=number,
        start=(number - 1) * duration,
        duration=duration,
        frames=96,
        size=1000 + number,
        sha256=sha256(f"{track}/{number}"),
        prefix=prefix,
        keyframes=((0, 10, duration // 2), (500, 10, duration // 2)),
    )


def listed_garbage(tx: Connection) -> set[tuple[str, str]]:
    """Store and prefix of everything that is given to the collector, due or not."""
    return {(row.store, row.prefix) for row in tx.execute(schema.garbage.select())}


def init(track: str, prefix: str = "v/t.1/", content: str = "init") -> InitSegment:
    """A track's initialisation segment."""
    return InitSegment(
        codecs="avc1.64001f", key=f"{prefix}{track}/init.mp4", size=700, sha256=sha256(content)
    )
