"""The audit: every video in turn, then what no video knows of; each fault is looked at twice before it is told.

A running instance changes while it is read. Its records are read in one transaction and the stores after them, so a look
may see two moments; what is wrong at one of them alone is no fault. Memory holds the records of one video.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from penstock.audit import objects, records, timelines
from penstock.audit.findings import Fault, Finding
from penstock.audit.objects import Count
from penstock.catalog import Catalog, clock, garbage, uploads, videos
from penstock.catalog.words import UploadState
from penstock.storage.staging import Staging
from penstock.storage.store import ObjectStore
from penstock.video import identity, keys
from penstock.video.errors import NotFound

_log = structlog.get_logger()

_PAUSE = 1.0  # seconds before the second look
_UNRECORDED_FOR_MS = 3_600_000  # a staged file is made just before its record


@dataclass(slots=True)
class Tally:
    """How much was looked at."""

    videos: int = 0
    generations: int = 0
    tasks: int = 0
    events: int = 0
    objects: int = 0
    bytes_read: int = 0


class Audit:
    """One look at everything, by :meth:`run`. ``tally`` counts along."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        sources: ObjectStore,
        outputs: ObjectStore,
        staging: Staging | None,
        deep: bool = False,
        repair: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """``deep``: every byte is read and its digest compared. ``repair``: what nothing can refer to any more is removed.

        ``staging``: where unfinished uploads lie, if they lie on this machine.
        """
        self._catalog = catalog
        self._sources = sources
        self._outputs = outputs
        self._staging = staging
        self._deep = deep
        self._repair = repair
        self._pause = pause
        self.tally = Tally()

    def run(self) -> Iterator[Finding]:
        """The faults, as they are found. Raises what records and stores raise where they do not answer."""
        for video_id in self._videos():
            self.tally.videos += 1
            yield from self._settled(lambda video_id=video_id: self._video(video_id))  # type: ignore[misc]
        for name, store in (("sources", self._sources), ("outputs", self._outputs)):
            yield from self._settled(lambda name=name, store=store: self._strangers(name, store))  # type: ignore[misc]
        if self._staging is not None:
            yield from self._settled(self._staged)

    def _settled(self, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
        """What a look finds, and another one finds again."""
        tally = replace(self.tally)
        first = {finding.same for finding in look()}
        if not first:
            return
        self._pause(_PAUSE)
        self.tally = tally
        for finding in list(look()):
            if finding.same in first:
                yield self._swept(finding) if self._repair and finding.code is Fault.ORPHAN else finding

    def _videos(self) -> Iterator[str]:
        last = ""
        while True:
            with self._catalog.read() as tx:
                page = videos.every(tx, after=last)
            if not page:
                return
            yield from page
            last = page[-1]

    def _video(self, video_id: str) -> Iterator[Finding]:
        with self._catalog.read() as tx:
            story = records.read(tx, video_id)
            found = list(records.check(tx, story))
            wanted = objects.references(tx, story)
        yield from found
        count = Count()
        yield from objects.sources(story, self._sources, count, deep=self._deep)
        yield from objects.outputs(story, wanted, self._outputs, count, deep=self._deep)
        for generation in story.generations:
            faults, shown = timelines.check(story, generation, self._outputs)
            yield from faults
            if shown is not None:
                with self._catalog.read() as tx:
                    compared = list(timelines.compare(tx, story, generation, shown))
                yield from compared
        self.tally.generations += len(story.generations)
        self.tally.tasks += len(story.tasks)
        self.tally.events += story.video.events
        self.tally.objects += count.objects
        self.tally.bytes_read += count.bytes_read

    def _strangers(self, name: str, store: ObjectStore) -> Iterator[Finding]:
        """Objects of videos that the records do not know: another database's, or those of a later moment."""
        known, stranger, count = "", "", 0
        for info in store.list(""):
            video_id = keys.video_of(info.key)
            if video_id == known or info.key.startswith(keys.STAGING):  # an upload's, see _staged
                continue
            if video_id == stranger:
                count += 1
                continue
            if stranger:
                yield _stranger(name, stranger, count)
            known, stranger, count = ("", video_id, 1) if not self._knows(video_id) else (video_id, "", 0)
        if stranger:
            yield _stranger(name, stranger, count)

    def _knows(self, video_id: str) -> bool:
        with self._catalog.read() as tx:
            try:
                videos.get(tx, video_id)
            except NotFound:
                return False
        return True

    def _staged(self) -> Iterator[Finding]:
        """Staged bytes whose session has ended, unless the collector has them on its list."""
        assert self._staging is not None
        with self._catalog.read() as tx:
            oldest = identity.encode(clock.now(tx) - _UNRECORDED_FOR_MS, 0)
        for left in self._staging.leftovers():
            with self._catalog.read() as tx:
                try:
                    upload = uploads.get(tx, left.name)
                except NotFound:
                    nobodys = left.name < oldest
                else:
                    nobodys = upload.state is not UploadState.OPEN
                listed = garbage.is_listed(tx, "staging", left.name)
            if nobodys and not listed:
                yield Finding(Fault.ORPHAN, "Its upload has ended.", f"staging {left.name}")

    def _swept(self, finding: Finding) -> Finding:
        """Removes an orphan if it still is one. What nothing could refer to twice in a row, nothing will."""
        store, _, key = finding.where.partition(" ")
        if store == "staging":
            for left in self._staging.leftovers() if self._staging is not None else ():
                if left.name == key and self._staging is not None:
                    self._staging.remove(left)
        elif store == "sources":
            self._sources.delete([key])
        else:
            self._outputs.delete([key])
        _log.info("orphan_removed", store=store, key=key, video_id=finding.video_id)
        return replace(finding, repaired=True)


def _stranger(store: str, video_id: str, count: int) -> Finding:
    objects_ = "object" if count == 1 else "objects"
    return Finding(Fault.STRANGER, f"{count} {objects_} of an unknown video.", f"{store} {video_id}/")
