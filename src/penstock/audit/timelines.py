"""What players were told of one generation: every version parses, versions only grow, and they say what the records say."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.audit.findings import Fault, Finding
from penstock.audit.records import Story
from penstock.catalog import segments
from penstock.catalog.records import Generation
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.video import keys, timeline
from penstock.video.errors import PenstockError
from penstock.video.lifecycle import FINAL_GENERATION_STATES, GenerationState
from penstock.video.timeline import Timeline, TimelineMalformed, TimelineState, Track

_SHOWN = (TimelineState.GROWING, TimelineState.FROZEN)


@dataclass(slots=True)
class _Seen:
    """The versions so far, lowest first. Of all of them the last two that matter are held."""

    last: Timeline | None = None
    shown: Timeline | None = None  # the last that was no tombstone


def check(story: Story, generation: Generation, store: ObjectStore) -> tuple[list[Finding], Timeline | None]:
    """The faults of the stored versions among themselves, and the last that players were shown."""
    found: list[Finding] = []
    seen = _Seen()
    for info in store.list(keys.timeline_prefix(story.video.id, generation.id)):
        try:
            found += _version(story, generation, info.key, store.get(info.key), seen)
        except ObjectMissing:
            continue  # collected since it was listed
        except PenstockError as error:
            found.append(_of(story, Fault.TIMELINE_MALFORMED, error.detail, info.key))
    found += _ends(story, generation, seen)
    return found, seen.shown


def compare(tx: Connection, story: Story, generation: Generation, shown: Timeline) -> Iterator[Finding]:
    """Whether what players were shown last is what the records name. Of a generation that has gone no record is kept."""
    if generation.state in FINAL_GENERATION_STATES:
        return
    recorded = {
        track.name: track for track in segments.timeline_tracks(tx, segments.tracks(tx, generation.id))
    }
    key = keys.timeline(story.video.id, generation.id, shown.version)
    for track in shown.tracks:
        known = recorded.get(track.name)
        if known is None or not _begins_with(known, track):
            what = f"Track {track.name} is published otherwise than it is recorded."
            yield _of(story, Fault.TIMELINE_DIFFERS, what, key)
        elif generation.state is GenerationState.PUBLISHED and known.segments != track.segments:
            what = (
                f"Track {track.name} has {len(known.segments)} segments, {len(track.segments)} are published."
            )
            yield _of(story, Fault.TIMELINE_DIFFERS, what, key)


def _version(story: Story, generation: Generation, key: str, data: bytes, seen: _Seen) -> Iterator[Finding]:
    version = timeline.decode(data)
    number = keys.timeline_version(key)
    names = (version.video_id, version.generation_id, version.version)
    if names != (story.video.id, generation.id, number):
        raise TimelineMalformed("It says of itself that it is another version.")
    timeline.check(version)
    if number > generation.timeline_version:
        what = f"The record knows versions up to {generation.timeline_version}."
        yield _of(story, Fault.TIMELINE_UNRECORDED, what, key)
    before = [each for each in (seen.last, seen.shown) if each is not None]
    seen.last = version
    try:
        for earlier in before if version.state in _SHOWN else before[:1]:
            timeline.check_successor(earlier, version)
    except TimelineMalformed as error:
        yield _of(story, Fault.TIMELINE_CHANGED, error.detail, key)
    if version.state in _SHOWN:
        seen.shown = version


def _ends(story: Story, generation: Generation, seen: _Seen) -> Iterator[Finding]:
    """Whether the last version says what the record says was told."""
    where = keys.timeline_prefix(story.video.id, generation.id)
    last = seen.last
    if generation.state is GenerationState.PUBLISHED and (
        last is None or last.state is not TimelineState.FROZEN
    ):
        yield _of(story, Fault.TIMELINE_MISSING, "It is published, and no frozen timeline is there.", where)
    elif generation.state is GenerationState.ENCODING and generation.playable_at is not None and last is None:
        yield _of(story, Fault.TIMELINE_MISSING, "It can be played, and no timeline is there.", where)
    elif generation.tombstone is not None and last is not None and last.state != generation.tombstone:
        what = f"Players were told that it is {generation.tombstone}; the last version is {last.state}."
        yield _of(story, Fault.TIMELINE_MISSING, what, where)


def _begins_with(known: Track, shown: Track) -> bool:
    return known.init == shown.init and known.segments[: len(shown.segments)] == shown.segments


def _of(story: Story, code: Fault, what: str, key: str) -> Finding:
    return Finding(code, what, f"outputs {key}", story.video.id)
