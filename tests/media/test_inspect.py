from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from penstock.ffmpeg import commands
from penstock.ffmpeg.encode import encode_audio
from penstock.ffmpeg.inspect import inspect, scan
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import Cancelled, MediaError, ToolFailed
from penstock.video.media import Hdr, Scan
from penstock.video.plan import Settings, chunks, plan, total_frames
from tests.media.conftest import Make
from tests.media.whole import joined_rungs, planned

SMALL = ("-vf", "scale=320:180", "-c:v", "libx264", "-preset", "ultrafast")


@pytest.mark.parametrize(
    ("clip", "rate", "rungs"),
    [
        ("bigbuckbunny.mp4", Fraction(25), "240p 360p 480p 720p"),
        ("car-detection.mp4", Fraction(25, 2), "240p 360p 432p"),
        ("bbb_176x144_128kbps_15fps_h263.3gp", Fraction(15), "144p"),
        ("bbb_642x642_768kbps_30fps_vp9.webm", Fraction(30), "240p 360p 480p 642p"),
        ("bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4", Fraction(30), "240p 360p 480p 640p"),
        ("bbb_first_750ms.ts", Fraction(24), "240p 360p 480p 720p 1080p"),
        ("hdr10-av1.mp4", Fraction(30000, 1001), "240p 360p 480p 720p"),
        ("sample.avi", Fraction(24000, 1001), "240p 360p 480p"),
        ("sample_edit_list.mp4", Fraction(30000, 1001), "240p 360p 480p 720p 1080p"),
        ("sample_fragmented.mp4", Fraction(30000, 1001), "240p 360p 480p 720p"),
        ("sample_with_chapters.mp4", Fraction(30000, 1001), "240p 360p 480p 720p"),
        ("sample_with_srt.mkv", Fraction(30000, 1001), "240p 360p 480p 720p"),
    ],
)
def test_real_clips_get_the_rate_and_the_ladder_one_would_expect(
    tools: Tools, clips: Path, clip: str, rate: Fraction, rungs: str
) -> None:
    """Headers that say 60, 1000 or 90 000 frames per second are seen through."""
    made = plan(inspect(tools, clips / clip), Settings())
    assert made.grid is not None
    assert made.grid.rate == rate
    assert " ".join(rung.name for rung in made.rungs) == rungs


def test_an_upright_hdr_recording_of_a_phone_is_understood(tools: Tools, clips: Path) -> None:
    """Rotation, HLG, ten bits, an edit list, data tracks: the ladder is upright."""
    media = inspect(tools, clips / "sample_edit_list.mp4")
    video = media.video[0]
    assert (video.rotation, video.colour.hdr, video.bit_depth) == (90, Hdr.HLG, 10)
    assert [skipped.reason for skipped in media.skipped] == ["data", "data"]
    made = plan(media, Settings())
    assert made.video is not None
    assert made.video.tonemap
    assert (made.rungs[0].width, made.rungs[0].height) == (240, 426)


def test_av1_with_pq_is_understood(tools: Tools, clips: Path) -> None:
    """Though the bundled ffprobe cannot decode it."""
    assert inspect(tools, clips / "hdr10-av1.mp4").video[0].colour.hdr is Hdr.PQ


def test_sound_alone_is_understood(tools: Tools, clips: Path) -> None:
    """It starts at its own first timestamp, and has no pictures to plan."""
    work = planned(tools, clips / "bbb_1ch_8kHz_aac_lc.m4a")
    assert work.media.video == ()
    assert work.plan.origin == Fraction(32, 125)
    assert (work.chunks, work.frames) == ((), 0)


def test_chapters_and_subtitles_are_found(tools: Tools, clips: Path) -> None:
    """With titles and languages."""
    chapters = inspect(tools, clips / "sample_with_chapters.mp4").chapters
    assert [chapter.title for chapter in chapters] == ["Chapter 1", "Chapter 2", "Chapter 3"]
    (text,) = plan(inspect(tools, clips / "sample_with_srt.mkv"), Settings()).captions
    assert (text.language, text.label, text.default) == ("en", "Subs Label", True)


def test_pictures_of_a_kind_without_a_header_of_their_size_are_looked_at(
    tools: Tools, clips: Path, make: Make
) -> None:
    """A still image is a video of one segment."""
    still = make("still.png", "-i", clips / "bigbuckbunny.mp4", "-frames:v", "1")
    work = planned(tools, still)
    assert work.media.still
    assert (work.media.video[0].width, work.media.video[0].height) == (1280, 720)
    assert work.frames == 13  # half a second at 25
    assert len(work.chunks) == 1


@pytest.mark.parametrize(("woven", "seen"), [("top", Scan.TOP_FIRST), ("bottom", Scan.BOTTOM_FIRST)])
def test_interlaced_pictures_are_recognised(
    tools: Tools, clips: Path, make: Make, woven: str, seen: Scan
) -> None:
    """By their lines, not by the header."""
    graph = f"scale=720:576,tinterlace=interleave_{woven},setfield={woven[0]}ff"
    source = make(
        "woven.ts",
        "-i",
        clips / "bigbuckbunny.mp4",
        "-an",
        "-vf",
        graph,
        "-c:v",
        "mpeg2video",
        "-b:v",
        "5M",
        "-flags",
        "+ildct+ilme",
    )
    assert inspect(tools, source).video[0].scan is seen


def test_progressive_pictures_with_an_interlaced_flag_are_left_alone(
    tools: Tools, clips: Path, make: Make
) -> None:
    """Weaving them would only blur."""
    source = make(
        "flagged.ts",
        "-i",
        clips / "bigbuckbunny.mp4",
        "-an",
        "-vf",
        "scale=720:576,setfield=tff",
        "-c:v",
        "mpeg2video",
        "-b:v",
        "5M",
        "-flags",
        "+ildct+ilme",
    )
    assert inspect(tools, source).video[0].scan is Scan.PROGRESSIVE


def test_what_looks_woven_and_is_said_to_be_progressive_is_left_alone(tools: Tools, make: Make) -> None:
    """Fine lines of drawings and screens deceive a look at the lines; H.264 says itself how its pictures were taken."""
    drawn = make(
        "drawn.mp4", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2", "-c:v", "libx264"
    )
    assert inspect(tools, drawn).video[0].scan is Scan.PROGRESSIVE


def refusal(tools: Tools, source: Path) -> str:
    """The code with which a source is refused."""
    with pytest.raises(MediaError) as refused:
        inspect(tools, source)
    return refused.value.code


def test_what_is_no_video_is_refused_with_its_reason(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """A text, nothing, a recording without its end, an index cut short, a playlist."""
    whole = (clips / "car-detection.mp4").read_bytes()
    index = whole.index(b"moov") - 4
    cases = {
        "media_not_recognised": b"Dear diary, nothing happened today.\n" * 50,
        "media_empty": b"",
        "media_no_moov": whole[: index if index > 1000 else index + 4],
        "media_damaged": whole[: index + 200],
        "media_playlist_refused": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }
    for code, data in cases.items():
        source = tmp_path / "source"
        source.write_bytes(data)
        assert refusal(tools, source) == code


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{name}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
        '<?xml version="1.0"?>\n<MPD><Period><AdaptationSet><BaseURL>{path}</BaseURL></AdaptationSet></Period></MPD>',
    ],
)
@pytest.mark.parametrize("name", ["source", "film.mp4", "film.m3u8"])
def test_a_file_that_names_another_opens_nothing(
    tools: Tools, clips: Path, make: Make, tmp_path: Path, text: str, name: str
) -> None:
    """Whatever it is called; and the tools would refuse it too if it came as far as that."""
    neighbour = make("neighbour.ts", "-i", clips / "sample_fragmented.mp4", *SMALL, "-an")
    source = tmp_path / name
    source.write_text(text.format(name=neighbour.name, path=neighbour), encoding="ascii")
    assert refusal(tools, source) == "media_playlist_refused"
    answer = bytearray()
    finished = run(tools, commands.probe(source, 10, tools.config.max_pixels), {1: answer.extend})
    assert finished.status != 0
    assert b"h264" not in answer


def test_an_encrypted_file_is_refused(tools: Tools, clips: Path, make: Make) -> None:
    """Common Encryption, without a key."""
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 32, "-encryption_kid", "1" * 32)
    source = make("locked.mp4", "-i", clips / "bigbuckbunny.mp4", "-c", "copy", *key)
    assert refusal(tools, source) == "media_encrypted"


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"max_pixels": 1000}, "media_too_large"),
        ({"max_duration": 3}, "media_too_long"),
        ({"max_streams": 1}, "media_too_many_streams"),
    ],
)
def test_limits_are_kept_before_anything_is_decoded(
    tools: Tools, clips: Path, limit: dict[str, int], code: str
) -> None:
    """What a source may cost is the operator's word."""
    limited = replace(tools, config=replace(tools.config, **limit))  # type: ignore[arg-type]
    assert refusal(limited, clips / "bigbuckbunny.mp4") == code


def test_a_scan_keeps_its_limits_too(tools: Tools, clips: Path) -> None:
    """The header may lie about the length, and says nothing about packets."""
    work = planned(tools, clips / "car-detection.mp4")
    for limit, code in (
        ({"max_packets": 100}, "media_too_many_packets"),
        ({"max_duration": 20}, "media_too_long"),
    ):
        limited = replace(tools, config=replace(tools.config, **limit))  # type: ignore[arg-type]
        with pytest.raises(MediaError) as refused:
            scan(limited, work.source, work.plan)
        assert refused.value.code == code


def test_a_source_that_was_cut_short_is_kept_as_far_as_it_decodes(
    tools: Tools, clips: Path, make: Make
) -> None:
    """It says so, waits with its first chunk for the scan, and its frames are those that are there."""
    whole = make("whole.mp4", "-i", clips / "car-detection.mp4", "-c", "copy", "-movflags", "+faststart")
    cut = whole.with_name("cut")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 5])
    work = planned(tools, cut)
    assert work.media.truncated
    assert work.scan.truncated
    assert chunks(work.plan, None) == ()
    assert 100 < work.frames < 200
    assert work.media.video[0].header_frames == 377


@pytest.mark.parametrize("container", ["mkv", "ts", "flv"])
def test_other_containers_that_were_cut_short_are_kept_too(
    tools: Tools, clips: Path, make: Make, container: str
) -> None:
    """Where the header claims a length, the scan knows better."""
    whole = make(f"whole.{container}", "-i", clips / "car-detection.mp4", "-c", "copy")
    cut = whole.with_name("cut")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 5])
    work = planned(tools, cut)
    assert 100 < work.frames < 250
    assert work.scan.truncated == (
        container != "ts"
    )  # a transport stream claims nothing: it ends where it ends


def test_two_recordings_behind_each_other_are_said_to_be_truncated(
    tools: Tools, clips: Path, make: Make
) -> None:
    """The clock of the second begins again, so that only the first can be shown: the video says that it is not all."""
    once = make("once.ts", "-i", clips / "bigbuckbunny.mp4", *SMALL, "-an", "-t", "3")
    twice = once.with_name("twice.ts")
    twice.write_bytes(2 * once.read_bytes())
    first, both = planned(tools, once), planned(tools, twice)
    assert (first.scan.truncated, both.scan.truncated) == (False, True)
    assert both.frames == first.frames


@pytest.mark.parametrize("hours", [5, 14])
def test_a_clock_that_jumps_by_hours_makes_no_hours_of_a_frozen_picture(
    tools: Tools, clips: Path, make: Make, tmp_path: Path, hours: int
) -> None:
    """Pictures and sound both end where the other recording begins, and the video says that it is not all."""
    clip = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=6", "-f", "lavfi", "-i", "sine=d=6")
    small = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac")
    once = make("once.ts", *clip, *small)
    later = make("later.ts", *clip, *small, "-output_ts_offset", str(hours * 3600))
    both = once.with_name("both.ts")
    both.write_bytes(once.read_bytes() + later.read_bytes())
    work = planned(tools, both)
    assert (work.frames, work.scan.truncated) == (planned(tools, once).frames, True)
    cut = joined_rungs(tools, work, work.chunks, tmp_path)[work.plan.rungs[-1].name]
    assert cut.stat().st_size > 0
    track = encode_audio(tools, both, work.plan, work.plan.audio[0], tmp_path)
    samples = sum(segment.duration for segment in track.segments)
    assert abs(samples / 48_000 - 6) < 0.2


def test_looking_can_be_called_off(tools: Tools, clips: Path) -> None:
    """Like everything that runs a tool."""
    cancel = Event()
    cancel.set()
    with pytest.raises(Cancelled):
        inspect(tools, clips / "bigbuckbunny.mp4", cancel=cancel)


def test_pictures_that_change_size_on_the_way_keep_their_frames(
    tools: Tools, clips: Path, make: Make
) -> None:
    """A recording of a call, for instance."""
    small = make("small.ts", "-i", clips / "bigbuckbunny.mp4", *SMALL, "-an")
    large = make(
        "large.ts",
        "-i",
        clips / "bigbuckbunny.mp4",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-an",
        "-output_ts_offset",
        "5.28",
    )
    both = small.with_name("both.ts")
    both.write_bytes(small.read_bytes() + large.read_bytes())
    work = planned(tools, both)
    assert abs(total_frames(work.plan, work.scan) - 264) <= 2


def test_a_source_that_the_machine_cannot_read_is_not_blamed(tools: Tools, tmp_path: Path) -> None:
    """Trying again may help: the error is of the kind that is retried."""
    with pytest.raises((ToolFailed, OSError)):
        inspect(tools, tmp_path / "gone")


def test_pictures_that_end_long_before_the_file_does_are_refused(
    tools: Tools, clips: Path, tmp_path: Path
) -> None:
    """Packets are there to the end, but nothing that decodes: the encoder's frames would be missing."""
    data = bytearray((clips / "bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4").read_bytes())
    data[len(data) // 4 :] = bytes(byte ^ 0x5A for byte in data[len(data) // 4 :])
    source = tmp_path / "source"
    source.write_bytes(data)
    work = planned(tools, source)
    with pytest.raises(MediaError) as refused:
        joined_rungs(tools, work, work.chunks, tmp_path)
    assert refused.value.code == "media_undecodable"
