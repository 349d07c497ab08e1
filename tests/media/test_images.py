import struct
from fractions import Fraction
from pathlib import Path
from subprocess import run as execute

import pytest

from penstock.ffmpeg.images import captions, poster
from penstock.ffmpeg.tools import Tools
from penstock.video.plan import Settings
from tests.media.conftest import Make
from tests.media.whole import joined_rungs, planned


def grey(tools: Tools, media: Path, *arguments: str) -> bytes:
    """The first picture of these arguments as a few grey pixels, for comparing."""
    command: list[str | Path] = [tools.ffmpeg, "-v", "error", *arguments, "-i", media, "-frames:v", "1"]
    graph = ["-vf", "scale=16:16:flags=area,format=gray", "-f", "rawvideo", "-"]
    return execute([*command, *graph], check=True, capture_output=True, timeout=300).stdout


def distance(one: bytes, other: bytes) -> float:
    """Mean difference of two pictures, in grey levels."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def test_a_poster_shows_the_source_a_tenth_of_the_way_in(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """As a JPEG in the size of the plan."""
    work = planned(tools, clips / "car-detection.mp4")
    made = poster(tools, work.source, work.plan, tmp_path)
    assert (made.name, made.media_type, made.size) == ("poster.jpg", "image/jpeg", made.path.stat().st_size)
    assert made.path.read_bytes().startswith(b"\xff\xd8\xff")
    assert work.plan.poster is not None
    assert work.plan.poster.time == Fraction("3.016")
    assert distance(grey(tools, made.path), grey(tools, work.source, "-ss", "3.016")) < 3


def test_a_poster_stands_upright(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """As players turn the source, so is the poster turned; compared by shape, since the range is mapped."""
    work = planned(tools, clips / "sample_edit_list.mp4")
    made = poster(tools, work.source, work.plan, tmp_path)
    upright, lying = grey(tools, work.source), grey(tools, work.source, "-noautorotate")
    picture = grey(tools, made.path)
    assert distance(picture, upright) < distance(picture, lying)


@pytest.mark.parametrize("turned", ["0", "90"])
def test_a_mirrored_film_lies_as_players_show_it(
    tools: Tools, make: Make, tmp_path: Path, turned: str
) -> None:
    """Poster and rungs show a film as players of the source do: mirrored, and turned."""
    film = make("film.mp4", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", "-c:v", "libx264")
    lying = make("lying.mp4", "-display_rotation", turned, "-display_hflip", "-i", film, "-c", "copy")
    work = planned(tools, lying, Settings(max_rung=240))
    shown = grey(tools, lying, "-ss", "0.2")
    assert distance(grey(tools, poster(tools, lying, work.plan, tmp_path).path), shown) < 3
    rungs = joined_rungs(tools, work, work.chunks, tmp_path)
    assert distance(grey(tools, rungs[work.plan.rungs[-1].name], "-ss", "0.2"), shown) < 3


@pytest.mark.parametrize("way", [2, 6, 7])
def test_a_photograph_lies_as_its_camera_was_held(tools: Tools, make: Make, tmp_path: Path, way: int) -> None:
    """A camera says in the picture itself how it was held."""
    still = make("still.jpg", "-f", "lavfi", "-i", "testsrc2=s=320x180", "-frames:v", "1")
    entry = struct.pack("<HHIHH", 0x112, 3, 1, way, 0)  # Exif 2.3: orientation, one short number
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    data = still.read_bytes()
    source = tmp_path / "source"
    source.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    work = planned(tools, source, Settings(max_rung=240))
    made = poster(tools, source, work.plan, tmp_path)
    assert distance(grey(tools, made.path), grey(tools, source)) < 3


def test_a_poster_is_made_even_where_the_header_claims_too_much(
    tools: Tools, clips: Path, make: Make
) -> None:
    """A tenth of what was claimed may lie behind the end."""
    whole = make(
        "whole.mp4",
        "-stream_loop",
        "9",
        "-i",
        clips / "bigbuckbunny.mp4",
        "-c",
        "copy",
        "-movflags",
        "+faststart",
    )
    cut = whole.with_name("cut")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 20])
    work = planned(tools, cut)
    assert poster(tools, work.source, work.plan, cut.parent).size > 1000


def test_the_same_poster_is_the_same_bytes(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """A retry makes the same object."""
    work = planned(tools, clips / "bigbuckbunny.mp4")
    first = poster(tools, work.source, work.plan, tmp_path)
    assert poster(tools, work.source, work.plan, tmp_path).sha256 == first.sha256


def test_subtitles_become_web_captions(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """With their text and times."""
    work = planned(tools, clips / "sample_with_srt.mkv")
    made = captions(tools, work.source, work.plan, work.plan.captions[0], tmp_path)
    assert (made.name, made.media_type) == ("captions-0.vtt", "text/vtt")
    assert made.path.read_text(encoding="utf-8").startswith(
        "WEBVTT\n\n00:00.000 --> 00:01.234\nThis is the first subtitle.\n"
    )


def test_captions_count_from_the_videos_zero(tools: Tools, clips: Path, tmp_path: Path, make: Make) -> None:
    """A source whose times begin elsewhere takes its captions along."""
    text = tmp_path / "text.srt"
    text.write_text("1\n00:00:02,000 --> 00:00:03,500\nGrüße\n\n", encoding="utf-8")
    source = make(
        "shifted.mkv",
        "-i",
        clips / "bigbuckbunny.mp4",
        "-i",
        text,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-output_ts_offset",
        "7.5",
    )
    work = planned(tools, source)
    assert work.plan.origin == Fraction("7.5")
    made = captions(tools, work.source, work.plan, work.plan.captions[0], tmp_path)
    assert "00:02.000 --> 00:03.500\nGrüße" in made.path.read_text(encoding="utf-8")
