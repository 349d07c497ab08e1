from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from penstock.ffmpeg import commands
from penstock.ffmpeg.commands import Command
from penstock.video.media import Colour, Scan, SourceMedia
from penstock.video.plan import Chunk, Settings, chunks, plan
from tests.unit.video.sources import picture, sound, source, subtitles

SOURCE, PIXELS = Path("/data/sources/-i evil"), 10_000
PLAN = plan(source(subtitles=(subtitles(),)), Settings())
CHUNK = Chunk(2, 500, 400, 6, 4, Fraction(1001, 60), last=False)


def every_command() -> list[Command]:
    """One of each that opens a source."""
    return [
        commands.probe(SOURCE, 10, PIXELS),
        commands.scan(SOURCE, PLAN, PIXELS),
        commands.look(SOURCE, 0, 2, PIXELS),
        commands.look(SOURCE, 0, 2, PIXELS, at=1.5),
        commands.encode_chunk(SOURCE, PLAN, CHUNK, PIXELS),
        commands.hash_chunk(SOURCE, PLAN, CHUNK, PIXELS),
        commands.encode_audio(SOURCE, PLAN, PLAN.audio[0], None, PIXELS),
        commands.measure_loudness(SOURCE, PLAN, PLAN.audio[0], PIXELS),
        commands.poster(SOURCE, PLAN, PIXELS),
        commands.captions(SOURCE, PLAN, PLAN.captions[0], PIXELS),
        commands.decode(SOURCE, PIXELS),
        commands.compare(SOURCE, PLAN, CHUNK, PLAN.rungs[0], Path("/data/joined.mp4"), PIXELS),
    ]


@pytest.mark.parametrize("command", every_command(), ids=lambda c: c.arguments[-1][-30:])
def test_every_input_is_guarded_and_named_beyond_doubt(command: Command) -> None:
    """Only files, only accepted containers, and no name that could be an option; nothing is written to a file."""
    words = command.arguments
    inputs = [word for word in words if word.startswith("file:")]
    assert len(inputs) == len(command.reads)
    assert words.count("-protocol_whitelist") == words.count("-format_whitelist") == len(inputs)
    assert set(option(words, "-protocol_whitelist")) == {"file"}
    assert option(words, "-max_pixels") == [str(PIXELS)] * len(inputs)
    for accepted in option(words, "-format_whitelist"):
        assert not {"hls", "concat", "dash", "image2", "lavfi", "sdp", "tty", "imf"} & set(
            accepted.split(",")
        )
    assert str(SOURCE) not in words
    if command.program == "ffmpeg":
        assert words[words.index("-i") + 1] == inputs[0]
        assert [word for word in words if word.startswith("pipe:")] or "null" in words


def option(words: tuple[str, ...], name: str) -> list[str]:
    """All values of an option, in order."""
    return [value for word, value in pairwise(words) if word == name]


def test_a_chunk_is_one_decode_and_an_output_per_rung() -> None:
    """Each rung on its own pipe, with its own caps, and all cut by the same graph."""
    command = commands.encode_chunk(SOURCE, PLAN, CHUNK, PIXELS)
    words = command.arguments
    assert words.count("-i") == 1
    assert option(words, "-map") == ["[v0]", "[v1]", "[v2]", "[v3]"]
    assert option(words, "-maxrate") == [str(rung.maxrate) for rung in PLAN.rungs]
    assert [word for word in words if word.startswith("pipe:")] == [
        "pipe:3",  # progress
        "pipe:8",  # which source picture each frame shows
        "pipe:4",
        "pipe:5",
        "pipe:6",
        "pipe:7",
    ]
    assert command.pipes == 6


def test_a_chunk_seeks_without_rounding_down_and_is_cut_by_its_graph_alone() -> None:
    """A microsecond too early would find the keyframe before; -t counts from the first kept frame."""
    words = commands.encode_chunk(SOURCE, PLAN, CHUNK, PIXELS).arguments
    assert option(words, "-ss") == ["16.683334"]
    assert "-noaccurate_seek" in words
    assert not {"-t", "-to"} & set(words)
    assert words.index("-ss") < words.index("-i")
    first = commands.encode_chunk(SOURCE, PLAN, replace(CHUNK, seek=None), PIXELS).arguments
    assert "-ss" not in first


def test_keyframes_stand_where_the_plan_says_and_threads_are_pinned() -> None:
    """In every rung alike; the encoder's bytes depend on the number of threads."""
    words = commands.encode_chunk(SOURCE, PLAN, CHUNK, PIXELS).arguments
    assert set(option(words, "-g")) == set(option(words, "-keyint_min")) == {"50"}
    assert option(words, "-threads")[1:] == ["1", "1", "1", "1"]
    first = commands.encode_chunk(SOURCE, PLAN, replace(CHUNK, index=0), PIXELS).arguments
    assert option(first, "-threads")[1:] == ["1", "1", "2", "2"]  # somebody waits for it
    assert set(option(words, "-enc_time_base")) == {"1/25"}
    assert set(option(words, "-video_track_timescale")) == {"10000"}


def graph(media: SourceMedia, chunk: Chunk = CHUNK) -> str:
    """The graph of a chunk of a source."""
    (text,) = option(
        commands.encode_chunk(SOURCE, plan(media, Settings()), chunk, PIXELS).arguments, "-filter_complex"
    )
    return text


def test_the_graph_counts_on_one_grid_and_cuts_before_it_scales() -> None:
    """Times are rounded to the grid by themselves, so that every chunk rounds alike."""
    text = graph(source())
    assert (
        "settb=1/1000000,setpts=PTS-0,settb=1/25,fps=fps=25/1:start_time=20.0,trim=start_pts=500:end_pts=900"
        in text
    )
    assert text.index("trim=") < text.index("scale=1280:720")
    assert "tpad" not in text


def test_each_rung_is_scaled_from_the_next_larger_one() -> None:
    """A cascade, not a fan."""
    text = graph(source())
    assert text.endswith("split=2[v1][s1];[s1]scale=426:240:flags=bicubic[v0]")
    assert "[s3]scale=854:480:flags=bicubic,split=2[v2][s2];[s2]scale=640:360" in text


def test_the_last_chunk_may_hold_its_last_picture() -> None:
    """For a second at most; more is missing means that something is wrong."""
    assert "tpad=stop_mode=clone:stop=25,trim=" in graph(source(), replace(CHUNK, last=True))


def test_an_origin_before_zero_is_added() -> None:
    """Sources may start at negative times."""
    assert "setpts=PTS+500000" in graph(source(video=(picture(start=Fraction(-1, 2)),), audio=()))


def test_rotated_pictures_are_scaled_as_they_lie() -> None:
    """Then turned."""
    text = graph(source(video=(picture(rotation=90),)))
    assert "scale=1280:720:flags=bicubic:out_range=tv,transpose=clock,format=yuv420p" in text
    assert "-noautorotate" in commands.encode_chunk(SOURCE, PLAN, CHUNK, PIXELS).arguments


def test_interlaced_pictures_are_woven_before_the_cut() -> None:
    """The filter looks at neighbours that the cut would take away."""
    text = graph(source(video=(picture(scan=Scan.BOTTOM_FIRST),)))
    assert "bwdif=mode=send_frame:parity=bff:deint=all" in text
    assert text.index("bwdif") < text.index("fps=") < text.index("trim=")


def test_high_dynamic_range_is_scaled_first_and_mapped_once() -> None:
    """Tone mapping is the costliest step: on the largest rung's pixels, for all rungs together."""
    hdr = picture(colour=Colour(False, "bt2020nc", "bt2020", "smpte2084"))
    text = graph(source(video=(hdr,)))
    assert text.index("scale=1280:720") < text.index("tonemap=") < text.index("split=")
    assert text.count("tonemap=tonemap") == 1
    assert "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709" in text


def test_sound_is_filled_from_the_videos_zero() -> None:
    """Counted from the same origin as the pictures, in the track's layout."""
    media = source(video=(picture(start=Fraction(1, 2)),), audio=(sound(start=Fraction(1, 4), channels=6),))
    made = plan(media, Settings())
    stereo, surround = (
        commands.encode_audio(SOURCE, made, track, None, PIXELS).arguments for track in made.audio
    )
    assert (
        "asetpts=PTS-250000,aresample=48000:async=1:min_hard_comp=0.03:first_pts=0"
        in option(stereo, "-filter_complex")[0]
    )
    assert "channel_layouts=stereo" in option(stereo, "-filter_complex")[0]
    assert "channel_layouts=5.1" in option(surround, "-filter_complex")[0]


def test_loudness_is_set_by_one_gain_and_a_limiter() -> None:
    """Only where a gain was measured."""
    words = commands.encode_audio(SOURCE, PLAN, PLAN.audio[0], 6.5, PIXELS).arguments
    assert "volume=6.50dB,alimiter=" in option(words, "-filter_complex")[0]
    assert "volume" not in " ".join(
        commands.encode_audio(SOURCE, PLAN, PLAN.audio[0], None, PIXELS).arguments
    )


def test_nothing_of_the_sources_tags_reaches_a_viewer() -> None:
    """Where a phone was when it recorded, for instance."""
    for command in (
        commands.encode_chunk(SOURCE, PLAN, CHUNK, PIXELS),
        commands.encode_audio(SOURCE, PLAN, PLAN.audio[0], None, PIXELS),
        commands.poster(SOURCE, PLAN, PIXELS),
        commands.captions(SOURCE, PLAN, PLAN.captions[0], PIXELS),
    ):
        assert "-map_metadata" in command.arguments
        assert set(option(command.arguments, "-map_metadata")) == {"-1"}


def test_the_plan_of_an_early_chunk_needs_no_scan() -> None:
    """Its command does not seek."""
    (early,) = chunks(PLAN, None)
    assert "-ss" not in commands.encode_chunk(SOURCE, PLAN, early, PIXELS).arguments
