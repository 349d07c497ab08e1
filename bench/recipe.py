"""What the transcoding recipe costs, beside what it could be: CPU seconds and ratios, on the clips of tests/media.

CPU seconds are those of the media tools alone (without bubblewrap, whose children are not counted), so that a busy machine
changes them little; wall-clock times say what this machine does just now. Figures in docs/media-recipe.md come from here.
"""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock.ffmpeg import commands
from penstock.ffmpeg.config import FfmpegConfig, Isolation
from penstock.ffmpeg.discovery import discover
from penstock.ffmpeg.encode import encode_audio, encode_chunk
from penstock.ffmpeg.inspect import inspect, scan
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.video.plan import Chunk, Plan, Profile, Settings, chunks, plan, total_frames

CLIPS = Path(__file__).resolve().parent.parent / "tests" / "media"


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of the processes that ``work`` runs; the best of three, as others disturb."""
    best = (float("inf"), float("inf"))
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        work()
        after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = (min(best[0], ended - began), min(best[1], cpu))
    return best


def first_chunk(plan_: Plan) -> Chunk:
    """Four seconds from the beginning, whatever the header is believed to say."""
    assert plan_.grid is not None
    return Chunk(0, 0, plan_.grid.segment_frames, 1, 1, None, last=False)


def discard(tools: Tools, command: commands.Command) -> None:
    """Run a command and throw away what it makes."""
    run(tools, command, {pipe: lambda _: None for pipe in range(3, 3 + command.pipes)})


def one_by_one(tools: Tools, source: Path, plan_: Plan, chunk: Chunk) -> None:
    """The same chunk with a run of its own for each rung."""
    for rung in plan_.rungs:
        discard(
            tools,
            commands.encode_chunk(source, replace(plan_, rungs=(rung,)), chunk, tools.config.max_pixels),
        )


def fan(command: commands.Command, plan_: Plan) -> commands.Command:
    """The same chunk with every rung scaled from the source."""
    words = list(command.arguments)
    at = words.index("-filter_complex") + 1
    top = plan_.rungs[-1]
    size = f"scale={top.width}:{top.height}:flags=bicubic"
    head, _, tail = words[at].partition(size)
    tail = re.sub(r",split=2\[v\d+\].*", "", tail)
    count = len(plan_.rungs)
    branches = [
        f"[f{n}]scale={rung.width}:{rung.height}:flags=bicubic{tail}[v{n}]"
        for n, rung in enumerate(plan_.rungs)
    ]
    labels = "".join(f"[f{n}]" for n in range(count))
    words[at] = ";".join([f"{head.rstrip(',')},split={count}{labels}", *branches])
    return replace(command, arguments=tuple(words))


def video(tools: Tools, name: str) -> None:
    """The way to the first segments, and what each part of the recipe saves."""
    source = CLIPS / name
    media = inspect(tools, source)
    made = plan(media, Settings())
    chunk = first_chunk(made)
    assert made.grid is not None
    seconds = float(chunk.frames / made.grid.rate)
    sizes = " ".join(rung.name for rung in made.rungs)
    print(f"{name}: {seconds:.2f} s in {sizes}")
    wall, cpu = cost(lambda: inspect(tools, source))
    print(f"  inspect                      {cpu:6.2f} CPU s {wall:6.2f} s")
    for profile in Profile:
        other = plan(media, Settings(profile=profile))
        with TemporaryDirectory() as folder:
            wall, cpu = cost(lambda: encode_chunk(tools, source, other, chunk, Path(folder)))  # noqa: B023
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.m4s"))
        print(f"  first chunk, {profile.value:9}       {cpu:6.2f} CPU s {wall:6.2f} s   {size / 1000:.0f} kB")
    _, together = cost(
        lambda: discard(tools, commands.encode_chunk(source, made, chunk, tools.config.max_pixels))
    )
    _, fanned = cost(
        lambda: discard(tools, fan(commands.encode_chunk(source, made, chunk, tools.config.max_pixels), made))
    )
    _, apart = cost(lambda: one_by_one(tools, source, made, chunk))
    print(f"  one decode for all rungs     {together / apart:6.2f} of one run per rung ({apart:.2f} CPU s)")
    print(f"  rungs scaled in a cascade    {together / fanned:6.2f} of scaling each from the source")


def long(tools: Tools, folder: Path) -> None:
    """A source of an hour: what it costs to scan it and to begin anywhere."""
    source = folder / "hour.mp4"
    loop: list[str | Path] = [tools.ffmpeg, "-v", "error", "-stream_loop", "119"]
    loop += ["-i", CLIPS / "car-detection.mp4", "-c", "copy"]
    subprocess.run([*loop, source], check=True)
    media = inspect(tools, source)
    made = plan(media, Settings())
    found = scan(tools, source, made)
    print(
        f"an hour (a clip looped): {total_frames(made, found)} frames, {source.stat().st_size / 1e6:.0f} MB"
    )
    wall, cpu = cost(lambda: inspect(tools, source))
    print(f"  inspect                      {cpu:6.2f} CPU s {wall:6.2f} s")
    wall, cpu = cost(lambda: scan(tools, source, made))
    print(f"  scan                         {cpu:6.2f} CPU s {wall:6.2f} s")
    cut = chunks(made, found)
    for chunk in (cut[1], cut[len(cut) // 2], cut[-2]):
        wall, cpu = cost(
            lambda: discard(tools, commands.encode_chunk(source, made, chunk, tools.config.max_pixels))  # noqa: B023
        )
        at = float(Fraction(chunk.first_frame) / (made.grid.rate if made.grid else 1))
        print(f"  a chunk of 16 s at {at:6.0f} s    {cpu:6.2f} CPU s {wall:6.2f} s")
    wall, cpu = cost(lambda: encode_audio(tools, source, made, made.audio[0], folder))
    print(
        f"  sound, stereo                {float(made.duration or 0) / cpu:6.0f} times real time on one core"
    )


def isolation(tools: Tools) -> None:
    """What keeping a process away from the machine adds to its start."""
    for level in (Isolation.NONE, Isolation.NAMESPACE, Isolation.BUBBLEWRAP):
        wall, _ = cost(lambda: discard(replace(tools, isolation=level), commands.about("version")))  # noqa: B023
        print(f"  start and end under {level.value:11}{wall * 1000:5.0f} ms")


def main() -> int:
    """Print everything."""
    tools = discover(FfmpegConfig(isolation=Isolation.NONE))
    print(f"FFmpeg {tools.version}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for name in ("bigbuckbunny.mp4", "car-detection.mp4", "hdr10-av1.mp4"):
        video(tools, name)
    with TemporaryDirectory() as folder:
        long(tools, Path(folder))
    print("isolation:")
    isolation(tools)
    return 0


if __name__ == "__main__":
    sys.exit(main())
