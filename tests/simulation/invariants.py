"""What must hold whatever happened: for a reader at any moment, and of everything, which the product's own audit says."""

import hashlib

from sqlalchemy import select

from penstock.audit.audit import Audit
from penstock.audit.findings import Finding
from penstock.catalog import generations, schema
from penstock.video import keys, timeline
from penstock.video.lifecycle import VideoState
from penstock.video.timeline import Timeline, TimelineState
from tests.simulation.workshop import Workshop

_ETAG_DIGITS = 32


class Reader:
    """A player of one generation: it takes the highest version and must never be led back or astray."""

    def __init__(self, workshop: Workshop, video_id: str, generation_id: str) -> None:
        self._workshop = workshop
        self._video_id = video_id
        self._generation_id = generation_id
        self._seen: Timeline | None = None
        self._played: Timeline | None = None  # the last version that was no tombstone

    def look(self) -> None:
        """Reads the newest version and holds it against what was seen before."""
        prefix = keys.timeline_prefix(self._video_id, self._generation_id)
        newest = max((info.key for info in self._workshop.outputs.list(prefix)), default=None)
        if newest is None:
            assert self._seen is None, "a published timeline is gone"
            return
        version = timeline.decode(self._workshop.outputs.get(newest))
        assert version.version == keys.timeline_version(newest)
        timeline.check(version)
        if self._seen is not None and version.version != self._seen.version:
            timeline.check_successor(self._seen, version)
        if version.state in {TimelineState.GROWING, TimelineState.FROZEN}:
            if self._played is not None and self._played.version != version.version:
                timeline.check_successor(self._played, version)
            self._check_objects(version)
            self._played = version
        self._seen = version

    def _check_objects(self, version: Timeline) -> None:
        outputs = self._workshop.outputs
        if self._workshop.video(self._video_id).state is VideoState.DELETED:
            return  # its objects may go; the tombstone is on its way
        assert timeline.playable(version.tracks)
        for track in version.tracks:
            for segment in track.segments:
                data = outputs.get(track.key(segment))
                assert len(data) == segment.size
                assert hashlib.sha256(data).hexdigest()[:_ETAG_DIGITS] == segment.etag
            assert outputs.head(track.init.key).size == track.init.size
        for item in (*version.artefacts, *version.captions):
            assert hashlib.sha256(outputs.get(item.key)).hexdigest()[:_ETAG_DIGITS] == item.etag


def faults(workshop: Workshop, *, repair: bool = False) -> list[Finding]:
    """What an audit of everything finds, every byte read."""
    audit = Audit(
        workshop.catalog,
        sources=workshop.sources,
        outputs=workshop.outputs,
        staging=None,
        deep=True,
        repair=repair,
        pause=lambda _: None,
    )
    return list(audit.run())


def check_sound(workshop: Workshop) -> None:
    """Nothing is wrong with anything, whatever is under way."""
    found = faults(workshop)
    assert found == [], found


def check_ready(workshop: Workshop, video_id: str) -> None:
    """The video is ready, a player finds all of it, and nothing of anything is wrong."""
    video = workshop.video(video_id)
    assert video.state is VideoState.READY, (video.state, video.error_code)
    assert video.published_generation_id is not None
    found = faults(workshop)
    assert found == [], found
    with workshop.catalog.read() as tx:
        assert generations.get(tx, video.published_generation_id).progress == 1
    Reader(workshop, video_id, video.published_generation_id).look()


def check_collected(workshop: Workshop) -> None:
    """After collection nothing waits for it, nothing that is referred to is missing, and nothing else is left."""
    with workshop.catalog.read() as tx:
        assert tx.execute(select(schema.garbage)).all() == []
    found = faults(workshop)
    assert found == [], found
