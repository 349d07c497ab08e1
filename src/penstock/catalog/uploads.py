"""Upload sessions: how far the bytes have come, and the one step that turns them into a video to be processed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from penstock.catalog import clock, garbage, generations, schema, tasks, videos
from penstock.catalog.dialect import insert, now_ms
from penstock.catalog.records import NewTask, Upload, UploadPart, Video, load
from penstock.catalog.words import Transport, UploadState
from penstock.video import keys
from penstock.video.errors import Conflict, Gone, NotFound
from penstock.video.identity import new_id
from penstock.video.lifecycle import VideoEvent, VideoState


def create(
    tx: Connection,
    video: Video,
    *,
    transport: Transport,
    life_ms: int,
    size: int | None = None,
    sha256: str | None = None,
    content_type: str | None = None,
    part_size: int | None = None,
    allow_duplicate: bool = False,
    transport_data: Any = None,
    staged: str = "",
    upload_id: str | None = None,
) -> Upload:
    """Opens a session for a pending video; ``life_ms`` is how long it may be silent."""
    upload_id = upload_id or new_id()
    tx.execute(
        schema.uploads.insert().values(
            id=upload_id,
            video_id=video.id,
            owner_id=video.owner_id,
            transport=transport,
            state=UploadState.OPEN,
            size=size,
            sha256=sha256,
            content_type=content_type,
            part_size=part_size,
            allow_duplicate=allow_duplicate,
            source_key=keys.source(video.id, upload_id),
            transport_data=transport_data,
            staged=staged,
            expires_at=now_ms() + life_ms,
            created_at=now_ms(),
            updated_at=now_ms(),
        )
    )
    return get(tx, upload_id)


def get(tx: Connection, upload_id: str) -> Upload:
    """The session, ended ones included. Raises :class:`NotFound`."""
    return _load(tx, upload_id)


def lock(tx: Connection, upload_id: str) -> Upload:
    """The session, locked until the commit."""
    return _load(tx, upload_id, lock=True)


def for_video(tx: Connection, video_id: str) -> list[Upload]:
    """A video's sessions, oldest first."""
    table = schema.uploads
    return [
        load(Upload, row)
        for row in tx.execute(select(table).where(table.c.video_id == video_id).order_by(table.c.id))
    ]


def require_open(tx: Connection, upload: Upload) -> None:
    """Raises :class:`Gone` (expired, cancelled) or :class:`Conflict` (completed) unless the session accepts bytes."""
    if upload.state is UploadState.COMPLETED:
        raise Conflict("The upload is complete.", code="upload_completed")
    if upload.state is UploadState.CANCELLED:
        raise Gone("The upload was cancelled; start a new one.", code="upload_cancelled")
    if upload.state is UploadState.EXPIRED or upload.expires_at <= clock.now(tx):
        raise Gone("The upload expired; start a new one.", code="upload_expired")


def advance_offset(
    tx: Connection,
    upload_id: str,
    *,
    expected: int,
    received: int,
    staged: str = "",
    writer: str | None = None,
    life_ms: int,
) -> Upload:
    """Notes that bytes up to ``received`` are durable, if ``expected`` is where the session stood.

    ``staged`` is the mark that the staging gave for them; with ``writer`` the session must not have another one.
    Raises :class:`Conflict` (``upload_offset_mismatch``) where another request went on meanwhile.
    """
    table = schema.uploads
    mine = table.c.id == upload_id, table.c.state == UploadState.OPEN, table.c.received == expected
    changed = tx.execute(
        table.update()
        .where(*mine, *(() if writer is None else (table.c.writer == writer,)))
        .values(received=received, staged=staged, updated_at=now_ms(), expires_at=now_ms() + life_ms)
    ).rowcount
    upload = get(tx, upload_id)
    if not changed:
        require_open(tx, upload)
        raise Conflict(f"The upload stands at byte {upload.received}.", code="upload_offset_mismatch")
    return upload


def take(tx: Connection, upload_id: str, writer: str, *, life_ms: int) -> Upload:
    """Makes ``writer`` the one request that may advance the session, in place of any other.

    Who takes it from a living writer must have asked first (:func:`ask`) and waited. Raises as :func:`require_open`.
    """
    upload = lock(tx, upload_id)
    require_open(tx, upload)
    values = {"writer": writer, "updated_at": now_ms(), "expires_at": now_ms() + life_ms}
    tx.execute(schema.uploads.update().where(schema.uploads.c.id == upload_id).values(values))
    return get(tx, upload_id)


def ask(tx: Connection, upload_id: str) -> None:
    """Asks whoever writes the session to let go: it compares ``asked`` with what it was at its beginning."""
    table = schema.uploads
    tx.execute(table.update().where(table.c.id == upload_id).values(asked=table.c.asked + 1))


def let_go(tx: Connection, upload_id: str, writer: str) -> None:
    """Nobody writes the session any more, unless another took it meanwhile."""
    table = schema.uploads
    tx.execute(table.update().where(table.c.id == upload_id, table.c.writer == writer).values(writer=None))


def wanted(tx: Connection, writers: Mapping[str, tuple[str, int]]) -> set[str]:
    """Which of these sessions (id to writer and the ``asked`` of its beginning) their writers should let go.

    Asked for by another request, taken by one, or ended. One query for all.
    """
    c = schema.uploads.c
    query = select(c.id, c.writer, c.asked, c.state).where(c.id.in_(writers))
    found = {row.id: row for row in tx.execute(query)}
    return {
        upload_id
        for upload_id, (writer, asked) in writers.items()
        if (row := found.get(upload_id)) is None
        or row.state != UploadState.OPEN
        or (row.writer, row.asked) != (writer, asked)
    }


def prolong(tx: Connection, upload_id: str, *, life_ms: int) -> None:
    """Keeps a session alive while one long request streams into it."""
    table = schema.uploads
    tx.execute(
        table.update()
        .where(table.c.id == upload_id, table.c.state == UploadState.OPEN)
        .values(expires_at=now_ms() + life_ms)
    )


def declare_size(tx: Connection, upload_id: str, size: int) -> Upload:
    """Sets the size of the whole, which was not known when the session was opened.

    Raises :class:`Conflict` (``upload_size_declared``) where another was set meanwhile.
    """
    table = schema.uploads
    tx.execute(
        table.update()
        .where(table.c.id == upload_id, table.c.size.is_(None))
        .values(size=size, updated_at=now_ms())
    )
    upload = get(tx, upload_id)
    if upload.size != size:
        raise Conflict(f"The upload has {upload.size} bytes, as was said.", code="upload_size_declared")
    return upload


def declare_digest(tx: Connection, upload_id: str, sha256: str) -> Upload:
    """Notes the digest of the whole, where it was not known when the session was opened. Another one may be there already."""
    table = schema.uploads
    tx.execute(
        table.update()
        .where(table.c.id == upload_id, table.c.sha256.is_(None), table.c.state == UploadState.OPEN)
        .values(sha256=sha256, updated_at=now_ms())
    )
    return get(tx, upload_id)


def record_part(
    tx: Connection,
    upload_id: str,
    number: int,
    *,
    size: int,
    etag: str | None = None,
    sha256: str | None = None,
    staged: str = "",
    life_ms: int,
) -> None:
    """Notes that a part is durable; a repeated one replaces it. The session lives on from now.

    ``staged`` is the mark that the staging gave.
    """
    upload = lock(tx, upload_id)
    require_open(tx, upload)
    table = schema.upload_parts
    values = {"size": size, "etag": etag, "sha256": sha256, "received_at": now_ms()}
    tx.execute(
        insert(tx, table)
        .values(upload_id=upload_id, number=number, **values)
        .on_conflict_do_update(index_elements=["upload_id", "number"], set_=values)
    )
    tx.execute(
        schema.uploads.update()
        .where(schema.uploads.c.id == upload_id)
        .values(staged=staged, updated_at=now_ms(), expires_at=now_ms() + life_ms)
    )


def forget_part(tx: Connection, upload_id: str, number: int) -> None:
    """A part is about to be written again: until that is done it does not count as there."""
    table = schema.upload_parts
    tx.execute(table.delete().where(table.c.upload_id == upload_id, table.c.number == number))


def keep_alive(tx: Connection, upload_id: str, *, life_ms: int) -> None:
    """A sign of life of a running transfer. Raises as :func:`require_open` where the session has ended meanwhile."""
    table = schema.uploads
    changed = tx.execute(
        table.update()
        .where(table.c.id == upload_id, table.c.state == UploadState.OPEN)
        .values(updated_at=now_ms(), expires_at=now_ms() + life_ms)
    ).rowcount
    if not changed:
        require_open(tx, get(tx, upload_id))


def parts(tx: Connection, upload_id: str) -> list[UploadPart]:
    """The durable parts in order."""
    table = schema.upload_parts
    rows = tx.execute(select(table).where(table.c.upload_id == upload_id).order_by(table.c.number))
    return [load(UploadPart, row) for row in rows]


@dataclass(frozen=True, slots=True)
class Completion:
    """The video that stands for the bytes. ``duplicate``: it is an earlier one, and the session's own ended."""

    video: Video
    duplicate: bool
    task_id: str | None = None  # inspect, to be announced; None where nothing was queued


def complete(
    tx: Connection,
    upload_id: str,
    *,
    size: int,
    who: str,
    sha256: str | None = None,
    content_type: str | None = None,
    inspect: NewTask = tasks.INSPECT,
) -> Completion:
    """After the source is durable: ``pending`` to ``uploaded``, the first generation and ``inspect``, in one transaction.

    ``sha256`` is what was computed over all bytes, where one process saw them. Where the owner has a video of the same
    digest, that one is the answer: the session's video becomes ``deleted`` with ``duplicate_of``. Completing twice gives
    the same answer.
    """
    videos.lock(tx, get(tx, upload_id).video_id)  # video before upload, as in deleting
    upload = lock(tx, upload_id)
    video = videos.get(tx, upload.video_id)
    if upload.state is UploadState.COMPLETED:
        if video.duplicate_of is not None:
            return Completion(videos.get(tx, video.duplicate_of), duplicate=True)
        return Completion(video, duplicate=False)
    require_open(tx, upload)
    now = clock.now(tx)
    tx.execute(
        schema.uploads.update()
        .where(schema.uploads.c.id == upload_id)
        .values(state=UploadState.COMPLETED, received=size, size=size, ended_at=now, updated_at=now)
    )
    facts = {
        "source_key": upload.source_key,
        "source_size": size,
        "source_sha256": sha256,
        "source_content_type": content_type or upload.content_type,
    }
    if sha256 is not None and not upload.allow_duplicate:
        existing = videos.claim_digest(tx, video, sha256)
        if existing is not None:
            videos.advance(
                tx,
                video.id,
                VideoEvent.DELETED,
                who=who,
                why="the same source is there already",
                data={"duplicate_of": existing.id},
                changes={**facts, "duplicate_of": existing.id},
            )
            garbage.add(tx, "sources", upload.source_key, reason="duplicate", video_id=video.id)
            return Completion(existing, duplicate=True)
    videos.advance(
        tx,
        video.id,
        VideoEvent.UPLOAD_COMPLETED,
        who=who,
        data={"size": size, "sha256": sha256},
        changes=facts,
    )
    generation = generations.open_next(tx, video.id)
    added = tasks.enqueue(tx, generation.id, [inspect])
    return Completion(videos.get(tx, video.id), duplicate=False, task_id=added[0])


def end(tx: Connection, upload_id: str, state: UploadState, *, who: str, why: str | None = None) -> bool:
    """Cancels or expires an open session: its video ends and its bytes go to the collector. False where it had ended."""
    video = videos.lock(tx, get(tx, upload_id).video_id)
    upload = lock(tx, upload_id)
    if upload.state is not UploadState.OPEN:
        return False
    tx.execute(
        schema.uploads.update()
        .where(schema.uploads.c.id == upload_id)
        .values(state=state, ended_at=now_ms(), updated_at=now_ms())
    )
    if video.state is VideoState.PENDING:
        videos.advance(
            tx, video.id, VideoEvent.UPLOAD_ABANDONED, who=who, why=why, data={"upload": str(state)}
        )
    garbage.add(tx, "staging", upload_id, reason=f"upload_{state}", video_id=video.id)
    garbage.add(tx, "sources", upload.source_key, reason=f"upload_{state}", video_id=video.id)
    return True


def expired(tx: Connection, *, limit: int = 100) -> list[Upload]:
    """Open sessions that have been silent for too long, the longest first; :func:`end` each in its own transaction."""
    table = schema.uploads
    rows = tx.execute(
        select(table)
        .where(table.c.state == UploadState.OPEN, table.c.expires_at <= now_ms())
        .order_by(table.c.expires_at)
        .limit(limit)
    )
    return [load(Upload, row) for row in rows]


def _load(tx: Connection, upload_id: str, *, lock: bool = False) -> Upload:
    query = select(schema.uploads).where(schema.uploads.c.id == upload_id)
    row = tx.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    if row is None:
        raise NotFound("There is no such upload.", code="upload_not_found")
    return load(Upload, row)
