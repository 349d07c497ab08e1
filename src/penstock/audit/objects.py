"""Whether what one video's records refer to is in the stores, byte for byte if wanted, and what is there besides.

Records are read before the store is listed: an object is durable before a record names it, so whatever they name must be
in the list. For what nobody names it is the other way round, which the second look of ``audit`` makes good.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.audit.findings import Fault, Finding
from penstock.audit.records import Story
from penstock.catalog import segments
from penstock.catalog.words import TaskState, UploadState
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.video import keys
from penstock.video.lifecycle import FINAL_GENERATION_STATES, GenerationState, VideoState


@dataclass(frozen=True, slots=True)
class Facts:
    """What a record says of an object. ``sha256`` may be its beginning, or None where nobody computed it."""

    size: int | None
    sha256: str | None


@dataclass(slots=True)
class Count:
    """What was looked at."""

    objects: int = 0
    bytes_read: int = 0


def references(tx: Connection, story: Story) -> dict[str, Facts]:
    """Every output that a committed record of the video names. Of a deleted one nothing is needed any more."""
    found: dict[str, Facts] = {}
    if story.video.state is VideoState.DELETED:
        return found
    for generation in story.generations:
        for track in story.tracks[generation.id]:
            if track.init_key is not None:
                found[track.init_key] = Facts(track.init_size, track.init_sha256)
            for item in segments.listing(tx, generation.id, track.name):
                key = keys.media_segment(item.prefix, item.track, item.number)
                found[key] = Facts(item.size, item.sha256)
        for artefact in story.artefacts[generation.id]:
            found[artefact.key] = Facts(artefact.size, artefact.sha256)
    return found


def outputs(
    story: Story, wanted: dict[str, Facts], store: ObjectStore, count: Count, *, deep: bool
) -> Iterator[Finding]:
    """Compares the outputs with what the records want of them; ``wanted`` is used up. Timelines are looked at elsewhere."""
    video_id = story.video.id
    for info in store.list(keys.video_prefix(video_id)):
        count.objects += 1
        facts = wanted.pop(info.key, None)
        if facts is not None:
            yield from _compare("outputs", info.key, info.size, facts, store, count, video_id, deep=deep)
        elif is_orphan(story, info.key):
            yield Finding(
                Fault.ORPHAN, "Nothing refers to this object.", _where("outputs", info.key), video_id
            )
    for key in wanted:
        yield Finding(Fault.OBJECT_MISSING, "A record names this object.", _where("outputs", key), video_id)


def sources(story: Story, store: ObjectStore, count: Count, *, deep: bool) -> Iterator[Finding]:
    """Every acknowledged source is there, and no other."""
    video = story.video
    stands = video.state not in {VideoState.PENDING, VideoState.DELETED} and video.source_dropped_at is None
    wanted = video.source_key if stands else None
    if stands and wanted is None:
        yield Finding(Fault.SOURCE_MISSING, "The video has no source.", f"video {video.id}", video.id)
    for info in store.list(keys.video_prefix(video.id)):
        count.objects += 1
        if info.key == wanted:
            facts = Facts(video.source_size, video.source_sha256)
            yield from _compare("sources", info.key, info.size, facts, store, count, video.id, deep=deep)
            wanted = None
        elif is_orphan_source(story, info.key):
            yield Finding(
                Fault.ORPHAN, "No video stands on this source.", _where("sources", info.key), video.id
            )
    if wanted is not None:
        yield Finding(
            Fault.SOURCE_MISSING, "The upload was acknowledged.", _where("sources", wanted), video.id
        )


def is_orphan(story: Story, key: str) -> bool:
    """Whether no record can refer to this output, now or later, and the collector does not know of it either.

    Only where no record refers to it now, which is the caller's knowledge.
    """
    if _is_listed(story, "outputs", key):
        return False
    folder, _, name = key.removeprefix(keys.video_prefix(story.video.id)).partition("/")
    if folder == "timeline":
        return _is_old_timeline(story, key, name.partition("/")[0])
    task_id, _, attempt = folder.rpartition(".")
    task = story.tasks.get(task_id)
    if task is None:
        return not attempt.isdigit() or len(task_id) == len(story.video.id)
    if int(attempt) > task.attempt:
        return False  # records that are older than the objects: the attempt may still come
    return task.state is not TaskState.CLAIMED or int(attempt) < task.attempt


def is_orphan_source(story: Story, key: str) -> bool:
    """Whether no record can come to stand on this source: its session has ended, or there never was one."""
    if _is_listed(story, "sources", key):
        return False
    return not any(upload.source_key == key and upload.state is UploadState.OPEN for upload in story.uploads)


def _is_old_timeline(story: Story, key: str, generation_id: str) -> bool:
    """Versions that nobody can want: of a generation that has gone, or from before the frozen one."""
    generation = next((g for g in story.generations if g.id == generation_id), None)
    if generation is None:
        return True
    if generation.state in FINAL_GENERATION_STATES:
        return True
    return (
        generation.state is GenerationState.PUBLISHED
        and keys.timeline_version(key) < generation.timeline_version
    )


def _is_listed(story: Story, store: str, key: str) -> bool:
    for entry in story.garbage:
        if entry.store != store:
            continue
        folder = entry.prefix.rpartition("/")[0] + "/"
        superseded = entry.reason == "timeline_superseded" and key.startswith(folder) and key < entry.prefix
        if key.startswith(entry.prefix) or superseded:
            return True
    return False


def _compare(
    name: str,
    key: str,
    size: int,
    facts: Facts,
    store: ObjectStore,
    count: Count,
    video_id: str,
    *,
    deep: bool,
) -> Iterator[Finding]:
    damaged = Fault.SOURCE_DAMAGED if name == "sources" else Fault.OBJECT_DAMAGED
    if facts.size is not None and size != facts.size:
        what = f"It has {size} bytes, its record says {facts.size}."
        yield Finding(damaged, what, _where(name, key), video_id)
    elif deep and facts.sha256 is not None:
        digest = hashlib.sha256()
        try:
            for piece in store.stream(key):
                digest.update(piece)
                count.bytes_read += len(piece)
        except ObjectMissing:
            return  # gone since it was listed: the second look will tell whether it may be
        if digest.hexdigest() != facts.sha256:
            yield Finding(damaged, "Its bytes are not those of the record.", _where(name, key), video_id)


def _where(store: str, key: str) -> str:
    return f"{store} {key}"
