from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.video.media import Chapter, Colour, Scan, SourceMedia, VideoStream
from penstock.video.plan import (
    Plan,
    Profile,
    ScanResult,
    Settings,
    chunks,
    duration,
    plan,
    total_frames,
)
from tests.unit.video.sources import picture, sound, source, subtitles

NTSC = Fraction(30000, 1001)


def planned(media: SourceMedia | None = None, settings: Settings | None = None) -> Plan:
    """The plan of the ordinary film, or of another source."""
    return plan(media or source(), settings or Settings(fingerprint="build"))


def scanned(
    frames: int,
    *,
    rate: Fraction = Fraction(25),
    keyframes: int = 50,
    start: int = 0,
    truncated: bool = False,
) -> ScanResult:
    """A constant-rate stream whose clock ticks once per frame, with a keyframe every so often."""
    return ScanResult(
        time_base=1 / rate,
        keyframes=tuple(range(start, start + frames, keyframes)),
        frames=frames,
        last=start + frames - 1,
        end=start + frames,
        truncated=truncated,
    )


def test_an_ordinary_film_gets_the_usual_plan() -> None:
    """Two seconds between keyframes, four per segment, whole ticks per frame, all rungs, stereo sound."""
    made = planned()
    assert made.grid is not None
    assert made.grid.rate == 25
    assert (made.grid.timescale, made.grid.frame_ticks) == (10_000, 400)
    assert (made.grid.gop_frames, made.grid.segment_frames) == (50, 100)
    assert [rung.name for rung in made.rungs] == ["240p", "360p", "480p", "720p"]
    assert [(track.name, track.channels, track.default) for track in made.audio] == [("audio-0", 2, True)]
    assert made.target_duration == 4
    assert made.origin == 0
    assert made.duration == 600


@pytest.mark.parametrize("rate", [Fraction(25, 2), Fraction(15), NTSC, Fraction(48), Fraction(90000, 3001)])
def test_a_constant_rate_is_kept(rate: Fraction) -> None:
    """Whatever it is, up to 60: resampling a steady rate makes it stutter."""
    made = planned(source(video=(picture(constant_rate=rate),)))
    assert made.grid is not None
    assert made.grid.rate == rate
    assert made.grid.timescale >= 10_000
    assert made.grid.frame_ticks * rate == made.grid.timescale


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (120, Fraction(60)),
        (Fraction(120000, 1001), Fraction(60000, 1001)),
        (240, Fraction(60)),
        (1, Fraction(8)),
    ],
)
def test_extreme_rates_are_halved_or_doubled(found: Fraction, kept: Fraction) -> None:
    """So that every source frame still falls exactly on the grid."""
    made = planned(source(video=(picture(constant_rate=Fraction(found)),)))
    assert made.grid is not None
    assert made.grid.rate == kept


@pytest.mark.parametrize(
    ("typical", "average", "snapped"),
    [
        (Fraction(2998, 100), 20, NTSC),
        (Fraction(31), 29, Fraction(30)),
        (None, 24, Fraction(24)),
        (None, None, 25),
    ],
)
def test_a_varying_rate_snaps_to_a_family(typical: Fraction, average: Fraction, snapped: Fraction) -> None:
    """The median interval decides, then the header's average, then convention."""
    stream = picture(constant_rate=None, typical_rate=typical, average_rate=average)
    made = planned(source(video=(stream,)))
    assert made.grid is not None
    assert made.grid.rate == snapped


def test_all_tracks_share_the_earliest_start_as_zero() -> None:
    """Pictures that start later than the sound keep their distance, to the nearest frame."""
    late = picture(start=Fraction(3))
    made = planned(source(video=(late,), audio=(sound(start=Fraction(1, 2)),)))
    assert made.grid is not None
    assert made.origin == Fraction(1, 2)
    assert made.grid.video_origin == 3 - Fraction(63, 25)  # 2.5 s are 62.5 frames; halves round up
    assert abs(made.grid.video_origin - made.origin) <= 1 / made.grid.rate / 2


def test_a_constant_rate_source_falls_exactly_on_the_grid_whatever_the_sound_does() -> None:
    """Half a frame between the tracks must not make every picture a coin toss."""
    made = planned(source(audio=(sound(start=Fraction(-1, 50)),)))
    assert made.grid is not None
    assert ((Fraction(0) - made.grid.video_origin) * made.grid.rate).denominator == 1


def test_surround_sound_gets_a_stereo_track_and_one_of_its_own() -> None:
    """Names count through, language and title are kept, labels differ, one is the default."""
    media = source(
        audio=(
            sound(index=1, channels=6, language="ger", title="Kino"),
            sound(index=2, language="eng", default=True),
            sound(index=3, language="eng"),
        )
    )
    made = planned(media).audio
    assert [(t.name, t.stream, t.channels, t.language, t.label, t.default) for t in made] == [
        ("audio-0", 1, 2, "de", "Kino", False),
        ("audio-1", 1, 6, "de", "Kino 5.1", False),
        ("audio-2", 2, 2, "en", "en", True),
        ("audio-3", 3, 2, "en", "en (2)", False),
    ]


def test_text_subtitles_become_captions_and_pictures_of_text_do_not() -> None:
    """Captions are numbered by themselves."""
    media = source(
        subtitles=(subtitles(index=2, text=False, codec="dvd_subtitle"), subtitles(index=3, language="fre"))
    )
    assert [(c.name, c.stream, c.language) for c in planned(media).captions] == [("captions-0", 3, "fr")]


def test_chapters_count_from_the_videos_zero() -> None:
    """What lies before it is cut or dropped."""
    media = source(
        video=(picture(start=Fraction(10)),),
        audio=(),
        chapters=(
            Chapter(Fraction(0), Fraction(5), "before"),
            Chapter(Fraction(5), Fraction(15), "across"),
            Chapter(Fraction(15), Fraction(20), "after"),
        ),
    )
    assert planned(media).chapters == (
        Chapter(Fraction(0), Fraction(5), "across"),
        Chapter(Fraction(5), Fraction(10), "after"),
    )


def test_sound_alone_has_a_plan_without_pictures() -> None:
    """No grid, no rungs, no poster, no chunks."""
    made = planned(source(video=()))
    assert (made.grid, made.video, made.rungs, made.poster) == (None, None, (), None)
    assert chunks(made, None) == ()
    assert chunks(made, replace(scanned(100), time_base=Fraction(1, 10))) == ()
    assert duration(made, replace(scanned(100), time_base=Fraction(1, 10))) == 10


def test_a_still_is_held_for_one_segment() -> None:
    """One picture becomes four seconds of video, so that a player has something to play."""
    stream = picture(constant_rate=None, typical_rate=None, duration=None, header_frames=None)
    made = planned(source(video=(stream,), audio=(), still=True, duration=None))
    (only,) = chunks(made, scanned(1))
    assert (only.frames, only.segments, only.last) == (100, 1, True)


def test_one_frame_is_a_video_too() -> None:
    """A file of a single frame has one chunk of one frame."""
    stream = picture(constant_rate=None, typical_rate=None, duration=Fraction(1, 25), header_frames=1)
    made = planned(source(video=(stream,), audio=(), duration=Fraction(1, 25)))
    assert chunks(made, None) == ()
    (only,) = chunks(made, scanned(1))
    assert (only.first_frame, only.frames, only.segments, only.last) == (0, 1, 1, True)


def test_a_frame_is_shown_for_a_frame_even_if_its_packet_claims_less() -> None:
    """Matroska and FLV write a tick for what they do not know."""
    made = planned()
    scan = ScanResult(Fraction(1, 1000), (0,), 25, last=960, end=961, truncated=False)
    assert total_frames(made, scan) == 25
    assert duration(made, scan) == 1


@pytest.mark.parametrize(
    ("change", "early"),
    [
        ({}, True),
        ({"truncated": True}, False),
        ({"video": (picture(duration=Fraction(5), header_frames=125),)}, True),
        ({"video": (picture(duration=Fraction(5), header_frames=None),)}, False),
        ({"video": (picture(duration=None, header_frames=None),), "duration": None}, False),
    ],
)
def test_the_first_chunk_waits_for_the_scan_where_the_header_is_doubtful(
    change: dict[str, object], early: bool
) -> None:
    """A believable header makes the video playable sooner; a doubtful one must not make a chunk fail."""
    made = planned(source(**change))
    assert bool(chunks(made, None)) is early


def test_the_first_chunk_is_the_same_before_and_after_the_scan() -> None:
    """So its task need not know whether the scan is done."""
    made = planned()
    assert chunks(made, None) == chunks(made, scanned(15000))[:1]


def test_a_lying_header_moves_the_end_and_nothing_else() -> None:
    """The scan's end counts."""
    made = planned()
    cut = chunks(made, scanned(60, truncated=True))
    assert [(chunk.frames, chunk.last) for chunk in cut] == [(60, True)]


def test_a_chunk_seeks_to_the_last_keyframe_it_can_start_from() -> None:
    """Half a frame before its first frame, because the picture shown there may be the one before."""
    made = planned()
    cut = chunks(made, scanned(1000, keyframes=30))
    assert [chunk.first_frame for chunk in cut] == [0, 100, 500, 900]
    assert [chunk.seek and chunk.seek * 25 for chunk in cut] == [None, 90, 480, 870]


def test_containers_that_seek_by_guessing_start_a_keyframe_earlier() -> None:
    """TS, PS, AVI and FLV land near a position, not on it."""
    made = planned(source(container="mpegts"))
    assert [chunk.seek and chunk.seek * 25 for chunk in chunks(made, scanned(1000, keyframes=30))] == [
        None,
        60,
        450,
        840,
    ]


def test_a_deinterlacer_gets_pictures_from_before_its_first() -> None:
    """It looks at its neighbours, so a keyframe right at the chunk's beginning is too late."""
    stream = picture(scan=Scan.TOP_FIRST)
    made = planned(source(video=(stream,)))
    assert chunks(made, scanned(1000, keyframes=50))[1].seek == 2


@given(
    frames=st.integers(min_value=1, max_value=20_000),
    rate=st.sampled_from([Fraction(25), NTSC, Fraction(25, 2), Fraction(60)]),
    keyframes=st.integers(min_value=1, max_value=600),
    first=st.integers(min_value=1, max_value=3),
    later=st.integers(min_value=1, max_value=8),
)
def test_chunks_cover_the_video_without_gap_or_overlap(
    frames: int, rate: Fraction, keyframes: int, first: int, later: int
) -> None:
    """Whole segments but for the last, numbered through, each seeking to a keyframe not after its beginning."""
    stream = picture(constant_rate=rate)
    made = planned(source(video=(stream,)), Settings(first_chunk_segments=first, chunk_segments=later))
    assert made.grid is not None
    scan = scanned(frames, rate=rate, keyframes=keyframes)
    cut = chunks(made, scan)
    assert sum(chunk.frames for chunk in cut) == total_frames(made, scan) == frames
    frame, segment = 0, 1
    for index, chunk in enumerate(cut):
        assert (chunk.index, chunk.first_frame, chunk.first_segment) == (index, frame, segment)
        assert chunk.last == (index == len(cut) - 1)
        if not chunk.last:
            assert chunk.frames == chunk.segments * made.grid.segment_frames
        elif segment + chunk.segments > 2:
            rest = chunk.frames - (chunk.segments - 1) * made.grid.segment_frames
            assert made.grid.shortest_tail <= rest <= made.grid.longest_segment * rate
        if chunk.seek is not None:
            assert chunk.seek * rate in scan.keyframes
            assert chunk.seek < made.grid.video_origin + chunk.first_frame / rate
        frame, segment = frame + chunk.frames, segment + chunk.segments


@pytest.mark.parametrize(
    ("stream", "colour", "tonemap"),
    [
        (picture(), "bt709", False),
        (picture(width=640, height=480, colour=Colour()), "smpte170m", False),
        (picture(colour=Colour()), "bt709", False),
        (picture(colour=Colour(matrix="bt2020nc", primaries="bt2020", transfer="smpte2084")), "bt709", True),
        (picture(colour=Colour(matrix="bt2020nc", primaries="bt2020", transfer="bt709")), "bt709", False),
        (picture(pixel_format="gbrp", colour=Colour()), "bt709", False),
        (picture(colour=Colour(full_range=True, matrix="bt470bg", primaries="bt470bg")), "bt470bg", False),
    ],
)
def test_colours_come_out_as_browsers_show_them(stream: VideoStream, colour: str, tonemap: bool) -> None:
    """Standard range keeps its own matrix and says so; high dynamic range and wide colour become BT.709."""
    treatment = planned(source(video=(stream,))).video
    assert treatment is not None
    assert treatment.colour_out.matrix == colour
    assert treatment.colour_out.full_range is False
    assert treatment.tonemap is tonemap


def test_a_plan_survives_storing_and_its_digest_tells_plans_apart() -> None:
    """Equal facts and settings, equal digest; any setting that matters, another."""
    made = planned()
    assert Plan.from_json(made.to_json()) == made
    assert made.digest() == planned().digest()
    others = [
        Settings(),
        Settings(fingerprint="build", profile=Profile.SPEED),
        Settings(fingerprint="build", threads=4),
        Settings(fingerprint="build", first_threads=4),
    ]
    assert len({made.digest(), *(planned(settings=other).digest() for other in others)}) == 5


def test_a_plans_digest_stays_what_it_was() -> None:
    """Retry keeps a generation whose plan is unchanged: a digest that moved would throw finished work away."""
    assert planned().digest() == "a2e58f3775af3ff7fdcfffe28257dcdd0504d85d63780a5dd79fa3397aa8c62e"


def test_a_scan_survives_storing() -> None:
    """Keyframes and all."""
    scan = scanned(1000, truncated=True)
    assert ScanResult.from_json(scan.to_json()) == scan
