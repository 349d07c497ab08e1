"""The newest timeline of each generation that is being watched, read from the object store and from nothing else.

Versions are immutable objects in order of their number; the highest counts, and what was seen is never unseen. However
many players ask at once, one look is under way per generation. It knows no requests and no tokens.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import anyio.to_thread
import structlog

from penstock.storage.store import ObjectStore
from penstock.streaming import metrics
from penstock.streaming.config import StreamingConfig
from penstock.streaming.problems import VideoDeleted, VideoFailed, VideoNotReady
from penstock.streaming.publication import Publication
from penstock.video import keys
from penstock.video.errors import PenstockError
from penstock.video.timeline import Timeline, TimelineMalformed, decode

_log = structlog.get_logger()

Key = tuple[str, str]  # video, generation


@dataclass(slots=True)
class _Known:
    publication: Publication | None = None
    as_of: float = float("-inf")  # when the last completed look began
    look: asyncio.Task[PenstockError | None] | None = None

    @property
    def weight(self) -> int:
        return self.publication.weight if self.publication else 1


class Timelines:
    """A cache over the store. All of its methods belong to one event loop; the store is asked in threads.

    Each method raises :class:`VideoNotReady`, :class:`VideoFailed` or :class:`VideoDeleted`; the store's own errors
    where nothing is known yet. While the store does not answer, what is known stays valid.
    """

    def __init__(
        self, store: ObjectStore, config: StreamingConfig, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``clock`` gives seconds and never goes back."""
        self._store = store
        self._config = config
        self._clock = clock
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self._weight = 0

    async def for_manifest(self, video_id: str, generation_id: str) -> Publication:
        """Recent enough to make a manifest from it."""
        return await self._current((video_id, generation_id), self._config.growing_recheck)

    async def for_object(self, video_id: str, generation_id: str) -> Publication:
        """Recent enough to send what it names: that never changes, so only a tombstone could make a difference."""
        return await self._current((video_id, generation_id), self._config.settled_recheck)

    def manifest_at_hand(self, video_id: str, generation_id: str) -> Publication | None:
        """As :meth:`for_manifest`, None where it has to be waited for."""
        return self._at_hand((video_id, generation_id), self._config.growing_recheck)

    def object_at_hand(self, video_id: str, generation_id: str) -> Publication | None:
        """As :meth:`for_object`, None where it has to be waited for."""
        return self._at_hand((video_id, generation_id), self._config.settled_recheck)

    async def newest(self, video_id: str, generation_id: str) -> Publication:
        """As it is now: by a look that begins after this call."""
        return await self._read_since((video_id, generation_id), self._clock())

    async def _current(self, key: Key, unsettled_age: float) -> Publication:
        at_hand = self._at_hand(key, unsettled_age)
        if at_hand is not None:
            return at_hand
        return await self._read_since(key, self._clock() - self._age(self._known.get(key), unsettled_age))

    def _at_hand(self, key: Key, unsettled_age: float) -> Publication | None:
        known = self._known.get(key)
        if known is None or known.as_of < self._clock() - self._age(known, unsettled_age):
            return None
        self._known.move_to_end(key)
        return _watchable(known.publication)

    def _age(self, known: _Known | None, unsettled_age: float) -> float:
        """How old what is known may be."""
        publication = known.publication if known else None
        if publication is None or publication.failed:
            return self._config.growing_recheck  # it may be published, or be retried, at any moment
        return self._config.settled_recheck if publication.settled else unsettled_age

    async def _read_since(self, key: Key, since: float) -> Publication:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known()
            self._weight += known.weight
        self._known.move_to_end(key)
        while known.as_of < since:
            if known.look is None:
                known.look = asyncio.create_task(self._look(key, known))
            failure = await asyncio.shield(known.look)
            if failure is not None:
                if known.publication is None:
                    raise failure
                break
        return _watchable(known.publication)

    async def _look(self, key: Key, known: _Known) -> PenstockError | None:
        begun = self._clock()
        after = known.publication.timeline.version if known.publication else None
        try:
            timeline = await anyio.to_thread.run_sync(self._newer, key, after)
        except PenstockError as error:
            metrics.TIMELINE_READS.labels("failed").inc()
            _log.warning("timeline_unreadable", video_id=key[0], generation_id=key[1], code=error.code)
            return error
        finally:
            known.look = None
        known.as_of = begun
        if timeline is None:
            metrics.TIMELINE_READS.labels("same" if known.publication else "none").inc()
        else:
            metrics.TIMELINE_READS.labels("found").inc()
            self._keep(key, known, Publication(timeline))
        return None

    def _newer(self, key: Key, after: int | None) -> Timeline | None:
        """The highest version above ``after``, None where there is none."""
        prefix = keys.timeline_prefix(*key)
        start_after = None if after is None else keys.timeline(*key, after)
        newest = None
        for info in self._store.list(prefix, start_after=start_after):
            newest = info.key
        if newest is None:
            return None
        timeline = decode(self._store.get(newest))
        if (timeline.video_id, timeline.generation_id, timeline.version) != (
            *key,
            keys.timeline_version(newest),
        ):
            raise TimelineMalformed("A timeline version lies under the key of another.")
        return timeline

    def _keep(self, key: Key, known: _Known, publication: Publication) -> None:
        self._weight -= known.weight
        known.publication = publication
        self._weight += known.weight
        for oldest in list(self._known):
            if self._weight <= self._config.timeline_memory:
                break
            if oldest != key and self._known[oldest].look is None:
                self._weight -= self._known.pop(oldest).weight
        metrics.TIMELINE_SEGMENTS.set(self._weight)


def _watchable(publication: Publication | None) -> Publication:
    if publication is None:
        raise VideoNotReady
    if publication.deleted:
        raise VideoDeleted("The video was deleted.")
    if publication.failed:
        raise VideoFailed("The video could not be processed; its status tells why.")
    return publication
