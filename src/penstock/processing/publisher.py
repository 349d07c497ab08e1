"""Publishing: timeline versions from the records, each an immutable object, none ever half of one.

Number and content of a version are taken in one transaction under the generation's lock: how far each track has come, which
names segments that never change. They are read, and the object is written, after it.
So versions may be missing (a process died in between) and may be written out of order, but a higher one always says at
least what a lower one says, and readers use the highest. What a dead process left unwritten is found by the sweep.

Growing versions follow the rules of ``docs/processing.md``: the first at once when play can begin, then as the pace
permits, none after ``publish`` is queued. The frozen one is that task's work; tombstones end what failed or was deleted.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import structlog
from sqlalchemy import Connection

from penstock import faults
from penstock.catalog import Catalog, artefacts, generations, growing, segments, videos
from penstock.catalog.growing import Growth
from penstock.catalog.records import Generation, TrackRecord
from penstock.faults import Point
from penstock.processing import metrics, stages
from penstock.processing.config import ProcessingConfig
from penstock.processing.scanned import Scanned
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.video import keys, timeline
from penstock.video.errors import PenstockError
from penstock.video.lifecycle import GenerationState, VideoState
from penstock.video.plan import Plan
from penstock.video.timeline import Timeline, TimelineState

_log = structlog.get_logger()

_WHO = "publisher"
_CAPTIONS = "captions"
_MOST = 100  # encoding generations of one sweep
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A version as it was taken under the lock: all of it but the segments, and how far each track had come."""

    frame: Timeline
    tracks: Sequence[TrackRecord]


class Publisher:
    """Writes timeline versions from a thread of its own; every method may be called from any thread."""

    def __init__(self, catalog: Catalog, outputs: ObjectStore, config: ProcessingConfig) -> None:
        self._catalog = catalog
        self._outputs = outputs
        self._config = config
        self._due: dict[str, float] = {}  # generation: when to look at it, on the monotonic clock
        self._changed = threading.Condition()
        self._ending = False
        self._swept = ""  # the last generation that a sweep looked at; empty: the next begins anew
        self._durable: dict[str, int] = {}  # encoding generation: a version known to be written
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def request(self, generation_id: str) -> None:
        """Something of this generation was committed: look whether a version is due."""
        self._look_at(generation_id, time.monotonic())

    def start(self) -> None:
        """Begins to serve requests."""
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Stops after the version being written; what is still due is found by the next process's sweep."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def settle(self) -> None:
        """Serves, in the calling thread, all that is due now."""
        while (generation_id := self._next_due(0)) is not None:
            self._serve(generation_id)

    def sweep(self) -> None:
        """Finds what nobody requested: versions that were taken and never written, growth, tombstones owed.

        Of many generations some at a time: a flood of videos must not make every sweep a long one.
        """
        with self._catalog.read() as tx:
            encoding = growing.listing(tx, after=self._swept, limit=_MOST)
            owing = generations.owing_tombstone(tx)
        self._swept = encoding[-1].generation_id if len(encoding) == _MOST else ""
        if len(self._durable) > _REMEMBERED:
            self._durable.clear()  # it costs a question each
        for growth in encoding:
            if self._is_unwritten(growth):
                _log.warning(
                    "timeline_missing", generation_id=growth.generation_id, version=growth.timeline_version
                )
                self._grow(growth.generation_id, repeat=True)
            elif _is_due(growth):
                self.request(growth.generation_id)
        for generation, _ in owing:
            self._entomb(generation.id)

    def take_frozen(self, tx: Connection, generation: Generation) -> Taken:
        """The final version of a generation whose every task is done, for :meth:`fill` and :meth:`write`."""
        tracks = segments.tracks(tx, generation.id)
        end = max((track.end for track in tracks), default=Fraction(0))
        taken = generations.take_version(tx, generation.id, prefix_ms=int(end * 1000))
        frame = replace(_content(tx, taken, TimelineState.FROZEN), planned_duration=end)
        return Taken(frame, tracks)

    def fill(self, taken: Taken) -> Timeline:
        """The whole version. Raises ``TimelineMalformed`` where it is frozen and not complete.

        Outside the lock: ten hours have tens of thousands of segments, and nobody could record any meanwhile.
        """
        with self._catalog.read() as tx:
            tracks = segments.timeline_tracks(tx, taken.tracks)
        if taken.frame.state is TimelineState.GROWING:
            tracks = timeline.cut(tracks)
        version = replace(taken.frame, tracks=tracks)
        timeline.check(version)
        return version

    def write(self, version: Timeline) -> None:
        """Makes a version durable; from then on players see it."""
        key = keys.timeline(version.video_id, version.generation_id, version.version)
        data = timeline.encode(version)
        self._outputs.put(key, data)
        metrics.timelines.labels(version.state).inc()
        metrics.bytes_stored.labels("timeline").inc(len(data))
        _log.info(
            "timeline_published",
            video_id=version.video_id,
            generation_id=version.generation_id,
            version=version.version,
            state=str(version.state),
            prefix=round(float(version.prefix()), 3),
            segments=sum(len(track.segments) for track in version.tracks),
            bytes=len(data),
        )

    def _grow(self, generation_id: str, *, repeat: bool = False) -> None:
        """Publishes a growing version if one is due (``repeat``: in any case), or comes back when the pace permits."""
        with self._catalog.read() as tx:
            growth = next(iter(growing.listing(tx, generation_id)), None)
        if growth is None:
            self._entomb(generation_id)
            return
        if not repeat:
            if not _is_due(growth):
                return
            wait = self._wait(growth)
            if wait > 0:
                self._look_at(generation_id, time.monotonic() + wait)
                return
        taken = self._take_growing(generation_id)
        if taken is None:
            return
        faults.reach(Point.PUBLISH_TAKEN)
        version = self.fill(taken)
        self.write(version)
        faults.reach(Point.PUBLISH_WRITTEN)
        self._durable[generation_id] = version.version
        if not growth.announced:
            self._tell_playable(version)
        faults.reach(Point.PUBLISH_TOLD)

    def _take_growing(self, generation_id: str) -> Taken | None:
        with self._catalog.write() as tx:
            generations.lock(tx, generation_id)
            growth = next(iter(growing.listing(tx, generation_id)), None)
            if growth is None or growth.closing or not growth.ready_to_play:
                return None  # it was frozen, failed or deleted since it was looked at
            taken = generations.take_version(tx, generation_id, prefix_ms=growth.prefix_ms)
            frame = _content(tx, taken, TimelineState.GROWING)
            return Taken(frame, segments.tracks(tx, generation_id))

    def _tell_playable(self, version: Timeline) -> None:
        with self._catalog.write() as tx:
            generation = generations.lock(tx, version.generation_id)
            if generation.state is not GenerationState.ENCODING:
                return
            generations.mark_playable(tx, version.generation_id)
            first = videos.mark_playable(tx, version.video_id, version.generation_id, who=_WHO)
            video = videos.get(tx, version.video_id)
        if first:  # and not a later generation of a video that plays already
            stages.observe(video, "playable")

    def _wait(self, growth: Growth) -> float:
        """Seconds until the pace permits the next version; the first, and the first after a retry, are at once."""
        if not growth.timeline_version or not growth.announced:
            return 0.0
        pace = max(
            self._config.publish_interval, self._config.publish_share * growth.published_prefix_ms / 1000
        )
        return pace - growth.age_ms / 1000

    def _is_unwritten(self, growth: Growth) -> bool:
        """Whether the last version that was taken is not there though there was time enough to write it."""
        version = growth.timeline_version
        old = growth.age_ms > 1000 * max(self._config.sweep, self._config.lease)
        if not version or growth.closing or not old or self._durable.get(growth.generation_id) == version:
            return False
        try:
            self._outputs.head(keys.timeline(growth.video_id, growth.generation_id, version))
        except ObjectMissing:
            return True
        self._durable[growth.generation_id] = version
        return False

    def _entomb(self, generation_id: str) -> None:
        """Writes the version after which there is nothing to play, where one is owed. Doing so twice does no harm."""
        with self._catalog.write() as tx:
            kind = _tombstone_owed(tx, generations.lock(tx, generation_id))
            if kind is None:
                return
            tombstone = _content(tx, generations.take_version(tx, generation_id), kind)
        faults.reach(Point.ENTOMB_TAKEN)
        self.write(tombstone)
        faults.reach(Point.ENTOMB_WRITTEN)
        with self._catalog.write() as tx:
            if (
                _tombstone_owed(tx, generations.lock(tx, generation_id)) is kind
            ):  # not when it was retried meanwhile
                generations.tombstoned(tx, generation_id, kind)

    def _look_at(self, generation_id: str, moment: float) -> None:
        with self._changed:
            self._due[generation_id] = min(self._due.get(generation_id, moment), moment)
            self._changed.notify_all()

    def _next_due(self, timeout: float | None) -> str | None:
        """The next generation that is due, taken off the list; None after ``timeout`` seconds or at the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._ending:
                now = time.monotonic()
                generation_id = min(self._due, key=self._due.__getitem__, default=None)
                if generation_id is not None and self._due[generation_id] <= now:
                    del self._due[generation_id]
                    return generation_id
                moments = [*self._due.values(), *([deadline] if deadline is not None else [])]
                if deadline is not None and now >= deadline:
                    return None
                self._changed.wait(min(moments) - now if moments else None)
            return None

    def _serve(self, generation_id: str) -> None:
        try:
            self._grow(generation_id)
        except PenstockError as error:
            _log.warning("timeline_failed", generation_id=generation_id, code=error.code, detail=error.detail)
            self._look_at(generation_id, time.monotonic() + self._config.retry_base)
        except Exception:  # noqa: BLE001 - logged with its traceback; one video's fault must not end all publication
            _log.exception("timeline_failed", generation_id=generation_id)

    def _run(self) -> None:
        while (generation_id := self._next_due(None)) is not None:
            self._serve(generation_id)


def _is_due(growth: Growth) -> bool:
    """Whether players can be told of more than they know, pace aside."""
    more = (
        growth.prefix_ms > growth.published_prefix_ms or not growth.timeline_version or not growth.announced
    )
    return growth.ready_to_play and not growth.closing and more


def _tombstone_owed(tx: Connection, generation: Generation) -> TimelineState | None:
    """What players of this generation must be told and were not."""
    if videos.get(tx, generation.video_id).state is VideoState.DELETED:
        kind = TimelineState.DELETED
    elif generation.state in {GenerationState.FAILED, GenerationState.CANCELLED}:
        kind = TimelineState.FAILED
    else:
        return None
    return kind if generation.timeline_version and generation.tombstone != kind else None


def _content(tx: Connection, taken: Generation, state: TimelineState) -> Timeline:
    """A version's frame, without tracks: a tombstone as it stands."""
    text = generations.plan(tx, taken.id)
    plan = None if text is None else Plan.from_json(text)
    scanned = generations.scan(tx, taken.id)
    duration = Scanned.from_json(scanned).duration if scanned else plan.duration if plan else None
    ended = state in {TimelineState.FAILED, TimelineState.DELETED}
    shown = [] if ended else [item for item in artefacts.listing(tx, taken.id) if item.public]
    assert taken.published_at is not None
    assert taken.first_published_at is not None
    return Timeline(
        video_id=taken.video_id,
        generation_id=taken.id,
        version=taken.timeline_version,
        state=state,
        published_ms=taken.published_at,
        first_published_ms=taken.first_published_at,
        planned_duration=duration or Fraction(taken.published_prefix_ms, 1000),
        target_duration=plan.target_duration if plan else 0,
        artefacts=tuple(artefacts.as_timeline(item) for item in shown if item.kind != _CAPTIONS),
        captions=tuple(artefacts.as_timeline(item) for item in shown if item.kind == _CAPTIONS),
        error_code=taken.error_code if state is TimelineState.FAILED else None,
    )
