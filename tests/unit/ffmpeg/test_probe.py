from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from penstock.ffmpeg import probe
from penstock.ffmpeg.config import FfmpegConfig
from penstock.ffmpeg.probe import Look
from penstock.video.errors import MediaError
from penstock.video.media import Chapter, Colour, Scan, SkippedStream, SourceMedia

DECODABLE = {"h264", "hevc", "aac", "mjpeg", "mov_text"}

# What ffprobe says of an ordinary MP4, less what is not read.
PICTURES: dict[str, Any] = {
    "index": 0,
    "codec_name": "h264",
    "codec_type": "video",
    "codec_tag_string": "avc1",
    "width": 1280,
    "height": 720,
    "has_b_frames": 2,
    "sample_aspect_ratio": "1:1",
    "pix_fmt": "yuv420p",
    "r_frame_rate": "25/1",
    "avg_frame_rate": "25/1",
    "time_base": "1/12800",
    "start_pts": 0,
    "duration_ts": 128_000,
    "nb_frames": "250",
    "disposition": {"default": 1},
    "tags": {"language": "und"},
}
SOUND: dict[str, Any] = {
    "index": 1,
    "codec_name": "aac",
    "codec_type": "audio",
    "codec_tag_string": "mp4a",
    "sample_rate": "48000",
    "channels": 2,
    "channel_layout": "stereo",
    "time_base": "1/48000",
    "start_pts": 1024,
    "duration_ts": 480_000,
    "nb_frames": "469",
    "disposition": {"default": 1},
    "tags": {"language": "eng", "title": "Commentary"},
}
PACKETS = [{"stream_index": 0, "pts": n * 512, "dts": n * 512, "flags": "___"} for n in range(100)]
FORMAT = {"format_name": "mov,mp4,m4a,3gp,3g2,mj2", "start_time": "0.000000", "duration": "10.021333"}


def read(*streams: Any, limits: FfmpegConfig | None = None, **changes: Any) -> SourceMedia:
    """The facts in a document of these streams."""
    document = {"streams": list(streams), "format": FORMAT, "packets": PACKETS, "chapters": []} | changes
    return probe.read(document, size=1000, decodable=DECODABLE, limits=limits or FfmpegConfig())


def refusal(*streams: dict[str, Any], **changes: Any) -> str:
    """The code with which a document is refused."""
    with pytest.raises(MediaError) as refused:
        read(*streams, **changes)
    return refused.value.code


def test_an_ordinary_file_is_read() -> None:
    """Exact times, the rate that the packets show, language and title."""
    media = read(PICTURES, SOUND)
    (video,), (audio,) = media.video, media.audio
    assert (media.container, media.size, media.start) == ("mov,mp4,m4a,3gp,3g2,mj2", 1000, Fraction(0))
    assert media.duration == Fraction("10.021333")
    assert (video.codec, video.width, video.height, video.bit_depth) == ("h264", 1280, 720, 8)
    assert (video.constant_rate, video.header_frames, video.duration) == (Fraction(25), 250, Fraction(10))
    assert (audio.start, audio.sample_rate, audio.channels) == (Fraction(1024, 48000), 48_000, 2)
    assert (audio.language, audio.title, audio.default) == ("eng", "Commentary", True)


@pytest.mark.parametrize(
    ("stream", "skipped"),
    [
        (PICTURES | {"index": 2, "disposition": {"attached_pic": 1}}, SkippedStream(2, "video", "cover_art")),
        (PICTURES | {"index": 2, "nb_frames": None}, SkippedStream(2, "video", "empty")),
        (PICTURES | {"index": 2, "codec_name": "av2"}, SkippedStream(2, "video", "undecodable")),
        (SOUND | {"index": 2, "codec_name": "ac4"}, SkippedStream(2, "audio", "undecodable")),
        (SOUND | {"index": 2, "channels": 0}, SkippedStream(2, "audio", "undecodable")),
        ({"index": 2, "codec_type": "data", "codec_name": "bin_data"}, SkippedStream(2, "data", "data")),
        ({"index": 2}, SkippedStream(2, "unknown", "data")),
    ],
)
def test_what_cannot_be_used_is_skipped_with_a_reason(stream: dict[str, Any], skipped: SkippedStream) -> None:
    """Cover art, empty tracks, unknown codecs, data: the rest of the file is good."""
    media = read(PICTURES, SOUND, stream)
    assert media.skipped == (skipped,)
    assert [video.index for video in media.video] == [0]


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ((), "media_no_streams"),
        (({"index": 0, "codec_type": "data"},), "media_no_streams"),
        ((PICTURES | {"codec_name": "av2"},), "media_undecodable"),
        ((PICTURES | {"codec_tag_string": "encv"}, SOUND), "media_encrypted"),
        ((PICTURES, SOUND | {"codec_tag_string": "enca"}), "media_encrypted"),
        (
            (PICTURES | {"side_data_list": [{"side_data_type": "Encryption initialization data"}]},),
            "media_encrypted",
        ),
    ],
)
def test_files_without_anything_to_play_are_refused(streams: tuple[dict[str, Any], ...], code: str) -> None:
    """Each reason has its code."""
    assert refusal(*streams) == code


def test_limits_are_kept() -> None:
    """Too many streams, too long."""
    assert refusal(PICTURES, SOUND, limits=FfmpegConfig(max_streams=1)) == "media_too_many_streams"
    assert refusal(PICTURES, SOUND, limits=FfmpegConfig(max_duration=9)) == "media_too_long"


@pytest.mark.parametrize(
    ("matrix", "clockwise", "mirrored"),
    [
        ((1, 0, 0, 1), 0, False),
        ((0, 1, -1, 0), 90, False),
        ((-1, 0, 0, -1), 180, False),
        ((0, -1, 1, 0), 270, False),
        ((-1, 0, 0, 1), 0, True),
        ((1, 0, 0, -1), 180, True),
        ((0, -1, -1, 0), 90, True),
        ((0, 1, 1, 0), 270, True),
    ],
)
def test_a_display_matrix_says_how_pictures_lie(
    matrix: tuple[int, ...], clockwise: int, mirrored: bool
) -> None:
    """All eight ways in which a picture can lie: mirrored or not, then turned clockwise."""
    a, b, c, d = (65536 * value for value in matrix)
    text = f"\n00000000: {a:12} {b:12} 0\n00000001: {c:12} {d:12} 0\n00000002: 0 0 1073741824\n"
    stream = PICTURES | {"side_data_list": [{"side_data_type": "Display Matrix", "displaymatrix": text}]}
    video = read(stream).video[0]
    assert (video.rotation, video.mirrored) == (clockwise, mirrored)


@pytest.mark.parametrize(
    ("text", "aspect"),
    [
        ("16:15", Fraction(16, 15)),
        ("0:1", Fraction(1)),
        ("N/A", Fraction(1)),
        ("1000:1", Fraction(1)),
        (None, Fraction(1)),
    ],
)
def test_the_shape_of_a_pixel_is_read_or_square(text: str | None, aspect: Fraction) -> None:
    """Absurd values are a muxer's mistake."""
    assert read(PICTURES | {"sample_aspect_ratio": text}).video[0].sample_aspect == aspect


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [("yuv420p", 8), ("yuv420p10le", 10), ("p010le", 10), ("gray12be", 12), ("rgb48le", 16)],
)
def test_depth_is_read_from_the_pixel_format(pixels: str, bits: int) -> None:
    """Bits per component."""
    assert read(PICTURES | {"pix_fmt": pixels}).video[0].bit_depth == bits


def test_pictures_before_an_edit_list_and_missing_times_do_not_count() -> None:
    """They would bend the rate."""
    early = {"stream_index": 0, "pts": -3000, "dts": -3000, "flags": "KD_"}
    lost = {"stream_index": 0, "pts": "N/A", "dts": "N/A", "flags": "___"}
    video = read(PICTURES | {"start_pts": None}, packets=[early, lost, *PACKETS]).video[0]
    assert (video.constant_rate, video.start) == (Fraction(25), Fraction(0))


def test_matroskas_own_lengths_are_read() -> None:
    """A tag says where each stream ends."""
    tagged = PICTURES | {"duration_ts": None, "start_pts": 12_800, "tags": {"DURATION": "00:01:01.250000000"}}
    assert read(tagged).video[0].duration == Fraction("60.25")
    assert read(PICTURES | {"duration_ts": None, "tags": {"DURATION": "soon"}}).video[0].duration is None


def test_the_default_stream_of_pictures_comes_first() -> None:
    """The plan takes the first."""
    other = PICTURES | {"index": 5, "disposition": {"default": 0}}
    assert [video.index for video in read(other, PICTURES, SOUND).video] == [0, 5]


def test_chapters_keep_their_titles() -> None:
    """Or get a number."""
    chapters = [
        {"time_base": "1/1000", "start": 0, "end": 500, "tags": {"title": "Opening"}},
        {"time_base": "1/1000", "start": 500, "end": 900},
    ]
    assert read(PICTURES, chapters=chapters).chapters == (
        Chapter(Fraction(0), Fraction(1, 2), "Opening"),
        Chapter(Fraction(1, 2), Fraction(9, 10), "Chapter 2"),
    )


def test_an_image_file_is_a_still() -> None:
    """It has no length of its own, whatever the demuxer invents."""
    media = read(PICTURES | {"nb_frames": None}, format={"format_name": "png_pipe", "duration": "0.04"})
    assert media.still
    assert media.duration is None


REPORT = """\
[Parsed_idet_2 @ 0x7f] Multi frame detection: TFF:     0 BFF:     0 Progressive:     0 Undetermined:     0
[Parsed_showinfo_1 @ 0x7f] config in time_base: 1/600, frame_rate: 30000/1001
[Parsed_showinfo_1 @ 0x7f] n:   0 pts:      0 pts_time:0       duration: 20 duration_time:0.03 fmt:yuv420p10le \
cl:left sar:0/1 s:1920x1080 i:T iskey:1 type:I
[Parsed_showinfo_1 @ 0x7f] color_range:tv color_space:bt2020nc color_primaries:bt2020 color_trc:arib-std-b67
[Parsed_showinfo_1 @ 0x7f] n:   1 pts:     20 pts_time:0.033   duration: 20 duration_time:0.03 fmt:yuv420p10le \
cl:left sar:0/1 s:1920x1080 i:P iskey:0 type:B
[Parsed_showinfo_1 @ 0x7f] color_range:tv color_space:bt2020nc color_primaries:bt2020 color_trc:arib-std-b67
[Parsed_idet_2 @ 0x7f] Single frame detection: TFF:     1 BFF:     2 Progressive:     3 Undetermined:     4
[Parsed_idet_2 @ 0x7f] Multi frame detection: TFF:    80 BFF:     1 Progressive:    10 Undetermined:     9
"""
LOOK = Look(
    2, 1920, 1080, "yuv420p10le", Colour(False, "bt2020nc", "bt2020", "arib-std-b67"), 1, 0, 80, 1, 10
)  # fmt: skip


def test_a_look_at_the_pictures_is_read() -> None:
    """Size, format, colours, what is flagged and what was seen."""
    assert probe.look(REPORT) == LOOK
    assert LOOK.scan is Scan.TOP_FIRST


def test_pictures_correct_the_header() -> None:
    """The stream's own colours count; where it says nothing, the container's do."""
    named = replace(read(PICTURES).video[0], colour=Colour(True, "bt709", "bt709", "bt709"))
    seen = probe.corrected(
        named, replace(LOOK, colour=Colour(False, None, None, "smpte2084")), FfmpegConfig()
    )
    assert (seen.width, seen.height, seen.bit_depth) == (1920, 1080, 10)
    assert seen.colour == Colour(False, "bt709", "bt709", "smpte2084")


def test_pictures_that_do_not_decode_are_refused() -> None:
    """And so are those that turn out larger than the header said."""
    stream = read(PICTURES).video[0]
    with pytest.raises(MediaError) as undecodable:
        probe.corrected(stream, probe.look("no picture"), FfmpegConfig())
    assert undecodable.value.code == "media_undecodable"
    with pytest.raises(MediaError) as large:
        probe.corrected(stream, LOOK, FfmpegConfig(max_pixels=1000))
    assert large.value.code == "media_too_large"


@pytest.mark.parametrize(
    ("seen", "flagged", "scan"),
    [
        ((80, 1, 10), (0, 0), Scan.TOP_FIRST),
        ((1, 80, 10), (0, 0), Scan.BOTTOM_FIRST),
        ((5, 5, 90), (100, 0), Scan.PROGRESSIVE),
        ((0, 0, 0), (100, 0), Scan.TOP_FIRST),
        ((0, 0, 0), (0, 0), Scan.PROGRESSIVE),
    ],
)
def test_interlacing_is_what_is_seen_and_flags_decide_where_nothing_moves(
    seen: tuple[int, int, int], flagged: tuple[int, int], scan: Scan
) -> None:
    """Many progressive films are flagged interlaced."""
    look = replace(
        LOOK,
        seen_top=seen[0],
        seen_bottom=seen[1],
        seen_progressive=seen[2],
        flagged_top=flagged[0],
        flagged_bottom=flagged[1],
    )
    assert look.scan is scan


def test_only_suspects_are_looked_at_for_interlacing() -> None:
    """A hundred decoded pictures are not free."""
    assert probe.may_be_interlaced("tt", "h264")
    assert probe.may_be_interlaced("unknown", "mpeg2video")
    assert not probe.may_be_interlaced("progressive", "mpeg2video")
    assert not probe.may_be_interlaced("unknown", "vp9")


def test_dolby_visions_profile_is_found() -> None:
    """Profile 5 has colours that nothing else can show."""
    stream = PICTURES | {"side_data_list": [{"side_data_type": "DOVI configuration record", "dv_profile": 5}]}
    assert probe.dolby_vision_profile({"streams": [stream]}, 0) == 5
    assert probe.dolby_vision_profile({"streams": [PICTURES]}, 0) is None


def test_sound_of_channels_without_places_is_left_out() -> None:
    """Of sixty-four loudspeakers nobody knows which is left; up to eight, FFmpeg assumes the customary places."""
    for channels, kept in ((64, False), (9, False), (6, True)):
        media = read(PICTURES, SOUND | {"channels": channels, "channel_layout": "unknown"})
        assert bool(media.audio) is kept


def test_a_decoder_that_gave_up_for_size_says_so() -> None:
    """What FFmpeg says of a picture that is larger than the limit, or than it can count."""
    limits = FfmpegConfig(max_pixels=1_000_000)
    for words in ("exceeds specified max pixel count 1000000, see the documentation", "is invalid"):
        with pytest.raises(MediaError) as refused:
            probe.refuse_larger(f"[png @ 0x1] [IMGUTILS @ 0x2] Picture size 30000x30000 {words}", limits)
        assert refused.value.code == "media_too_large"
    probe.refuse_larger("[h264 @ 0x1] Picture size 0x0 is invalid", limits)
