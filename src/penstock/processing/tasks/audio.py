"""``audio``: one track in one process from beginning to end, its segments recorded as they appear.

An attempt that follows a broken one makes the same segments again. Those that the records have are compared, not stored:
what was published stays as it is, and the new attempt goes on after it. The comparison expects equal bytes, which one
tool build on one class of processor gives; elsewhere sound may differ in the last bit, and then equal times decide, as
every AAC frame decodes without the one before but for its overlap.
"""

import threading
import time

from penstock.catalog import segments
from penstock.catalog.records import SegmentRecord
from penstock.ffmpeg.outputs import EncodedInit, EncodedSegment
from penstock.processing import metrics
from penstock.processing.attempt import Attempt
from penstock.processing.tasks.storing import Storing, storing
from penstock.video.errors import ToolFailed
from penstock.video.plan import Plan

_PACE = 1.0  # seconds between two commits of one track; a commit syncs the database, and segments come 15 a second


def run(attempt: Attempt) -> None:
    """Each partial commit goes through the claim's fence, so an attempt that was taken over adds nothing any more."""
    plan = attempt.plan()
    track = plan.audio[attempt.task.index]
    recorder = _Recorder(attempt, track.name)
    begun = time.monotonic()
    with storing(attempt, stored=recorder.stored) as store:
        recorder.store = store
        made = attempt.parts.media.encode_audio(
            attempt.source(),
            plan,
            track,
            attempt.scratch,
            on_init=recorder.init,
            on_segment=recorder.segment,
            on_progress=attempt.progressed,
            cancel=attempt.run.cancel,
        )
        store.finish()
    recorder.flush()
    with attempt.committing(result={"segments": len(made.segments)}) as (tx, generation):
        segments.expect(tx, generation.id, {track.name: len(made.segments)})
    _tell(
        attempt,
        plan,
        recorder,
        ticks=sum(item.duration for item in made.segments),
        seconds=time.monotonic() - begun,
    )


class _Recorder:
    """Between the encoder and the records of one track: tells old segments from new ones and paces the commits."""

    store: Storing

    def __init__(self, attempt: Attempt, track: str) -> None:
        self._attempt = attempt
        self._track = track
        with attempt.parts.catalog.read() as tx:
            generation_id = attempt.task.generation_id
            self._known = {item.number: item for item in segments.listing(tx, generation_id, track)}
            self._init = next(
                item.init_sha256 for item in segments.tracks(tx, generation_id) if item.name == track
            )
        self._lock = threading.Lock()
        self._unrecorded: list[SegmentRecord] = []
        self._recorded_at = -_PACE
        self.kept = 0  # segments of earlier attempts that were found again
        self.bytes = 0

    def init(self, made: EncodedInit) -> None:
        """Kept where the records have it. Raises ``ToolFailed`` where it is another: the segments would not join."""
        if self._init is None:
            self.store.init(made)
        elif self._init != made.sha256:
            raise ToolFailed(
                "The sound's initialisation segment differs from the published one.", code="init_mismatch"
            )

    def segment(self, made: EncodedSegment) -> None:
        """Stored if it is new, compared if it is recorded."""
        self.bytes += made.size
        before = self._known.get(made.number)
        if before is None:
            self.store.segment(made)
            return
        made.path.unlink()
        self.kept += 1
        if (before.start, before.duration) != (made.start, made.duration):
            raise ToolFailed("The sound's times differ from the published ones.", code="audio_mismatch")
        if before.sha256 != made.sha256:
            self._attempt.log.warning("audio_segment_differs", track=self._track, segment=made.number)

    def stored(self, record: SegmentRecord) -> None:
        """In the storing thread: a segment is durable. The first is recorded at once, as early play waits for it."""
        with self._lock:
            self._unrecorded.append(record)
        if time.monotonic() - self._recorded_at >= _PACE:
            self.flush()

    def flush(self) -> None:
        """Records all that is durable."""
        with self._lock:
            new, self._unrecorded = self._unrecorded, []
        if new:
            with self._attempt.holding() as (tx, generation):
                segments.record(tx, generation.id, new, inits=self.store.inits)
            self._recorded_at = time.monotonic()


def _tell(attempt: Attempt, plan: Plan, recorder: _Recorder, *, ticks: int, seconds: float) -> None:
    track = plan.audio[attempt.task.index]
    media_seconds = ticks / track.sample_rate
    metrics.media_seconds.labels(attempt.task.kind).inc(media_seconds)
    metrics.encode_speed.labels(attempt.task.kind).observe(media_seconds / max(seconds, 1e-3))
    attempt.log.info(
        "audio_encoded",
        track=track.name,
        duration=round(media_seconds, 3),
        bytes=recorder.bytes,
        kept_segments=recorder.kept,
        seconds=round(seconds, 3),
        speed=round(media_seconds / max(seconds, 1e-3), 1),
    )
