import array
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from subprocess import run as execute

import pytest

from penstock.ffmpeg.tools import Tools
from penstock.video.plan import Settings
from tests.media.conftest import Make
from tests.media.whole import joined_rungs, joined_sound, planned

# Once a second the picture is white for a moment and a tone is heard: where one begins, the other must.
FLASH = "color=black:s=320x240:r={rate}:d=12,drawbox=t=fill:color=white:enable='lt(mod(t+0.001,1),0.09)'"
TONE = "aevalsrc='if(lt(mod(t,1),0.09),0.9*sin(2*PI*1000*t),0)':s=48000:d=12"
PICTURES = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "40")


def onsets(values: list[float], per_second: float, threshold: float) -> list[float]:
    """Seconds at which values rise above the threshold after a quiet half second."""
    found, quiet = [], per_second
    for index, value in enumerate(values):
        if value > threshold:
            if quiet >= per_second / 2:
                found.append(index / per_second)
            quiet = 0
        else:
            quiet += 1
    return found


def flashes(tools: Tools, media: Path, rate: Fraction) -> list[float]:
    """When the picture turns white, as a player shows it."""
    graph = f"fps={rate.numerator}/{rate.denominator}:start_time=0,scale=1:1:flags=area,format=gray"
    command: list[str | Path] = [
        tools.ffmpeg,
        "-v",
        "error",
        "-i",
        media,
        "-vf",
        graph,
        "-f",
        "rawvideo",
        "-",
    ]
    raw = execute(command, check=True, capture_output=True, timeout=300).stdout
    return onsets([float(byte) for byte in raw], float(rate), 128)


def tones(tools: Tools, media: Path) -> list[float]:
    """When the tone begins, as a player plays it."""
    graph = "aresample=8000:async=1:first_pts=0,aformat=channel_layouts=mono"
    command: list[str | Path] = [tools.ffmpeg, "-v", "error", "-i", media, "-af", graph, "-f", "s16le", "-"]
    samples = array.array("h", execute(command, check=True, capture_output=True, timeout=300).stdout)
    return onsets([abs(sample) for sample in samples], 8000, 8000)


def plain(make: Make, rate: str) -> Path:
    """Both tracks begin at zero."""
    inputs = ("-f", "lavfi", "-i", FLASH.format(rate=rate), "-f", "lavfi", "-i", TONE)
    return make("plain.mp4", *inputs, *PICTURES, "-c:a", "aac")


def late_pictures(make: Make, rate: str) -> Path:
    """The first three seconds and a bit have sound only."""
    return make(
        "late.mp4", "-i", plain(make, rate), "-c:a", "copy", "-vf", "trim=start=3.21", *PICTURES, "-copyts"
    )


def late_sound(make: Make, rate: str) -> Path:
    """The first two seconds and a bit are silent, because there is no sound."""
    source = plain(make, rate)
    return make(
        "late.mkv", "-i", source, "-c:v", "copy", "-af", "atrim=start=2.345", "-c:a", "flac", "-copyts"
    )


def transport_stream(make: Make, rate: str) -> Path:
    """Times begin somewhere, and the container is cut at neither track's beginning."""
    whole = make("whole.ts", "-i", plain(make, rate), "-c", "copy", "-output_ts_offset", "95443")
    data = whole.read_bytes()
    cut = whole.with_name("cut.ts")
    cut.write_bytes(data[len(data) // 188 // 5 * 188 :])
    return cut


def edit_list(make: Make, rate: str) -> Path:
    """Cut without encoding: the edit list begins between keyframes."""
    return make("cut.mp4", "-ss", "2.5", "-i", plain(make, rate), "-c", "copy")


def before_zero(make: Make, rate: str) -> Path:
    """Times below zero."""
    return make(
        "negative.mkv",
        "-i",
        plain(make, rate),
        "-c",
        "copy",
        "-output_ts_offset",
        "-2.7",
        "-avoid_negative_ts",
        "0",
    )


def with_a_hole(make: Make, rate: str) -> Path:
    """Four seconds of sound are missing in the middle."""
    graph = "aselect='not(between(t,4.2,8.2))'"
    return make("hole.mkv", "-i", plain(make, rate), "-c:v", "copy", "-af", graph, "-c:a", "flac")


@pytest.mark.parametrize("rate", ["25", "30000/1001"])
@pytest.mark.parametrize(
    "source", [plain, late_pictures, late_sound, transport_stream, edit_list, before_zero, with_a_hole]
)
def test_flashes_and_tones_stay_together(
    tools: Tools, make: Make, tmp_path: Path, source: Callable[[Make, str], Path], rate: str
) -> None:
    """Whatever the tracks' first timestamps are, to within a frame, from the first chunk to the last."""
    work = planned(tools, source(make, rate), Settings(max_rung=240))
    assert work.plan.grid is not None
    assert len(work.chunks) > 1
    folder = tmp_path / "made"
    folder.mkdir()
    seen = flashes(tools, joined_rungs(tools, work, work.chunks, folder)["240p"], work.plan.grid.rate)
    heard = tones(tools, joined_sound(tools, work, folder)["audio-0"])
    together = [(flash, tone) for flash in seen for tone in heard if abs(flash - tone) < 0.5]
    assert len(together) >= 5
    for flash, tone in together:
        assert abs(flash - tone) <= 1 / work.plan.grid.rate + Fraction(1, 500), (seen, heard)
