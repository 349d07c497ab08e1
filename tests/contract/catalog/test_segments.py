from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.catalog import Catalog, artefacts, segments
from penstock.catalog.records import ArtefactRecord, NewTrack
from penstock.video import keys, timeline
from penstock.video.errors import NotFound, ToolFailed
from penstock.video.timeline import TrackKind
from tests.contract.catalog import scenes

AUDIO = 192_000  # ticks of four seconds


def record(catalog: Catalog, generation_id: str, track: str, *numbers: int, prefix: str = "v/t.1/") -> int:
    """Commits segments of equal length."""
    duration = AUDIO if track == "audio-0" else 48_000
    new = [scenes.segment(track, number, duration=duration, prefix=prefix) for number in numbers]
    with catalog.write() as tx:
        return segments.record(tx, generation_id, new, inits={track: scenes.init(track, prefix)})


def test_the_unbroken_run_grows_as_gaps_close(catalog: Catalog) -> None:
    """A segment that stands alone counts once those before it are there."""
    generation = scenes.encoding(catalog).generation
    runs = []
    for numbers in ([3], [1], [5, 4], [2], [7, 6]):
        record(catalog, generation.id, "240p", *numbers)
        with catalog.read() as tx:
            track = segments.tracks(tx, generation.id)[0]
        runs.append((track.contiguous, float(track.end)))
    assert runs == [(0, 0), (1, 4), (1, 4), (5, 20), (7, 28)]


def test_the_prefix_is_the_least_end_over_tracks_that_still_grow(catalog: Catalog) -> None:
    """Play reaches as far as rungs and audio together; a complete track holds nothing back."""
    generation = scenes.encoding(catalog).generation

    def now() -> tuple[float, bool]:
        with catalog.read() as tx:
            tracks = segments.tracks(tx, generation.id)
        return float(segments.prefix(tracks)), segments.playable(tracks)

    assert now() == (0, False)
    record(catalog, generation.id, "240p", 1, 2, 3)
    assert now() == (0, False)
    record(catalog, generation.id, "audio-0", 1)
    assert now() == (4, True)
    with catalog.write() as tx:
        segments.expect(tx, generation.id, {"audio-0": 1})
    assert now() == (12, True)
    with catalog.write() as tx:
        segments.expect(tx, generation.id, {"240p": 3})
    assert now() == (12, True)


def test_a_track_is_complete_when_all_expected_are_there(catalog: Catalog) -> None:
    """Whether the last segment or the number comes last makes no difference."""
    generation = scenes.encoding(catalog).generation
    with catalog.write() as tx:
        segments.expect(tx, generation.id, {"240p": 2})
    record(catalog, generation.id, "240p", 2)
    record(catalog, generation.id, "audio-0", 1, 2)
    with catalog.write() as tx:
        assert [track.complete for track in segments.tracks(tx, generation.id)] == [False, False]
        segments.expect(tx, generation.id, {"audio-0": 2})
    record(catalog, generation.id, "240p", 1)
    with catalog.read() as tx:
        assert [track.complete for track in segments.tracks(tx, generation.id)] == [True, True]


def test_the_first_attempt_recorded_stays(catalog: Catalog) -> None:
    """Another attempt's segments of the same numbers change nothing; only those it adds are new."""
    generation = scenes.encoding(catalog).generation
    assert record(catalog, generation.id, "240p", 1, 2, prefix="v/t.1/") == 2
    assert record(catalog, generation.id, "240p", 1, 2, 3, prefix="v/t.2/") == 1
    with catalog.read() as tx:
        found = segments.listing(tx, generation.id, "240p")
        assert segments.listing(tx, generation.id, "240p", after=1, until=2) == found[1:2]
        assert segments.totals(tx, generation.id) == {"240p": (3, 3006)}
    assert [item.prefix for item in found] == ["v/t.1/", "v/t.1/", "v/t.2/"]
    assert found[0] == scenes.segment("240p", 1)


def test_an_init_segment_that_differs_is_refused(catalog: Catalog) -> None:
    """Segments that would not join are not recorded."""
    generation = scenes.encoding(catalog).generation
    record(catalog, generation.id, "240p", 1)
    other = scenes.init("240p", "v/t.2/", content="different")
    with pytest.raises(ToolFailed) as raised, catalog.write() as tx:
        segments.record(tx, generation.id, [scenes.segment("240p", 2)], inits={"240p": other})
    assert raised.value.code == "init_mismatch"
    with catalog.read() as tx:
        assert len(segments.listing(tx, generation.id, "240p")) == 1


def test_an_unknown_track_is_refused(catalog: Catalog) -> None:
    """Only tracks of the plan have segments."""
    generation = scenes.encoding(catalog).generation
    with pytest.raises(NotFound), catalog.write() as tx:
        segments.record(tx, generation.id, [], inits={"999p": scenes.init("999p")})
    with pytest.raises(NotFound), catalog.write() as tx:
        segments.expect(tx, generation.id, {"999p": 1})


def test_recorded_tracks_make_a_timeline(catalog: Catalog) -> None:
    """The published form has each track's unbroken run, with keys that lead to the objects."""
    generation = scenes.encoding(catalog).generation
    record(catalog, generation.id, "240p", 1, 2, 4)
    with catalog.read() as tx:
        known = segments.tracks(tx, generation.id)
        [rung] = segments.timeline_tracks(tx, known)  # the audio has no init segment yet
    assert [item.number for item in rung.segments] == [1, 2]
    assert rung.key(rung.segments[1]) == keys.media_segment("v/t.1/", "240p", 2)
    assert rung.init.key == keys.init_segment("v/t.1/", "240p")
    assert rung.segments[0].etag == scenes.sha256("240p/1")[:32]
    assert rung.segments[0].keyframes == (
        timeline.Keyframe(0, 10, 24_000),
        timeline.Keyframe(500, 10, 24_000),
    )
    assert (rung.codecs, rung.timescale, rung.frame_rate) == ("avc1.64001f", 12_000, Fraction(24))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_rows_and_timeline_agree_about_the_prefix(catalog: Catalog, data: st.DataObject) -> None:
    """However segments come in, the prefix derived from rows is that of the timeline made from them."""
    generation = scenes.encoding(catalog).generation
    for _ in range(data.draw(st.integers(1, 4), label="commits")):
        name = data.draw(st.sampled_from(["240p", "audio-0"]), label="track")
        numbers = data.draw(st.lists(st.integers(1, 6), unique=True, max_size=4), label="numbers")
        record(catalog, generation.id, name, *numbers)
    totals = data.draw(
        st.fixed_dictionaries({}, optional={"240p": st.integers(4, 6), "audio-0": st.integers(4, 6)})
    )
    with catalog.write() as tx:
        segments.expect(tx, generation.id, totals)
        rows = segments.tracks(tx, generation.id)
        tracks = segments.timeline_tracks(tx, rows)
    if len(tracks) == len(rows):
        assert segments.prefix(rows) == timeline.prefix(tracks)
        assert segments.playable(rows) == timeline.playable(tracks)
    for track in tracks:
        assert timeline.contiguous(track.segments) == track.segments


def test_the_collector_is_told_what_is_referred_to(catalog: Catalog) -> None:
    """Segments, init segments and artefacts of an attempt are spared by name; an attempt that published nothing is not."""
    generation = scenes.encoding(catalog).generation
    prefix = keys.attempt_prefix(generation.video_id, "t_%", 1)
    record(catalog, generation.id, "240p", 1, prefix=prefix)
    poster = ArtefactRecord(
        generation_id=generation.id,
        name="poster.jpg",
        kind="poster",
        key=keys.artefact(prefix, "poster.jpg"),
        size=10,
        sha256=scenes.sha256("poster"),
        media_type="image/jpeg",
    )
    with catalog.write() as tx:
        artefacts.record(tx, poster)
        assert segments.referenced_keys(tx, prefix) == {
            keys.media_segment(prefix, "240p", 1),
            keys.init_segment(prefix, "240p"),
            poster.key,
        }
        assert segments.referenced_keys(tx, keys.attempt_prefix(generation.video_id, "t_%", 2)) == set()
        assert segments.referenced_keys(tx, keys.attempt_prefix(generation.video_id, "txx", 1)) == set()


def test_a_later_artefact_replaces_the_earlier(catalog: Catalog) -> None:
    """Captions made again are the captions; the timeline names them by their new digest."""
    generation = scenes.encoding(catalog).generation
    first, second = (
        ArtefactRecord(
            generation_id=generation.id,
            name="captions-en.vtt",
            kind="captions",
            key=f"v/t.{attempt}/captions-en.vtt",
            size=attempt,
            sha256=scenes.sha256(str(attempt)),
            media_type="text/vtt",
            language="en",
        )
        for attempt in (1, 2)
    )
    with catalog.write() as tx:
        artefacts.record(tx, first)
        artefacts.record(tx, second)
        assert artefacts.listing(tx, generation.id) == [second]
    named = artefacts.as_timeline(second)
    assert (named.name, named.etag, named.language) == ("captions-en.vtt", scenes.sha256("2")[:32], "en")


def test_tracks_are_recorded_once(catalog: Catalog) -> None:
    """Adding a track that exists leaves it as it is."""
    generation = scenes.encoding(catalog).generation
    again = NewTrack(name="240p", kind=TrackKind.VIDEO, position=9, timescale=1, bandwidth=1)
    with catalog.write() as tx:
        before = segments.tracks(tx, generation.id)
        segments.add_tracks(tx, generation.id, [again])
        assert segments.tracks(tx, generation.id) == before
