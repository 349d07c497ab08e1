"""``scan``: every packet's head is read; from then on the length, the other chunks and the end of every rung are known."""

import hashlib

from penstock import faults
from penstock.catalog import artefacts, generations, segments, tasks, uploads, videos
from penstock.catalog.words import TaskKind, UploadState
from penstock.faults import Point
from penstock.processing import metrics, work
from penstock.processing.attempt import Attempt
from penstock.processing.scanned import Scanned
from penstock.processing.tasks import chunk_tasks
from penstock.storage.durable import translated
from penstock.storage.store import CHUNK
from penstock.video import plan as planning
from penstock.video.errors import MediaError


def run(attempt: Attempt) -> None:
    """Stores the packet index and queues all chunks; then reads the whole source where nobody has checked its digest."""
    plan = attempt.plan()
    scan = attempt.parts.media.scan(attempt.source(), plan, cancel=attempt.run.cancel)
    chunks = planning.chunks(plan, scan)
    index, size, sha256 = attempt.put_bytes(chunk_tasks.PACKET_INDEX, scan.to_json().encode())
    frames, duration = planning.total_frames(plan, scan), planning.duration(plan, scan)
    scanned = Scanned(
        packet_index=index,
        source_frames=scan.frames,
        frames=frames,
        chunks=len(chunks),
        duration=duration,
        truncated=scan.truncated,
    )
    last = chunks[-1].first_segment + chunks[-1].segments - 1 if chunks else 0
    # A commit of its own: the chunks need not wait until gigabytes have been read for the digest.
    with attempt.holding() as (tx, generation):
        generations.record_scan(
            tx,
            generation.id,
            scan=scanned.to_json(),
            frames_total=frames or None,
            work_total=work.total(plan, frames, duration),
        )
        artefacts.record(
            tx,
            attempt.artefact(
                generation.id,
                chunk_tasks.PACKET_INDEX,
                "packet_index",
                index,
                size=size,
                sha256=sha256,
                media_type="application/json",
                public=False,
            ),
        )
        segments.expect(tx, generation.id, {rung.name: last for rung in plan.rungs})
        tasks.enqueue(tx, generation.id, chunk_tasks.new(plan, chunks))
        tasks.hasten(tx, generation.id, TaskKind.TRANSCODE, 0)
        video = videos.get(tx, attempt.task.video_id)
        truncated = video.truncated or scan.truncated
        videos.record(tx, video.id, duration_ms=int(duration * 1000), truncated=truncated)
    attempt.log.info(
        "source_scanned",
        frames=scan.frames,
        keyframes=len(scan.keyframes),
        duration=round(float(duration), 3),
        output_frames=frames,
        chunks=len(chunks),
        truncated=truncated,
    )
    faults.reach(Point.SCAN_RECORDED)
    sha256_of_source = _check_digest(attempt)
    with attempt.committing() as (tx, _):
        if sha256_of_source is not None:
            videos.settle_digest(tx, video.id, sha256_of_source)


def _check_digest(attempt: Attempt) -> str | None:
    """The source's digest where it was not computed on arrival. Raises ``MediaError`` if it is not the declared one."""
    with attempt.parts.catalog.read() as tx:
        video = videos.get(tx, attempt.task.video_id)
        completed = [each for each in uploads.for_video(tx, video.id) if each.state is UploadState.COMPLETED]
    if video.source_sha256 is not None or video.source_key is None:
        return None
    digest = hashlib.sha256()
    with translated("read"), attempt.source().open("rb") as file:
        while piece := file.read(CHUNK):
            attempt.check_cancelled()
            digest.update(piece)
            metrics.bytes_read.inc(len(piece))
    found = digest.hexdigest()
    declared = {each.sha256 for each in completed if each.sha256 is not None}
    if declared and found not in declared:
        raise MediaError(
            "The bytes that arrived are not those that the upload announced.", code="digest_mismatch"
        )
    attempt.log.info("source_verified", sha256=found, declared=bool(declared))
    return found
