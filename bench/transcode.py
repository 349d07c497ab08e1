"""What Penstock's way of encoding costs beside FFmpeg alone: the same clip, ladder and encoder settings, three ways.

    python bench/transcode.py                       a clip looped to 20 s, three repeats; two to three minutes on two idle cores
    python bench/transcode.py --seconds 120 --repeats 5
    python bench/transcode.py --write               writes docs/benchmarks.md as well

- *Penstock*: the calls of the ffmpeg room over all chunks, two at a time as on two cores, and the sound; segments hashed and checked.
- *one command*: one decode, every rung scaled from the source as such commands are usually written, fragmented MP4 for HLS.
- *one run per rung*: the same, each rung by a process of its own, all started together.

FFmpeg alone chooses its own threads. CPU seconds are those of the media tools (and of nothing in Python), wall seconds those of
the whole. Each repeat runs all three, so what disturbs the machine disturbs all; ratios are medians over the repeats.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from penstock.ffmpeg.config import FfmpegConfig, Isolation  # noqa: E402 - found by the line above
from penstock.ffmpeg.discovery import discover  # noqa: E402
from penstock.ffmpeg.encode import encode_audio, encode_chunk  # noqa: E402
from penstock.ffmpeg.inspect import inspect, scan  # noqa: E402
from penstock.ffmpeg.tools import Tools  # noqa: E402
from penstock.video.ladder import Rung  # noqa: E402
from penstock.video.plan import Plan, Settings, chunks, plan, total_frames  # noqa: E402
from tests.cluster.running import Platform  # noqa: E402

CLIP = ROOT / "tests" / "media" / "bigbuckbunny.mp4"
PAGE = ROOT / "docs" / "benchmarks.md"
AT_ONCE = 2  # chunks; what Penstock does on two cores


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one way, once."""

    cpu: float  # seconds, of the media tools
    wall: float
    size: int  # bytes written


def looped(tools: Tools, seconds: float, folder: Path) -> Path:
    """The clip over and over without encoding it again."""
    path = folder / "source.mp4"
    _ffmpeg(tools, "-stream_loop", "-1", "-i", str(CLIP), "-t", str(seconds), "-c", "copy", str(path))
    return path


def penstock(tools: Tools, source: Path, folder: Path) -> None:
    """Look, plan, scan, encode every chunk and every audio track."""
    made = planned(tools, source)
    cut = chunks(made, scan(tools, source, made))
    with ThreadPoolExecutor(AT_ONCE) as slots, ThreadPoolExecutor(len(made.audio) or 1) as beside:
        sounds = [
            beside.submit(encode_audio, tools, source, made, track, folder / track.name)
            for track in made.audio
        ]
        pictures = [
            slots.submit(encode_chunk, tools, source, made, chunk, folder / str(chunk.index)) for chunk in cut
        ]
        for sound in sounds:
            sound.result()
        for picture in pictures:
            picture.result()


def one_command(
    tools: Tools, source: Path, made: Plan, folder: Path, *, seconds: float | None = None
) -> None:
    """Everything from one decode."""
    rungs = made.rungs
    labels = "".join(f"[s{n}]" for n in range(len(rungs)))
    graph = [f"[0:v]split={len(rungs)}{labels}"]
    graph += [f"[s{n}]scale={rung.width}:{rung.height}[v{n}]" for n, rung in enumerate(rungs)]
    arguments = ["-filter_complex", ";".join(graph)]
    for n, rung in enumerate(rungs):
        arguments += ["-map", f"[v{n}]", *_x264(made, rung), *_hls(folder, rung.name, seconds)]
    _ffmpeg(tools, "-i", str(source), *arguments, *_sound(folder, seconds))


def per_rung(tools: Tools, source: Path, made: Plan, folder: Path) -> None:
    """A process for each rung, and one for the sound."""
    commands = [
        ["-map", "0:v", "-vf", f"scale={rung.width}:{rung.height}", *_x264(made, rung), *_hls(folder, rung.name, None)]
        for rung in made.rungs
    ]  # fmt: skip
    with ThreadPoolExecutor(len(commands) + 1) as pool:
        for done in [
            pool.submit(_ffmpeg, tools, "-i", str(source), *command)
            for command in [*commands, _sound(folder, None)]
        ]:
            done.result()


def planned(tools: Tools, source: Path) -> Plan:
    """The plan under default settings."""
    return plan(inspect(tools, source), replace(Settings(), fingerprint=tools.fingerprint))


def cost(way: Callable[[Path], None]) -> Cost:
    """What one run of ``way`` into a fresh folder takes."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        way(folder)
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in {".m4s", ".mp4"})
        return Cost(cpu, wall, size)


def playable(tools: Tools, source: Path, made: Plan) -> tuple[float, float]:
    """Seconds until a viewer could begin: after the upload through the whole platform; after a run on one segment only."""
    with TemporaryDirectory() as name:
        up = Platform(Path(name).resolve() / "data").start()
        try:
            with up.client() as client:
                uploaded = client.upload(source)
                client.wait(uploaded.id)
                video = client.video(uploaded.id)
        finally:
            up.stop()
    assert video.playable_at is not None
    assert video.uploaded_at is not None
    segment = float((made.grid.segment_frames / made.grid.rate) if made.grid else 4)
    alone = cost(lambda folder: one_command(tools, source, made, folder, seconds=segment))
    return (video.playable_at - video.uploaded_at).total_seconds(), alone.wall


def _x264(made: Plan, rung: Rung) -> list[str]:
    assert made.grid is not None
    gop = str(made.grid.gop_frames)
    return [
        *("-c:v", "libx264", "-preset", made.preset, "-profile:v", "high", "-pix_fmt", "yuv420p"),
        *("-crf", str(rung.crf), "-maxrate", str(rung.maxrate), "-bufsize", str(rung.bufsize)),
        *("-g", gop, "-keyint_min", gop, "-bf", "3", "-x264-params", "scenecut=0:open-gop=0"),
    ]


def _hls(folder: Path, name: str, seconds: float | None) -> list[str]:
    (folder / name).mkdir(parents=True, exist_ok=True)
    ending = ["-t", str(seconds)] if seconds is not None else []
    return [
        *ending,
        *("-f", "hls", "-hls_time", "4", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"),
        *("-hls_segment_filename", str(folder / name / "%d.m4s"), str(folder / name / "index.m3u8")),
    ]


def _sound(folder: Path, seconds: float | None) -> list[str]:
    return ["-map", "0:a", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", *_hls(folder, "audio", seconds)]  # fmt: skip


def _ffmpeg(tools: Tools, *arguments: str) -> None:
    subprocess.run([tools.ffmpeg, "-nostdin", "-v", "error", *arguments], check=True)


def main() -> int:
    """Measure, print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the looped clip (default 20)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way (default 3)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args()
    # Without bubblewrap: the CPU seconds of what it starts are not counted to whoever waits for it. At nobody's cost: on a
    # busy machine the service's encodes step back for others, which FFmpeg alone does not.
    tools = discover(FfmpegConfig(isolation=Isolation.NONE, nice=0))
    load = os.getloadavg()[0]
    with TemporaryDirectory() as name:
        source = looped(tools, asked.seconds, Path(name).resolve())
        made = planned(tools, source)
        frames = total_frames(made, scan(tools, source, made))
        ways: dict[str, Callable[[Path], None]] = {
            "Penstock": lambda folder: penstock(tools, source, folder),
            "one command": lambda folder: one_command(tools, source, made, folder),
            "one run per rung": lambda folder: per_rung(tools, source, made, folder),
        }
        runs = [{label: cost(way) for label, way in ways.items()} for _ in range(asked.repeats)]
        first, alone = playable(tools, source, made)
    text = report(tools, made, frames, asked.seconds, load, runs) + (
        f"\nUntil a viewer can begin: **{first:.1f} s** after the upload through the whole platform (inspected, planned, encoded in "
        f"every rung, stored durably, published), against {alone:.1f} s of the one command on the first segment alone, of which "
        "nobody knows yet where it lies. Each from one run.\n"
    )
    print(text)
    if asked.write:
        command = f"python bench/transcode.py --seconds {asked.seconds:g} --repeats {asked.repeats}"
        PAGE.write_text(f"{HEAD}\n{text}\nFrom `{command} --write`, written by the program itself.\n")
    return 0


HEAD = """\
# Benchmarks

What was measured, on what, and how to repeat it. `make bench` runs every program of `bench/`; each runs by itself as well.
Figures of membership are in [membership](membership.md).

## Encoding, beside FFmpeg alone

The same clip, ladder and encoder settings three ways: Penstock's chunks and sound as the service encodes them (hashed and checked);
one hand-written FFmpeg command with every rung scaled from the source; one FFmpeg run per rung, all at once. FFmpeg alone chooses its
own threads. Every repeat runs all three, so what else the machine does disturbs all; ratios are medians over the repeats.
CPU seconds are those of the media tools. Below 1: Penstock needs less. Its encodes run at the niceness of the others here; in
service, all but first chunks step back for whatever else the machine does (`PENSTOCK_FFMPEG_NICE`).
"""


def report(
    tools: Tools, made: Plan, frames: int, seconds: float, load: float, runs: list[dict[str, Cost]]
) -> str:
    """The tables, with what they were made on."""
    ladder = ", ".join(f"{rung.name} {rung.width}x{rung.height}" for rung in made.rungs)
    lines = [
        f"A clip of five seconds looped to {seconds:g} s ({CLIP.name}, {frames} frames; a loop repeats its pictures, so sizes say little); "
        f"{ladder}; H.264 {made.preset}, sound AAC. FFmpeg {tools.version}, Python {platform.python_version()}, {_processor()}, "
        f"{os.cpu_count()} processors, {platform.system()} {platform.release()}; load {load:.1f} before the first run"
        + (", that is: busy with other work, which stretches wall-clock times.\n" if load > 1 else ".\n"),
        "| way | CPU s | wall s | MB |",
        "| --- | --- | --- | --- |",
    ]
    for label in runs[0]:
        own = [run[label] for run in runs]
        lines.append(
            f"| {label} | {_median(own, 'cpu'):.1f} | {_median(own, 'wall'):.1f} | {_median(own, 'size') / 1e6:.2f} |"
        )
    lines += ["", "| Penstock against | CPU | wall | from to, CPU |", "| --- | --- | --- | --- |"]
    for label in list(runs[0])[1:]:
        cpu = sorted(run["Penstock"].cpu / run[label].cpu for run in runs)
        wall = statistics.median(run["Penstock"].wall / run[label].wall for run in runs)
        lines.append(
            f"| {label} | {statistics.median(cpu):.2f} | {wall:.2f} | {cpu[0]:.2f} to {cpu[-1]:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _median(costs: list[Cost], what: str) -> float:
    return float(statistics.median(getattr(cost, what) for cost in costs))


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
