"""The DASH manifest, read back by an independent parser and held against the timeline it was written from."""

from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mpegdash.parser import MPEGDASHParser

from penstock.manifests import dash
from penstock.video.timeline import Timeline, TimelineState
from tests.unit.manifests import timelines as make

DAY = 24 * 3600


def representations(text: str) -> dict[str, Any]:
    """Each representation by its id, with its adaptation set beside it."""
    found: dict[str, Any] = {}
    for adaptation_set in MPEGDASHParser.parse(text).periods[0].adaptation_sets or []:
        for representation in adaptation_set.representations:
            found[representation.id] = (adaptation_set, representation)
    return found


def addressed(representation: Any) -> list[tuple[str, int, int]]:
    """URL, start and duration in ticks of each segment, unrolled as a player does."""
    template = representation.segment_templates[0]
    result, number, at = [], template.start_number, 0
    for entry in template.segment_timelines[0].Ss:
        at = entry.t if entry.t is not None else at
        for _ in range((entry.r or 0) + 1):
            result.append((template.media.replace("$Number$", str(number)), at, entry.d))
            number, at = number + 1, at + entry.d
    return result


def seconds(duration: str) -> Fraction:
    """An ``xs:duration`` of seconds."""
    return Fraction(duration.removeprefix("PT").removesuffix("S"))


@given(make.timelines())
def test_every_segment_is_addressed_with_its_url_and_time(timeline: Timeline) -> None:
    """Unrolling the runs gives exactly the timeline's segments, tick for tick."""
    found = representations(dash.mpd(timeline))
    for track in timeline.tracks:
        _, representation = found[track.name]
        assert addressed(representation) == [
            (f"{track.name}/{s.number}.m4s", s.start, s.duration) for s in track.segments
        ]
        template = representation.segment_templates[0]
        assert template.timescale == track.timescale
        assert template.initialization == f"{track.name}/init.mp4"
        assert template.presentation_time_offset is None
        assert representation.codecs == track.codecs


@given(make.timelines(), st.integers(1, 6))
def test_a_later_version_only_lengthens_an_earlier_one(final: Timeline, steps: int) -> None:
    """Segments keep their place, the availability start and the representations never move."""
    versions = make.growth(final, steps)
    for before, after in pairwise(versions):
        old, new = representations(dash.mpd(before)), representations(dash.mpd(after))
        assert list(old) == list(new)
        for name in (track.name for track in final.tracks):
            earlier, later = addressed(old[name][1]), addressed(new[name][1])
            assert later[: len(earlier)] == earlier
    starts = {
        MPEGDASHParser.parse(dash.mpd(v)).availability_start_time
        for v in versions
        if v.state is TimelineState.GROWING
    }
    assert len(starts) <= 1


@given(make.timelines())
def test_names_from_hostile_files_cannot_leave_their_attribute(timeline: Timeline) -> None:
    """Whatever labels and languages hold, the XML is well-formed and has the sets of the timeline, no more."""
    text = dash.mpd(timeline)
    mpd = MPEGDASHParser.parse(text.encode().decode())
    sets = mpd.periods[0].adaptation_sets
    expected = bool(timeline.video_tracks) + len(timeline.audio_tracks) + len(timeline.captions)
    assert len(sets) == expected
    assert all(s.lang is None or s.lang.replace("-", "").isalnum() for s in sets)


def test_a_growing_presentation_has_been_available_for_longer_than_it_is() -> None:
    """It is live to a player, yet wherever the clock stands that day, play begins at the first segment."""
    timeline = make.timeline([make.video(0), make.audio(0)], state=TimelineState.GROWING)
    mpd = MPEGDASHParser.parse(dash.mpd(timeline))
    assert mpd.type == "dynamic"
    start = datetime.fromisoformat(mpd.availability_start_time).timestamp()
    lead = timeline.first_published_ms / 1000 - start
    assert lead >= timeline.planned_duration
    assert seconds(mpd.suggested_presentation_delay) >= lead + DAY
    assert seconds(mpd.minimum_update_period) == 2
    assert datetime.fromisoformat(mpd.publish_time).timestamp() * 1000 == timeline.published_ms
    assert mpd.media_presentation_duration is None


def test_the_availability_start_does_not_follow_a_corrected_duration() -> None:
    """The scan may shorten what the header promised; players that are under way must not see time move."""
    timeline = make.timeline([make.video(0)], state=TimelineState.GROWING)
    longer = replace(timeline, planned_duration=Fraction(7200))
    starts = {MPEGDASHParser.parse(dash.mpd(t)).availability_start_time for t in (timeline, longer)}
    assert len(starts) == 1


def test_a_frozen_presentation_is_static_and_has_its_length() -> None:
    """Nothing live is left once everything is there."""
    timeline = make.timeline([make.video(0, rate=Fraction(24000, 1001), count=3, last=7)])
    mpd = MPEGDASHParser.parse(dash.mpd(timeline))
    assert mpd.type == "static"
    assert abs(seconds(mpd.media_presentation_duration) - timeline.planned_duration) <= Fraction(1, 10**6)
    assert (mpd.availability_start_time, mpd.minimum_update_period) == (None, None)


def test_audio_sets_say_language_channels_and_which_is_the_main_one() -> None:
    """A player can offer the languages and start with the default."""
    tracks = [
        make.video(0),
        make.audio(0, language="en", channels=2),
        make.audio(1, language="de", label="Kommentar <&\"'>", channels=6, default=True),
    ]
    text = dash.mpd(make.timeline(tracks))
    found = representations(text)
    described = {}
    for name in ("audio-0", "audio-1"):
        adaptation_set, representation = found[name]
        channels = representation.audio_channel_configurations[0].value
        described[name] = (adaptation_set.lang, channels, adaptation_set.roles[0].value)
        assert adaptation_set.segment_alignment
        assert adaptation_set.start_with_sap == 1
    assert described == {"audio-0": ("en", "2", "alternate"), "audio-1": ("de", "6", "main")}
    assert "<Label>Kommentar &lt;&amp;''&gt;</Label>" in text


def test_codec_families_are_sets_of_their_own() -> None:
    """A player switches within a set only, and not every device decodes every family."""
    tracks = [make.video(0), make.video(1), replace(make.video(2), codecs="av01.0.04M.08")]
    found = representations(dash.mpd(make.timeline(tracks)))
    sets = {name: adaptation_set.id for name, (adaptation_set, _) in found.items()}
    assert sets["240p"] == sets["360p"] != sets["480p"]


def test_captions_are_a_file_of_their_own() -> None:
    """A captions file is named directly, with its language."""
    timeline = make.timeline([make.video(0)], items=[make.captions("de", "Deutsch")])
    adaptation_set, representation = representations(dash.mpd(timeline))["captions-de"]
    assert (adaptation_set.lang, adaptation_set.mime_type) == ("de", "text/vtt")
    assert representation.base_urls[0].base_url_value == "captions-de.vtt"


def test_two_hours_of_five_rungs_stay_small() -> None:
    """Segments of one length are one entry, so the manifest of a long video is as short as that of a short one."""
    timeline = make.timeline([make.video(rung, count=1800, last=3) for rung in range(5)])
    text = dash.mpd(timeline)
    assert all(len(addressed(item[1])) == 1800 for item in representations(text).values())
    assert len(text) < 8_000
