"""What is uploaded to do harm: refused with its code or kept as far as it decodes, and nothing else is ever opened."""

import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.ffmpeg.config import Isolation
from penstock.ffmpeg.encode import encode_chunk
from penstock.ffmpeg.inspect import inspect, scan
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import MediaError
from penstock.video.plan import Settings, chunks, plan, total_frames
from tests.media import hostile
from tests.media.conftest import Make
from tests.media.whole import joined_rungs, joined_sound, planned

BROKEN = "media_damaged media_undecodable"  # which of them depends on how far a tool comes
SMALL = ("-vf", "scale=320:180", "-c:v", "libx264", "-preset", "ultrafast")


@pytest.fixture
def film(clips: Path, make: Make) -> bytes:
    """Two seconds with sound, their index in front."""
    return make(
        "film.mp4", "-i", clips / "bigbuckbunny.mp4", *SMALL, "-ac", "2", "-t", "2", "-movflags", "+faststart"
    ).read_bytes()


def fate(tools: Tools, source: Path, data: bytes) -> str:
    """The code with which a file is refused, before or while it is encoded; ``kept`` if all of it comes out."""
    source.write_bytes(data)
    try:
        work = planned(tools, source)
        # A lie about time makes hundreds of chunks of the same picture.
        some = work.chunks if len(work.chunks) <= 3 else (work.chunks[0], *work.chunks[-2:])
        joined_rungs(tools, work, some, source.parent / "rungs")
        joined_sound(tools, work, source.parent / "sound")
    except MediaError as refusal:
        return refusal.code
    return "kept"


@pytest.mark.parametrize(
    ("kind", "offset", "values", "expected"),
    [
        ("moov", 0, (0xFFFF_FFFF,), "kept"),
        ("moov", 0, (9,), BROKEN),
        ("trak", 0, (0,), "kept"),
        ("stsz", 16, (0xFFFF_FFFF,), BROKEN),  # samples
        ("stsz", 12, (0x7FFF_FFFF,), BROKEN),  # bytes of each
        ("stts", 12, (0xFFFF_FFFF,), BROKEN),  # entries
        ("stts", 20, (0x7FFF_FFFF,), "media_too_long"),  # ticks of a picture
        ("stts", 20, (0xFFFF_FFF0,), BROKEN),
        ("stsc", 16, (0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF), BROKEN),
        ("stco", 16, (0xFFFF_FFF0,), BROKEN),  # where the pictures lie
        ("stsd", 12, (0xFFFF_FFFF,), BROKEN),
        ("stss", 12, (0xFFFF_FFFF,), BROKEN),
        ("mdhd", 20, (0,), "kept"),  # ticks per second
        ("mvhd", 24, (0xFFFF_FFFF,), "kept"),  # length of it all
        ("elst", 12, (0x7FFF_FFFF,), "kept"),  # edits
        ("elst", 20, (0x8000_0001,), BROKEN),  # where the show begins
        ("hdlr", 16, (0x7A7A_7A7A,), "kept"),
        ("avcC", 8, (0xFFFF_FFFF,) * 5, BROKEN),
    ],
)
def test_boxes_that_lie(
    tools: Tools, film: bytes, tmp_path: Path, kind: str, offset: int, values: tuple[int, ...], expected: str
) -> None:
    """Of sizes, counts, places and clocks: no lie does more than cost the file its place."""
    assert (
        fate(tools, tmp_path / "source", hostile.lie(film, kind.encode(), offset, *values))
        in expected.split()
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (hostile.png(30_000, 30_000), "media_too_large"),
        (hostile.png(0x7FFF_FFFF, 0x7FFF_FFFF), "media_too_large"),
        (hostile.gif(65_535, 65_535), "media_too_large"),
        (hostile.compressed_index(200 << 20), "media_damaged"),
        (hostile.matroska({0: [zlib.compress(bytes(200 << 20), 9)] * 20}, packed=True), "media_undecodable"),
        (hostile.wav(65_535, 0xFFFF_FFFF, 1), "media_not_recognised"),
        (hostile.wav(64, 48_000, 4800), "media_undecodable"),
        (hostile.wav(1, 1, 50_000), "media_too_long"),
        (hostile.y4m(64, 64, "1:2000000000", 2), "media_too_long"),
        (hostile.y4m(64, 64, "2000000000:1", 30), "media_undecodable"),
        (hostile.y4m(8000, 2, "25:1", 10), "kept"),
        (hostile.y4m(2, 8000, "25:1", 10), "kept"),
        (hostile.y4m(1, 1, "25:1", 10), "kept"),
        (bytes(100_000), "media_not_recognised"),
        (b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(10_000), "media_not_recognised"),
        (b"PK\3\4" + bytes(1000), "media_not_recognised"),
        (b"\x7fELF\2\1\1" + bytes(10_000), "media_not_recognised"),
    ],
    ids=lambda value: value[:20].hex() if isinstance(value, bytes) else value,
)
def test_bombs_and_absurd_sizes_rates_and_lengths(
    tools: Tools, tmp_path: Path, data: bytes, expected: str
) -> None:
    """A few bytes that would be gigabytes or years."""
    assert fate(tools, tmp_path / "source", data) == expected


def test_pictures_that_grow_beyond_the_limit_on_the_way(tools: Tools, make: Make, tmp_path: Path) -> None:
    """A header says 320 by 180 and a later picture is larger than accepted: no decoder makes room for it."""
    small, large = (
        make(f"{size}.jpg", "-f", "lavfi", "-i", f"color=s={size}", "-frames:v", "1").read_bytes()
        for size in ("320x180", "1000x1000")
    )
    grown = hostile.matroska({0: [small] * 25, 1000: [large] * 25, 2000: [large] * 25})
    limited = replace(tools, config=replace(tools.config, max_pixels=100_000))
    assert fate(limited, tmp_path / "source", grown) == "media_too_large"
    assert fate(tools, tmp_path / "source", grown) == "kept"


@pytest.mark.parametrize("begin", [11 * 3_600_000, 13 * 3_600_000, 2**63 - 1])
def test_a_picture_that_comes_hours_later(tools: Tools, make: Make, tmp_path: Path, begin: int) -> None:
    """Within the limit on length it is shown then, beyond it the file is refused; a time beyond all clocks is no time."""
    still = make("still.jpg", "-f", "lavfi", "-i", "color=s=320x180", "-frames:v", "1").read_bytes()
    source = tmp_path / "source"
    source.write_bytes(hostile.matroska({0: [still] * 25, begin: [still]}))
    made = plan(inspect(tools, source), replace(Settings(), fingerprint=tools.fingerprint))
    if begin == 13 * 3_600_000:
        with pytest.raises(MediaError, match="longer than"):
            scan(tools, source, made)
        return
    found = scan(tools, source, made)
    assert total_frames(made, found) == (990_001 if begin < 2**60 else 25)
    last = chunks(made, found)[-1]
    assert encode_chunk(tools, source, made, last, tmp_path).tracks[0].frames == last.frames


@pytest.mark.parametrize("kind", ["mov", "matroska"])
def test_ten_thousand_streams(tools: Tools, film: bytes, tmp_path: Path, kind: str) -> None:
    """Each would cost memory before anything is known of it."""
    data = hostile.many_tracks(film, 10_000) if kind == "mov" else hostile.matroska({}, tracks=10_000)
    assert fate(tools, tmp_path / "source", data) == "media_too_many_streams"


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "avi"])
def test_cut_anywhere(tools: Tools, film: bytes, make: Make, tmp_path: Path, container: str) -> None:
    """What is there is kept, or the file is refused; the longer the rest, the more is kept."""
    (tmp_path / "whole").write_bytes(film)
    front = ("-movflags", "+faststart") if container == "mp4" else ()
    data = make(f"cut.{container}", "-i", tmp_path / "whole", "-c", "copy", *front).read_bytes()
    kept = []
    for length in (1, 8, 188, 2000, len(data) // 3, len(data) * 9 // 10, len(data) - 1):
        source = tmp_path / "source"
        code = fate(tools, source, data[:length])
        assert code == "kept" or code.startswith("media_"), (length, code)
        if code == "kept":
            kept.append(planned(tools, source).frames)
    assert kept == sorted(kept)
    assert len(kept) >= 3
    assert kept[-1] >= 49


TEXTS = {
    "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{path}\n#EXT-X-ENDLIST\n": "media_playlist_refused",
    "\ufeff\n  #EXTM3U\n#EXTINF:4,\nfile://{path}\n": "media_playlist_refused",
    "ffconcat version 1.0\nfile '{path}'\n": "media_playlist_refused",
    "<?xml version='1.0'?><MPD><Period><BaseURL>{path}</BaseURL></Period></MPD>": "media_playlist_refused",
    "<?xml version='1.0'?><!--"
    + "x" * 5000
    + "--><MPD><BaseURL>{path}</BaseURL></MPD>": "media_not_recognised",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n": "media_playlist_refused",
    "[playlist]\nFile1={path}\nNumberOfEntries=1\n": "media_playlist_refused",
    "<SmoothStreamingMedia MajorVersion='2'></SmoothStreamingMedia>": "media_playlist_refused",
    "<asx version='3.0'><entry><ref href='file://{path}'/></entry></asx>": "media_not_recognised",
    "[Reference]\nRef1=http://127.0.0.1/{path}\n": "media_not_recognised",
    "<smil><body><video src='{path}'/></body></smil>": "media_not_recognised",
    "<svg xmlns='http://www.w3.org/2000/svg'><image href='file://{path}'/></svg>": "media_not_recognised",
    "RTSPtext\nrtsp://127.0.0.1/{path}\n": "media_not_recognised",
    "file '{path}'\n": "media_not_recognised",
    "{path}\n": "media_not_recognised",
    "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n": "media_not_recognised",
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts_that_point_elsewhere(tools: Tools, film: bytes, tmp_path: Path, text: str) -> None:
    """Every kind of playlist, script and description is refused, whatever it begins with."""
    neighbour = tmp_path / "neighbour.mp4"
    neighbour.write_bytes(film)
    assert fate(tools, tmp_path / "source", text.format(path=neighbour).encode()) == TEXTS[text]


STORY = """
import sys
from pathlib import Path
from penstock.ffmpeg.config import FfmpegConfig, Isolation
from penstock.ffmpeg.discovery import discover
from penstock.video.errors import PenstockError
from tests.media.whole import joined_rungs, joined_sound, planned
tools = discover(FfmpegConfig(isolation=Isolation(sys.argv[1])))
for source in map(Path, sys.argv[2:]):
    try:
        work = planned(tools, source)
        joined_rungs(tools, work, work.chunks, source.parent / "made")
        joined_sound(tools, work, source.parent / "made")
        print("kept", source.name)
    except PenstockError as error:
        print(error.code, source.name)
"""


@pytest.mark.needs_strace
@pytest.mark.parametrize("isolation", [Isolation.NONE, Isolation.AUTO])
def test_nothing_else_is_opened_and_nobody_is_called(
    film: bytes, tmp_path: Path, isolation: Isolation
) -> None:
    """The system calls of a whole run over files that name another: it is not touched, without any sandbox too."""
    neighbour = tmp_path / "neighbour.mp4"
    neighbour.write_bytes(film)
    sources = []
    for number, text in enumerate(TEXTS):
        sources.append(tmp_path / f"text-{number}.mp4")
        sources[-1].write_text(text.format(path=neighbour), encoding="utf-8")
    sources.append(tmp_path / "reference")
    sources[-1].write_bytes(hostile.with_reference(film, neighbour))
    trace = tmp_path / "trace"
    watched = ["strace", "-f", "-qq", "-s", "300", "-e", "trace=%file,connect,bind,sendto", "-o", str(trace)]
    told = subprocess.run(
        [*watched, sys.executable, "-c", STORY, isolation, *map(str, sources)],
        capture_output=True, text=True, timeout=280, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert told.stdout.splitlines()[-1].endswith(" reference")
    calls = trace.read_text(errors="replace")
    assert str(sources[-1]) in calls
    assert str(neighbour) not in calls
    assert neighbour.name not in calls
    assert "AF_INET" not in calls
