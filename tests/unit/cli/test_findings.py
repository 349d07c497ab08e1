import pytest

from penstock.cli import findings
from penstock.upload.findings import Decided, Found
from penstock.video import plan as planning
from penstock.video.media import Colour, Scan, SkippedStream, SourceMedia
from tests.unit.video.sources import picture, sound, source, subtitles


def shown(media: SourceMedia, capsys: pytest.CaptureFixture[str], *, scanned: bool = True) -> str:
    """What ``show`` prints of a source, from what the server answers."""
    plan = planning.plan(media, planning.Settings())
    numbers = {"frames": 15000, "chunks": 38} if scanned else {"frames": None, "chunks": None}
    findings.show_found(Found.of(media, truncated=scanned).model_dump(mode="json"))
    findings.show_decided(Decided.of(plan, **numbers).model_dump(mode="json"))
    return capsys.readouterr().out


def test_people_read_what_was_found_and_decided(capsys: pytest.CaptureFixture[str]) -> None:
    """Size, turn, rate, range, fields, languages and what was left out; grid, treatment and every rung."""
    media = source(
        video=(picture(rotation=90, scan=Scan.TOP_FIRST, colour=Colour(transfer="arib-std-b67")),),
        audio=(sound(language="deu", title="Ton [roh]"),),
        subtitles=(subtitles(language="fin"),),
        skipped=(SkippedStream(4, "video", "cover_art"),),
    )
    text = shown(media, capsys)
    for words in (
        "h264 1280x720, 25 frames/s, 8 bit, turned 90 degrees, HDR (hlg), interlaced, top first",
        "aac, 2 channels, 48000 Hz, deu, Ton [roh]",
        "subrip, fin",
        "stream 4: video, cover_art",
        "cut short",
        "15000 frames",
        "38 chunks",
        "turned by 90 degrees, deinterlaced, mapped from HDR to BT.709",
        "720x1280",
        "AAC-LC",
    ):
        assert words in text


def test_sound_alone_has_no_grid(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is said of pictures where there are none, nor of what only the scan will tell."""
    text = shown(source(video=()), capsys, scanned=False)
    assert "picture" not in text
    assert "grid" not in text
    assert "audio-0" in text
