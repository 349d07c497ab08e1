"""What must hold of records and objects, whatever happened: for readers at any moment, and for everything at the end."""

import hashlib
from collections import Counter

from penstock.catalog import artefacts, events, generations, segments, tasks
from penstock.catalog.records import Generation
from penstock.catalog.words import TaskState
from penstock.video import keys, timeline
from penstock.video.lifecycle import FINAL_GENERATION_STATES, GenerationState, VideoState
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


def check_history(workshop: Workshop, video_id: str) -> None:
    """Events are numbered without gaps, and each generation was frozen once at most."""
    with workshop.catalog.read() as tx:
        lines = events.listing(tx, video_id)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    frozen = Counter(line.generation_id for line in lines if line.event == "generation_frozen")
    assert all(count == 1 for count in frozen.values())


def check_ready(workshop: Workshop, video_id: str) -> None:
    """A ready video: every task done, every object there with its digest, the frozen timeline says what the records say."""
    video = workshop.video(video_id)
    assert video.state is VideoState.READY, (video.state, video.error_code)
    assert video.playable
    generation_id = video.published_generation_id
    assert generation_id is not None
    with workshop.catalog.read() as tx:
        generation = generations.get(tx, generation_id)
        done = tasks.listing(tx, generation_id=generation_id)
        tracks = segments.timeline_tracks(tx, generation_id)
        totals = segments.totals(tx, generation_id)
        stored = artefacts.listing(tx, generation_id)
    assert generation.state is GenerationState.PUBLISHED
    assert generation.progress == 1
    assert all(task.state is TaskState.DONE or not task.required for task in done)
    frozen = workshop.versions(video_id, generation_id)[-1]
    assert frozen.state is TimelineState.FROZEN
    assert frozen.tracks == tracks
    assert {track.name: len(track.segments) for track in tracks} == {
        name: count for name, (count, _) in totals.items()
    }
    public = {item.name: item.sha256[:_ETAG_DIGITS] for item in stored if item.public}
    assert {item.name: item.etag for item in (*frozen.artefacts, *frozen.captions)} == public
    Reader(workshop, video_id, generation_id).look()


def referenced(workshop: Workshop, video_id: str) -> set[str]:
    """Keys of outputs that must exist, and the only ones that may after collection."""
    video = workshop.video(video_id)
    found: set[str] = set()
    with workshop.catalog.read() as tx:
        for generation in generations.listing(tx, video_id):
            if video.state is VideoState.DELETED:
                continue
            for track in segments.tracks(tx, generation.id):
                found |= {track.init_key} if track.init_key else set()
                found |= {
                    keys.media_segment(item.prefix, item.track, item.number)
                    for item in segments.listing(tx, generation.id, track.name)
                }
            found |= {item.key for item in artefacts.listing(tx, generation.id)}
    return found


def check_collected(workshop: Workshop, video_ids: list[str]) -> None:
    """After collection: nothing that is referred to is missing, nothing else is left but timelines."""
    wanted = {key for video_id in video_ids for key in referenced(workshop, video_id)}
    stored = {info.key for info in workshop.outputs.list("")}
    media = {key for key in stored if "/timeline/" not in key}
    assert media == wanted, (sorted(wanted - media)[:5], sorted(media - wanted)[:5])
    sources = {info.key.partition("/")[0] for info in workshop.sources.list("")}
    assert sources == {each for each in video_ids if workshop.video(each).state is not VideoState.DELETED}
    for video_id in video_ids:
        with workshop.catalog.read() as tx:
            for generation in generations.listing(tx, video_id):
                _check_timelines(workshop, video_id, generation)


def _check_timelines(workshop: Workshop, video_id: str, generation: Generation) -> None:
    versions = workshop.versions(video_id, generation.id)
    if not generation.timeline_version or generation.state in FINAL_GENERATION_STATES:
        assert not versions  # never published, or nobody can ask for it any more
    elif generation.state is GenerationState.PUBLISHED:
        assert [version.state for version in versions] == [TimelineState.FROZEN]
