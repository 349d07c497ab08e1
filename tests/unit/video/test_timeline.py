import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.video import timeline
from penstock.video.timeline import (
    Artefact,
    Keyframe,
    Segment,
    Timeline,
    TimelineMalformed,
    TimelineState,
    Track,
    TrackKind,
)

text = st.text(st.characters(codec="utf-8"), max_size=12)
counts = st.integers(0, 2**40)
keyframes = st.lists(st.builds(Keyframe, counts, counts, counts), max_size=3).map(tuple)
artefact = st.builds(
    Artefact,
    name=text,
    key=text,
    size=counts,
    etag=text,
    media_type=text,
    language=st.none() | text,
    label=st.none() | text,
)


@st.composite
def runs(draw: st.DrawFn, min_size: int = 0) -> tuple[Segment, ...]:
    """Segments one after another from number 1 and time 0, written by a few attempts."""
    segments: list[Segment] = []
    start = 0
    for number in range(1, draw(st.integers(min_size, 8)) + 1):
        duration = draw(st.integers(1, 5))
        prefix = draw(st.sampled_from(["v/a.1/", "v/b.1/", "v/b.2/"]))
        segments.append(Segment(number, start, duration, draw(counts), draw(text), prefix, draw(keyframes)))
        start += duration
    return tuple(segments)


@st.composite
def track(draw: st.DrawFn, name: str = "240p", min_size: int = 0) -> Track:
    """One rung or audio track."""
    return Track(
        name=name,
        kind=draw(st.sampled_from(TrackKind)),
        codecs=draw(text),
        timescale=draw(st.integers(1, 4)),
        bandwidth=draw(counts),
        init=draw(artefact),
        segments=draw(runs(min_size)),
        complete=draw(st.booleans()),
        width=draw(st.none() | counts),
        height=draw(st.none() | counts),
        frame_rate=draw(st.none() | st.fractions(min_value=1, max_value=60)),
        language=draw(st.none() | text),
        label=draw(st.none() | text),
        channels=draw(st.none() | counts),
        default=draw(st.booleans()),
    )


@st.composite
def tracks(draw: st.DrawFn, min_size: int = 1) -> tuple[Track, ...]:
    """A few tracks with names of their own."""
    return tuple(draw(track(f"track-{n}")) for n in range(draw(st.integers(min_size, 3))))


timelines = st.builds(
    Timeline,
    video_id=text,
    generation_id=text,
    version=counts,
    state=st.sampled_from(TimelineState),
    published_ms=counts,
    first_published_ms=counts,
    planned_duration=st.fractions(min_value=0),
    target_duration=counts,
    tracks=tracks(0),
    artefacts=st.lists(artefact, max_size=2).map(tuple),
    captions=st.lists(artefact, max_size=2).map(tuple),
    error_code=st.none() | text,
)


def growing(
    tracks: tuple[Track, ...], version: int, state: TimelineState = TimelineState.GROWING
) -> Timeline:
    """A version with these tracks."""
    return Timeline(
        video_id="v",
        generation_id="g",
        version=version,
        state=state,
        published_ms=0,
        first_published_ms=0,
        planned_duration=Fraction(60),
        target_duration=4,
        tracks=tracks,
    )


def rung(*ends: int, complete: bool = False, name: str = "240p", timescale: int = 1) -> Track:
    """A track of segments that end at these ticks."""
    starts = (0, *ends)
    segments = tuple(
        Segment(n, starts[n - 1], end - starts[n - 1], 10, "e", "v/t.1/") for n, end in enumerate(ends, 1)
    )
    init = Artefact("init.mp4", "v/t.1/240p/init.mp4", 700, "e", "video/mp4")
    return Track(name, TrackKind.VIDEO, "avc1", timescale, 400_000, init, segments, complete)


@given(timelines)
def test_what_is_written_is_read(value: Timeline) -> None:
    """The JSON form holds the whole value, and equal values have equal bytes."""
    data = timeline.encode(value)
    assert timeline.decode(data) == value
    assert timeline.encode(timeline.decode(data)) == data


@given(timelines, st.data())
def test_a_damaged_timeline_is_called_that(value: Timeline, data: st.DataObject) -> None:
    """A member that is missing or of another kind gives this error and no other."""
    document = json.loads(timeline.encode(value))
    name = data.draw(st.sampled_from(sorted(document)))
    del document[name]
    with pytest.raises(TimelineMalformed):
        timeline.decode(json.dumps(document).encode())


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | text, st.lists).map(lambda v: json.dumps(v).encode())
)
def test_other_bytes_are_no_timeline(data: bytes) -> None:
    """Whatever lies under a timeline's key, the reader survives it."""
    with pytest.raises(TimelineMalformed):
        timeline.decode(data)


def test_a_later_format_asks_for_an_update() -> None:
    """An old program does not guess at what a new one wrote."""
    document = json.loads(timeline.encode(growing((rung(4),), 1))) | {"format": timeline.FORMAT + 1}
    with pytest.raises(TimelineMalformed, match="update"):
        timeline.decode(json.dumps(document).encode())


def test_two_hours_of_five_rungs_stay_small() -> None:
    """A version is written every few seconds: its size is that of its facts."""
    segments = tuple(
        Segment(
            n,
            n * 96_000,
            96_000,
            1_500_000 + n,
            f"{n:032x}",
            f"v/{n // 4:026}.1/",
            (Keyframe(700, 40_000, 48_000),) * 2,
        )
        for n in range(1, 1801)
    )
    five = tuple(replace(rung(name=f"{n}p"), segments=segments) for n in range(5))
    assert len(timeline.encode(growing(five, 1))) < 1_250_000


@given(tracks())
def test_a_cut_covers_the_prefix_and_changes_nothing_else(value: tuple[Track, ...]) -> None:
    """Every track keeps the beginning of its run, reaches the prefix where it has so much, and cutting again changes nothing."""
    end = timeline.prefix(value)
    after = timeline.cut(value)
    for whole, kept in zip(value, after, strict=True):
        assert kept.segments == whole.segments[: len(kept.segments)]
        assert kept.end >= min(end, whole.end)
        assert all(Fraction(s.start, kept.timescale) < end for s in kept.segments)
        assert kept.complete == (whole.complete and kept.segments == whole.segments)
        assert replace(kept, segments=whole.segments, complete=whole.complete) == whole
    assert timeline.cut(after) == after


@given(tracks())
def test_the_prefix_is_what_all_growing_tracks_reach(value: tuple[Track, ...]) -> None:
    """A complete track holds nothing back; once all are complete the longest counts."""
    end = timeline.prefix(value)
    limiting = [item for item in value if not item.complete]
    assert all(item.end >= end for item in limiting)
    assert any(item.end == end for item in limiting or value)
    if not limiting:
        assert all(item.end <= end for item in value)


@given(st.data())
def test_what_was_published_is_only_lengthened(data: st.DataObject) -> None:
    """However tracks grow between two versions, the cut of the later continues the cut of the earlier."""
    whole = [data.draw(track(f"track-{n}", min_size=1)) for n in range(data.draw(st.integers(1, 3)))]
    before: list[Track] = []
    after: list[Track] = []
    for item in whole:
        late = data.draw(st.integers(1, len(item.segments)))
        early = data.draw(st.integers(1, late))
        for versions, count in ((before, early), (after, late)):
            complete = count == len(item.segments) and item.complete
            versions.append(replace(item, segments=item.segments[:count], complete=complete))
    first, second = growing(timeline.cut(before), 1), growing(timeline.cut(after), 2)
    timeline.check(first)
    timeline.check_successor(first, second)
    assert second.prefix() >= first.prefix()


@given(runs(), st.randoms(use_true_random=False), st.sets(st.integers(1, 8)))
def test_the_contiguous_run_ends_at_the_first_gap(
    run: tuple[Segment, ...], random: object, gone: set[int]
) -> None:
    """Segments in any order give the run from number 1 up to what is missing."""
    present = [segment for segment in run if segment.number not in gone]
    random.shuffle(present)  # type: ignore[attr-defined]
    first_gap = min([number for number in gone if number <= len(run)], default=len(run) + 1)
    assert timeline.contiguous(present) == run[: first_gap - 1]


def test_a_segment_at_another_time_does_not_join() -> None:
    """A number alone makes no run: the times must meet."""
    good = rung(4, 8, 12).segments
    moved = replace(good[1], start=5)
    assert timeline.contiguous([good[0], moved, good[2]]) == good[:1]
    with pytest.raises(TimelineMalformed, match="hole"):
        timeline.check(growing((replace(rung(), segments=(good[0], moved)),), 1))


def test_a_timeline_with_a_hole_is_refused() -> None:
    """Nothing that skips a segment is ever published."""
    whole = rung(4, 8, 12)
    timeline.check(growing((whole,), 1))
    for segments in (whole.segments[1:], (whole.segments[0], whole.segments[2])):
        with pytest.raises(TimelineMalformed):
            timeline.check(growing((replace(whole, segments=segments),), 1))


def test_only_a_complete_timeline_is_frozen() -> None:
    """A frozen timeline has tracks, and all of each."""
    frozen = TimelineState.FROZEN
    timeline.check(growing((rung(4, complete=True),), 1, frozen))
    for bad in ((rung(4),), (rung(4, complete=True), rung(4, name="480p")), ()):
        with pytest.raises(TimelineMalformed):
            timeline.check(growing(bad, 1, frozen))


BEFORE = growing((rung(4, 8),), 3)


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        (replace(BEFORE, version=3), "come after"),
        (replace(BEFORE, version=4, video_id="other"), "different generations"),
        (replace(BEFORE, version=4, generation_id="other"), "different generations"),
        (replace(BEFORE, version=4, target_duration=6), "target duration"),
        (replace(BEFORE, version=4, tracks=(*BEFORE.tracks, rung(4, 8, name="480p"))), "set of tracks"),
        (replace(BEFORE, version=4, tracks=()), "set of tracks"),
        (replace(BEFORE, version=4, tracks=(rung(4),)), "continue"),
        (replace(BEFORE, version=4, tracks=(rung(4, 9),)), "continue"),
        (
            replace(BEFORE, version=4, tracks=(replace(rung(4, 8), init=replace(rung().init, etag="x")),)),
            "continue",
        ),
    ],
)
def test_a_version_that_contradicts_is_refused(after: Timeline, problem: str) -> None:
    """Players hold on to what they were told: rungs, times, bytes and init segments do not change under them."""
    with pytest.raises(TimelineMalformed, match=problem):
        timeline.check_successor(BEFORE, after)


def test_a_tombstone_may_follow_anything() -> None:
    """Failure and deletion end a timeline of any length, a frozen one too."""
    frozen = replace(BEFORE, state=TimelineState.FROZEN)
    for state in (TimelineState.FAILED, TimelineState.DELETED):
        for before in (BEFORE, frozen, replace(BEFORE, state=TimelineState.FAILED)):
            timeline.check_successor(before, growing((), 4, state))


def test_only_a_tombstone_follows_an_end() -> None:
    """A frozen timeline does not grow, and a deleted one neither comes back nor fails."""
    for state in (TimelineState.FROZEN, TimelineState.DELETED):
        with pytest.raises(TimelineMalformed, match="Nothing follows"):
            timeline.check_successor(replace(BEFORE, state=state), replace(BEFORE, version=4))
    with pytest.raises(TimelineMalformed, match="Nothing follows"):
        timeline.check_successor(
            replace(BEFORE, state=TimelineState.DELETED), growing((), 4, TimelineState.FAILED)
        )


def test_a_retry_goes_on_after_a_failure() -> None:
    """A generation that is retried under the same plan publishes again: failure is the one end that can be undone."""
    failed = growing((), 4, TimelineState.FAILED)
    timeline.check_successor(failed, replace(BEFORE, version=5))
    timeline.check_successor(failed, replace(BEFORE, version=5, state=TimelineState.FROZEN))


def test_play_begins_when_every_track_has() -> None:
    """One track without its first segment holds all back, unless nothing of it will come."""
    empty = rung(name="audio-0")
    assert not timeline.playable(())
    assert not timeline.playable((rung(4), empty))
    assert timeline.playable((rung(4), rung(4, name="audio-0")))
    assert timeline.playable((rung(4), replace(empty, complete=True)))
    assert not timeline.playable((replace(empty, complete=True),))


def test_parts_are_found_by_name_and_number() -> None:
    """Tracks by name, segments by number, artefacts and captions by the last part of their URL."""
    audio = replace(rung(4, name="audio-0"), kind=TrackKind.AUDIO)
    poster = Artefact("poster.jpg", "k", 1, "e", "image/jpeg")
    captions = Artefact("captions-en.vtt", "k", 1, "e", "text/vtt", "en")
    value = replace(growing((rung(4, 8), audio), 1), artefacts=(poster,), captions=(captions,))
    assert value.track("audio-0") is audio
    assert value.track("999p") is None
    assert (value.video_tracks, value.audio_tracks) == ((value.tracks[0],), (audio,))
    assert (value.artefact("poster.jpg"), value.artefact("captions-en.vtt")) == (poster, captions)
    assert value.artefact("other") is None
    found = value.tracks[0].segment(2)
    assert found is not None
    assert value.tracks[0].key(found) == "v/t.1/240p/00000002.m4s"
    assert [value.tracks[0].segment(n) for n in (0, 3, -1)] == [None, None, None]
    assert value.prefix() == 4


def test_the_average_rate_counts_every_byte() -> None:
    """Bits over seconds, rounded up; the cap of the encoder where nothing is published."""
    assert rung(4, 8, timescale=2).average_bandwidth() == 40  # 20 bytes in 4 s
    assert rung().average_bandwidth() == 400_000
