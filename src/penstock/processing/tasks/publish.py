"""``publish``: everything is there and checked, the timeline is frozen, the video becomes ``ready``.

In this order: objects checked against the records, the frozen version durable, then the step of the lifecycle. A process
that dies in between leaves at worst a frozen timeline that the next attempt writes again under a higher number.
"""

from collections import defaultdict

from penstock import faults
from penstock.catalog import artefacts, garbage, generations, segments, tasks, videos
from penstock.catalog.records import Video
from penstock.faults import Point
from penstock.processing import stages
from penstock.processing.attempt import Attempt
from penstock.video import keys
from penstock.video.errors import TransientError

_SUPERSEDED_AFTER_MS = 600_000  # a reader that has just listed the versions may still fetch one of them


class OutputsMissing(TransientError):
    """Objects that the records name are not in the store, or not of their size. The video is not published."""

    code = "outputs_missing"


def run(attempt: Attempt) -> None:
    """``processing`` to ``ready``."""
    generation_id = attempt.task.generation_id
    checked = _check_objects(attempt)
    faults.reach(Point.FREEZE_CHECKED)
    with attempt.holding() as (tx, generation):
        if tasks.outstanding(tx, generation_id):
            raise TransientError("Other tasks of the video are not finished.", code="publish_too_early")
        taken = attempt.parts.publisher.take_frozen(tx, generation)
    attempt.check_cancelled()
    frozen = attempt.parts.publisher.fill(taken)
    faults.reach(Point.FREEZE_TAKEN)
    attempt.parts.publisher.write(frozen)
    faults.reach(Point.FREEZE_WRITTEN)
    with attempt.committing(result={"version": frozen.version, "objects": checked}) as (tx, generation):
        generations.freeze(tx, generation_id, who=attempt.who, task_id=attempt.task.id)
        # The key of the frozen version stands for all before it.
        newest = keys.timeline(generation.video_id, generation_id, frozen.version)
        garbage.add(
            tx,
            "outputs",
            newest,
            reason="timeline_superseded",
            video_id=generation.video_id,
            delay_ms=_SUPERSEDED_AFTER_MS,
        )
        video = videos.get(tx, generation.video_id)
        if not attempt.parts.config.keep_sources and video.source_key is not None:
            garbage.add(tx, "sources", video.source_key, reason="source_dropped", video_id=video.id)
            videos.record(tx, video.id, source_dropped_at=video.updated_at)
    _tell(attempt, video, objects=checked)


def _check_objects(attempt: Attempt) -> int:
    """Compares the stored objects with the records; how many there are. Raises :class:`OutputsMissing`."""
    wanted: dict[str, dict[str, int]] = defaultdict(dict)  # folder of one attempt: key, size
    generation_id = attempt.task.generation_id
    with attempt.parts.catalog.read() as tx:
        for track in segments.tracks(tx, generation_id):
            if track.init_key is not None and track.init_size is not None:
                wanted[keys.attempt_prefix_of(track.init_key)][track.init_key] = track.init_size
            for item in segments.listing(tx, generation_id, track.name):
                wanted[item.prefix][keys.media_segment(item.prefix, item.track, item.number)] = item.size
        for artefact in artefacts.listing(tx, generation_id):
            wanted[keys.attempt_prefix_of(artefact.key)][artefact.key] = artefact.size
    for prefix, sizes in wanted.items():
        attempt.check_cancelled()
        found = {info.key: info.size for info in attempt.parts.outputs.list(prefix)}
        wrong = [key for key, size in sizes.items() if found.get(key) != size]
        if wrong:
            attempt.log.error("outputs_missing", keys=wrong[:10], count=len(wrong))
            raise OutputsMissing(f"{len(wrong)} stored objects are missing or damaged.")
    return sum(len(sizes) for sizes in wanted.values())


def _tell(attempt: Attempt, video: Video, *, objects: int) -> None:
    seconds = stages.observe(video, "ready")
    attempt.log.info(
        "video_finished",
        objects=objects,
        seconds=seconds,
        times_real_time=None
        if not seconds or not video.duration_ms
        else round(video.duration_ms / 1000 / seconds, 2),
    )
