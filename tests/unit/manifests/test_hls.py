"""HLS playlists, read back by an independent parser and held against the timeline they were written from."""

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.manifests import hls
from penstock.video.timeline import Timeline, TimelineState, Track
from tests.unit.manifests import timelines as make

MICROSECOND = Fraction(1, 1_000_000)


def lines_of(text: str) -> list[str]:
    """The lines; a playlist ends with a line feed and knows no other line break."""
    assert text.endswith("\n")
    return text[:-1].split("\n")


def media_groups(playlist: Any, kind: str) -> dict[str, list[Any]]:
    """The renditions of one kind, by their group."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for item in playlist.media:
        if item.type == kind:
            groups[item.group_id].append(item)
    return groups


@given(make.timelines())
def test_every_segment_is_listed_with_its_url_and_time(timeline: Timeline) -> None:
    """Durations add up to each segment's own start within a microsecond, however long the video is."""
    for track in timeline.tracks:
        playlist = m3u8.loads(hls.media(timeline, track))
        assert [segment.uri for segment in playlist.segments] == [f"{s.number}.m4s" for s in track.segments]
        at = Fraction(0)
        for segment, parsed in zip(track.segments, playlist.segments, strict=True):
            assert abs(at - Fraction(segment.start, track.timescale)) <= MICROSECOND
            at += Fraction(str(parsed.duration)).limit_denominator(1_000_000)
            assert round(parsed.duration) <= playlist.target_duration
        assert playlist.media_sequence == 1
        assert playlist.segment_map[0].uri == "init.mp4"
        assert (playlist.playlist_type, playlist.is_endlist) == ("vod", True)


@given(make.timelines())
def test_keyframes_are_listed_as_byte_ranges_of_their_segments(timeline: Timeline) -> None:
    """An I-frame playlist has each keyframe once, inside its segment, and the same total time as the rung's."""
    for track in timeline.video_tracks:
        playlist = m3u8.loads(hls.iframes(timeline, track))
        assert playlist.is_i_frames_only
        frames = [(segment, frame) for segment in track.segments for frame in segment.keyframes]
        assert [(p.uri, p.byterange) for p in playlist.segments] == [
            (f"{segment.number}.m4s", f"{frame.length}@{frame.offset}") for segment, frame in frames
        ]
        total = sum(Fraction(str(p.duration)).limit_denominator(1_000_000) for p in playlist.segments)
        assert abs(total - track.end) <= MICROSECOND


@given(make.timelines(), st.integers(1, 6))
def test_a_later_version_only_appends_to_an_earlier_one(final: Timeline, steps: int) -> None:
    """While growing each playlist begins with the former, byte for byte; the end adds ENDLIST everywhere at once."""
    versions = make.growth(final, steps)
    for before, after in pairwise(versions):
        for old, new in zip(before.tracks, after.tracks, strict=True):
            for render in (hls.media, hls.iframes):
                former, later = render(before, old), render(after, new)
                assert "#EXT-X-ENDLIST" not in former
                if after.state is TimelineState.GROWING:
                    assert later.startswith(former)
                else:
                    body = former.partition("#EXT-X-MAP")[2]
                    assert later.partition("#EXT-X-MAP")[2].startswith(body)
                    assert later.endswith("#EXT-X-ENDLIST\n")


@given(make.timelines(), st.integers(1, 6))
def test_the_multivariant_playlist_does_not_change_while_growing(final: Timeline, steps: int) -> None:
    """Players load it once, so it promises the caps until everything is measured, and starts them at zero."""
    growing = [v for v in make.growth(final, steps) if v.state is TimelineState.GROWING]
    assert len({hls.multivariant(version) for version in growing}) == 1
    playlist = m3u8.loads(hls.multivariant(growing[0]))
    assert playlist.start.time_offset == 0
    for variant in playlist.playlists:
        video = final.track(variant.uri.partition("/")[0])
        assert video is not None
        heaviest = max((t.bandwidth for t in final.audio_tracks), default=0) if video.height else 0
        assert variant.stream_info.bandwidth == video.bandwidth + heaviest


@given(make.timelines())
def test_every_variant_names_what_exists(timeline: Timeline) -> None:
    """Each rung is a variant with its codecs, size and rate; each group has one default and no name twice."""
    playlist = m3u8.loads(hls.multivariant(timeline))
    groups = media_groups(playlist, "AUDIO")
    assert {v.uri for v in playlist.playlists if timeline.video_tracks} == {
        f"{t.name}/index.m3u8" for t in timeline.video_tracks
    }
    for variant in playlist.playlists:
        track = timeline.track(variant.uri.partition("/")[0])
        assert track is not None
        info = variant.stream_info
        assert info.codecs.split(",")[0] == track.codecs
        if track.width and track.frame_rate:
            assert info.resolution == (track.width, track.height)
            assert info.frame_rate == pytest.approx(float(track.frame_rate), abs=0.001)
        assert (info.audio in groups) == bool(groups)
        assert (info.subtitles == "captions") == bool(timeline.captions)
    for members in groups.values():
        assert [item.default for item in members].count("YES") == 1
        assert len({item.name for item in members}) == len(members)
        assert all(timeline.track(item.uri.partition("/")[0]) for item in members)
        assert all(item.autoselect == "YES" for item in members if item.default == "YES")
        chosen = [item.language for item in members if item.autoselect == "YES"]
        assert len(set(chosen)) == len(chosen)
    if groups:
        assert {item.uri for members in groups.values() for item in members} == {
            f"{t.name}/index.m3u8" for t in timeline.audio_tracks
        }
        assert len({tuple(item.name for item in members) for members in groups.values()}) == 1


def test_the_average_is_that_of_the_heaviest_track_whichever_has_the_peak() -> None:
    """Of two sound tracks one may have the highest peak and the other the highest average; both are promised."""
    peaky = make.audio(0, sizes=[90_000, 10_000, 10_000, 10_000, 10_000], default=True)
    even = make.audio(1, sizes=[60_000] * 5)
    [variant] = m3u8.loads(hls.multivariant(make.timeline([peaky, even]))).playlists
    info = variant.stream_info
    assert info.average_bandwidth == even.average_bandwidth() > peaky.average_bandwidth()
    assert info.bandwidth == peaky.peak_bandwidth(make.timeline([peaky]).target_duration)


@given(make.timelines())
def test_names_from_hostile_files_cannot_leave_their_attribute(timeline: Timeline) -> None:
    """Whatever labels and languages hold, each line is a known tag or a URL, and no control character is left."""
    for line in lines_of(hls.multivariant(timeline)):
        assert not any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in line)
        assert line.startswith(("#EXTM3U", "#EXT-X-")) or line.endswith("/index.m3u8")
        assert line.count('"') % 2 == 0
        assert not line.startswith("#EXT-X-ENDLIST")
    hls.multivariant(timeline).encode()


@given(make.timelines())
def test_measured_rates_cover_what_players_fetch(timeline: Timeline) -> None:
    """A frozen variant promises at least the average of its rung with the heaviest sound beside it."""
    playlist = m3u8.loads(hls.multivariant(timeline))
    for variant in playlist.playlists:
        track = timeline.track(variant.uri.partition("/")[0])
        assert track is not None
        info = variant.stream_info
        assert info.bandwidth >= info.average_bandwidth
        size = sum(s.size for s in track.segments)
        assert info.average_bandwidth >= Fraction(size * 8) / track.end
    for iframe in playlist.iframe_playlists:
        assert iframe.iframe_stream_info.bandwidth > 0


def test_stereo_and_surround_of_one_language_are_one_choice_in_two_groups() -> None:
    """A listener chooses English, the player chooses the layout; a language without surround stands in both groups."""
    tracks: list[Track] = [
        make.video(0),
        make.video(3),
        make.audio(0, language="en", label="Director", channels=2, default=True),
        make.audio(1, language="en", label="Director 5.1", channels=6),
        make.audio(2, language="fr", channels=2),
    ]
    playlist = m3u8.loads(hls.multivariant(make.timeline(tracks)))
    groups = media_groups(playlist, "AUDIO")
    assert [[item.name for item in items] for items in groups.values()] == [["Director", "fr"]] * 2
    assert {name: [(i.uri, i.channels) for i in items] for name, items in groups.items()} == {
        "audio-2": [("audio-0/index.m3u8", "2"), ("audio-2/index.m3u8", "2")],
        "audio-6": [("audio-1/index.m3u8", "6"), ("audio-2/index.m3u8", "2")],
    }
    assert [(p.uri, p.stream_info.audio) for p in playlist.playlists] == [
        ("240p/index.m3u8", "audio-2"),
        ("720p/index.m3u8", "audio-2"),
        ("240p/index.m3u8", "audio-6"),
        ("720p/index.m3u8", "audio-6"),
    ]


def test_a_single_audio_track_without_pictures_is_the_variant() -> None:
    """Audio alone plays from its own playlist; nothing beside it is offered."""
    playlist = m3u8.loads(hls.multivariant(make.timeline([make.audio(0)])))
    assert [(p.uri, p.stream_info.codecs) for p in playlist.playlists] == [
        ("audio-0/index.m3u8", "mp4a.40.2")
    ]
    assert not playlist.media
    assert not playlist.iframe_playlists


def test_several_audio_tracks_without_pictures_stay_a_choice() -> None:
    """The default is the variant's own playlist, and the others are offered beside it."""
    tracks = [make.audio(0, language="en"), make.audio(1, language="de", default=True)]
    playlist = m3u8.loads(hls.multivariant(make.timeline(tracks)))
    assert [(p.uri, p.stream_info.audio) for p in playlist.playlists] == [("audio-1/index.m3u8", "audio")]
    assert [(i.uri, i.default) for i in playlist.media] == [
        ("audio-0/index.m3u8", "NO"),
        ("audio-1/index.m3u8", "YES"),
    ]


def test_a_track_that_ended_without_any_segment_is_not_offered() -> None:
    """A playlist without a segment stops some players, and no segment will come."""
    tracks = [make.video(0), make.audio(0, durations=())]
    assert "audio-0" not in hls.multivariant(make.timeline(tracks))


@pytest.mark.parametrize("state", [TimelineState.GROWING, TimelineState.FROZEN])
def test_captions_are_one_complete_segment(state: TimelineState) -> None:
    """A captions file is whole from its publication on; its playlist says so and names its language."""
    item = make.captions("de", "Deutsch")
    timeline = make.timeline([make.video(0)], state=state, items=[item])
    master = m3u8.loads(hls.multivariant(timeline))
    assert [(i.uri, i.name, i.language) for i in master.media] == [("captions-de.m3u8", "Deutsch", "de")]
    playlist = m3u8.loads(hls.captions(timeline, item))
    assert [(s.uri, s.duration) for s in playlist.segments] == [("captions-de.vtt", 20.0)]
    assert playlist.is_endlist
    assert playlist.target_duration == 20


def test_two_hours_of_five_rungs_render_whole() -> None:
    """A long video has all of its 1800 segments in every rung's playlist."""
    timeline = make.timeline([make.video(rung, count=1800) for rung in range(5)])
    for track in timeline.tracks:
        assert len(lines_of(hls.media(timeline, track))) == 7 + 2 * 1800 + 1
    assert hls.multivariant(timeline).count("#EXT-X-STREAM-INF") == 5


def test_a_growing_track_that_is_complete_is_not_ended_before_the_others() -> None:
    """Audio is often finished long before the pictures; all playlists end together."""
    timeline = make.timeline([make.video(0), make.audio(0)], state=TimelineState.GROWING)
    done = replace(timeline.tracks[1], complete=True)
    timeline = replace(timeline, tracks=(timeline.tracks[0], done))
    assert "ENDLIST" not in hls.media(timeline, done)
