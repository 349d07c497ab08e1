"""Garbage: objects that no record needs any more, removed once nobody can be reading them.

The records keep a list of what may go and when; an entry only permits. Before anything is removed the records are asked
what of it is still referred to, after the moment from which nothing new can refer to it: an attempt that ended can commit
no more, a deleted video and an ended generation are final. Runs in every processing process; removing twice does no harm.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog
from sqlalchemy import Connection

from penstock import faults
from penstock.catalog import Catalog, clock, garbage, generations, segments, videos
from penstock.catalog.records import Garbage
from penstock.faults import Point
from penstock.processing import metrics
from penstock.processing.config import ProcessingConfig
from penstock.storage.staging import Staged, Staging
from penstock.storage.store import ObjectStore
from penstock.video import keys
from penstock.video.errors import NotFound, PenstockError
from penstock.video.lifecycle import VideoState

_log = structlog.get_logger()

_TOKEN_LIFE_MS = 25 * 3_600_000  # a playback token lives 24 h at most; an hour for clocks that differ
_AGAIN_MS = 60_000  # until an entry that cannot be served yet is looked at again
_MOST = 500  # entries of one round
_TOGETHER = 50  # entries struck off the list in one transaction


class Collector:
    """Serves the list of garbage by :meth:`sweep`."""

    def __init__(
        self,
        catalog: Catalog,
        config: ProcessingConfig,
        *,
        sources: ObjectStore,
        outputs: ObjectStore,
        staging: Staging | None,
    ) -> None:
        """``staging``: where unfinished uploads lie, if they lie on this machine."""
        self._catalog = catalog
        self._config = config
        self._sources = sources
        self._outputs = outputs
        self._staging = staging
        self._serve: Mapping[tuple[str, str], Callable[[Garbage], int | None]] = {
            ("outputs", "attempt_ended"): self._attempt,
            ("outputs", "timeline_superseded"): self._superseded,
            ("outputs", "generation_ended"): self._generation,
            ("outputs", "video_deleted"): self._deleted_outputs,
            ("sources", "video_deleted"): self._deleted_sources,
        }

    def sweep(self) -> int:
        """One round over what is due; the number of entries served. An entry that fails is tried again later."""
        with self._catalog.read() as tx:
            due = garbage.due(tx, limit=_MOST)
        served = 0
        for first in range(0, len(due), _TOGETHER):
            served += self._serve_some(due[first : first + _TOGETHER])
        return served

    def _serve_some(self, some: list[Garbage]) -> int:
        """Removes first, then strikes all off the list at once: a thousand durable transactions would take minutes."""
        again = {entry.id: self._removed(entry) for entry in some}
        faults.reach(Point.COLLECT_REMOVED)
        done = [entry_id for entry_id, again_ms in again.items() if again_ms is None]
        with self._catalog.write() as tx:
            garbage.collected(tx, done)
            for entry_id, again_ms in again.items():
                if again_ms is not None:
                    garbage.postpone(tx, entry_id, again_ms)
        faults.reach(Point.COLLECT_STRUCK)
        return len(done)

    def _removed(self, entry: Garbage) -> int | None:
        """None when done, else the milliseconds until the entry is looked at again."""
        try:
            return self._handler(entry)(entry)
        except PenstockError as error:
            _log.warning("garbage_postponed", prefix=entry.prefix, code=error.code, detail=error.detail)
        except Exception as error:  # noqa: BLE001 - whatever it is, the entries after this one can be served
            _log.error("garbage_postponed", prefix=entry.prefix, code="internal_error", exc_info=error)
        return _AGAIN_MS

    def _handler(self, entry: Garbage) -> Callable[[Garbage], int | None]:
        """What serves an entry: it returns None when done, else the milliseconds until it wants to be asked again."""
        if entry.store == "staging":
            return self._staged
        if entry.store == "sources":
            return self._serve.get((entry.store, entry.reason), self._source)
        return self._serve.get((entry.store, entry.reason), self._attempt)

    def _attempt(self, entry: Garbage) -> None:
        """An attempt that ended: all but what committed records refer to, as sound is committed bit by bit."""
        found = [info.key for info in self._outputs.list(entry.prefix)]
        with self._catalog.read() as tx:  # after listing: what was committed before it ended is seen here
            kept = segments.referenced_keys(tx, entry.prefix)
        self._remove(self._outputs, (key for key in found if key not in kept), entry)

    def _superseded(self, entry: Garbage) -> None:
        """Timeline versions before the frozen one, whose key the entry is."""
        folder = entry.prefix.rpartition("/")[0] + "/"
        self._remove(self._outputs, (key for key in self._keys(folder) if key < entry.prefix), entry)

    def _generation(self, entry: Garbage) -> None:
        """A retired or cancelled generation that no token can name any more: its references, then its objects."""
        generation_id = entry.prefix.rstrip("/").rpartition("/")[2]
        with self._catalog.write() as tx:
            generations.lock(tx, generation_id)
            for prefix in segments.forget(tx, generation_id):
                garbage.add(tx, "outputs", prefix, reason="attempt_ended", video_id=entry.video_id)
        self._remove(self._outputs, self._keys(entry.prefix), entry)

    def _deleted_outputs(self, entry: Garbage) -> int | None:
        """A deleted video: its media some time after the last tombstone, the tombstones when no token is left."""
        with self._catalog.read() as tx:
            buried_for = _buried_for(tx, entry.video_id)
            known = [each.id for each in generations.listing(tx, entry.video_id)] if entry.video_id else []
        if buried_for is not None and buried_for < self._config.delete_grace * 1000:
            return int(self._config.delete_grace * 1000 - buried_for)
        timelines = tuple(keys.timeline_prefix(entry.video_id or "", each) for each in known)
        if buried_for is not None and buried_for < _TOKEN_LIFE_MS:
            media = (key for key in self._keys(entry.prefix) if not key.startswith(timelines))
            self._remove(self._outputs, media, entry)
            return _TOKEN_LIFE_MS - buried_for
        self._remove(self._outputs, self._keys(entry.prefix), entry)
        with self._catalog.write() as tx:
            for generation_id in sorted(known):
                segments.forget(tx, generation_id)
        return None

    def _deleted_sources(self, entry: Garbage) -> None:
        self._remove(self._sources, self._keys(entry.prefix, self._sources), entry)

    def _source(self, entry: Garbage) -> None:
        """One source: of an abandoned or doubled upload, or dropped after processing; unless a video stands on it."""
        with self._catalog.read() as tx:
            needed = entry.video_id is not None and _stands_on(tx, entry.video_id, entry.prefix)
        if not needed:
            self._remove(self._sources, [entry.prefix], entry)

    def _staged(self, entry: Garbage) -> int | None:
        if self._staging is None:
            return _AGAIN_MS  # another machine's: its own processing process serves it
        key = None if entry.video_id is None else keys.source(entry.video_id, entry.prefix)
        self._staging.remove(Staged(entry.prefix, key))
        metrics.collected.labels(entry.reason).inc()
        return None

    def _keys(self, prefix: str, store: ObjectStore | None = None) -> Iterator[str]:
        return (info.key for info in (store or self._outputs).list(prefix))

    def _remove(self, store: ObjectStore, found: Iterable[str], entry: Garbage) -> None:
        doomed = list(found)
        faults.reach(Point.COLLECT_LISTED)
        store.delete(doomed)
        if doomed:
            metrics.collected.labels(entry.reason).inc(len(doomed))
            _log.info(
                "objects_collected",
                store=entry.store,
                reason=entry.reason,
                video_id=entry.video_id,
                prefix=entry.prefix,
                count=len(doomed),
            )


def _buried_for(tx: Connection, video_id: str | None) -> int | None:
    """Milliseconds since the last tombstone of a deleted video became durable, at least; None where players never knew it.

    0 while one is still owed.
    """
    if video_id is None:
        return None
    published = [each for each in generations.listing(tx, video_id) if each.timeline_version]
    if not published:
        return None
    if any(each.tombstone != VideoState.DELETED for each in published):
        return 0
    return clock.now(tx) - max(each.updated_at for each in published)


def _stands_on(tx: Connection, video_id: str, key: str) -> bool:
    try:
        video = videos.get(tx, video_id)
    except NotFound:
        return False
    return (
        video.source_key == key and video.state is not VideoState.DELETED and video.source_dropped_at is None
    )
