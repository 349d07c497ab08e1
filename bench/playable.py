"""How soon somebody can watch: from the acknowledged upload to the first published seconds, for short and very long sources.

    python bench/playable.py                        a trial: one and sixty minutes at 720p, once
    python bench/playable.py --full                 1, 10 and 60 minutes and 10 hours, at 720p, 1080p and 4K, three repeats each
    python bench/playable.py --heights 720 --minutes 1 600 --repeats 5

Beside it runs what nothing can be faster than by much: one FFmpeg that makes the first segment of every rung and track, and is told
where it lies. Long sources are made by looping a cheap minute without encoding it again, and deleted once they are playable.
The same program measures how long a task waits between the commit that queues it and the start of its tool, and how long
`penstock up` takes to serve.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median as middle
from tempfile import TemporaryDirectory
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import page  # noqa: E402 - found by the line above
from bench.pairs import FOLDER, Figures, Ledger, Pair, median, ratio, stamp  # noqa: E402
from bench.transcode import CLIP, alone, ffmpeg, one_command, planned  # noqa: E402
from bench.up import up  # noqa: E402
from penstock.ffmpeg.config import FfmpegConfig, Isolation  # noqa: E402
from penstock.ffmpeg.discovery import discover  # noqa: E402
from penstock.ffmpeg.tools import Tools  # noqa: E402
from tests.cluster.running import Platform, eventually  # noqa: E402

OURS, ONE = "Penstock", "one FFmpeg"
SMALL_GOAL, LARGE_GOAL, DISPATCH_GOAL, START_GOAL = 3.0, 1.5, 0.050, 3.0
DISPATCHED = 15  # uploads whose tasks' waits are measured
# What the log says after the acknowledged upload, in order: the name of a stage that ends with the line, and the line.
STAGES: Mapping[str, Mapping[str, object]] = {
    "inspect claimed": {"event": "attempt_started", "kind": "inspect"},
    "planned": {"event": "video_inspected"},
    "first chunk claimed": {"event": "attempt_started", "kind": "transcode", "index": 0},
    "encoded": {"event": "chunk_encoded", "chunk": 0},
    "committed": {"event": "attempt_ended", "kind": "transcode", "index": 0},
    "published": {"event": "timeline_published"},
    "playable": {"event": "video_playable"},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One source. ``height`` 0: the real clip as it is."""

    minutes: int
    height: int
    repeats: int

    @property
    def name(self) -> str:
        """As the tables say it."""
        length = f"{self.minutes} min" if self.minutes < 120 else f"{self.minutes // 60} h"
        return f"film 720p, {length}" if not self.height else f"{self.height}p, {length}"

    @property
    def small(self) -> bool:
        """Whether the goal is one in seconds."""
        return self.height <= 720


TRIAL = (Case(1, 720, 1), Case(60, 720, 1))
FULL = (Case(1, 0, 3), *(Case(minutes, height, 3) for height in (720, 1080, 2160) for minutes in (1, 10, 60, 600)))  # fmt: skip


def source(tools: Tools, case: Case) -> Path:
    """A minute of moving bars and a tone, or the real clip, over and over."""
    FOLDER.mkdir(exist_ok=True)
    minute = CLIP
    if case.height:
        minute = FOLDER / f"bars-{case.height}p.mp4"
        if not minute.exists():
            size = f"{case.height * 16 // 9}x{case.height}"
            bars = ("-f", "lavfi", "-i", f"testsrc=size={size}:rate=25:duration=60")
            tone = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=60")
            encoder = ("-c:v", "libx264", "-preset", "superfast", "-crf", "35", "-g", "250", "-pix_fmt", "yuv420p")  # fmt: skip
            ffmpeg(tools, *bars, *tone, *encoder, "-c:a", "aac", "-b:a", "64k", str(minute))
    path = FOLDER / f"long-{case.height}p-{case.minutes}min.mp4"
    if not path.exists():
        ffmpeg(tools, "-stream_loop", "-1", "-i", str(minute), "-t", str(60 * case.minutes), "-c", "copy", str(path))  # fmt: skip
    return path


def penstock(path: Path) -> Figures:
    """Through a platform that has seen a video before; seconds after the acknowledged upload, by stage."""
    with up() as platform, platform.client() as client:
        client.wait(client.upload(CLIP).id)
        uploaded = client.upload(path)
        client.wait(uploaded.id, until=lambda status: status.playable or status.settled)
        video = client.video(uploaded.id)
        stages = eventually(lambda: _stages(platform, uploaded.id), "the log tells of every stage")
        client.delete(uploaded.id)
    assert video.uploaded_at is not None
    assert video.playable_at is not None
    return {"wall": (video.playable_at - video.uploaded_at).total_seconds(), **stages}


def _stages(platform: Platform, video_id: str) -> dict[str, float] | None:
    """When each stage ended, in seconds after the acknowledged upload; None while one is missing."""
    lines = platform.log(video_id=video_id)
    begun = _first(lines, {"event": "video_upload_completed"})
    ended = {stage: _first(lines, wanted) for stage, wanted in STAGES.items()}
    if begun is None or None in ended.values():
        return None
    return {stage: moment - begun for stage, moment in ended.items() if moment is not None}


def _first(lines: list[dict[str, Any]], wanted: Mapping[str, object]) -> float | None:
    found = (line for line in lines if all(line.get(name) == value for name, value in wanted.items()))
    return next((_moment(line) for line in found), None)


def _moment(line: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def one(tools: Tools, path: Path) -> Figures:
    """One hand-written command on the first segment."""
    made = planned(tools, path)
    assert made.grid is not None
    segment = float(made.grid.segment_frames / made.grid.rate)
    taken = alone(lambda folder: one_command(tools, path, made, folder, seconds=segment))
    return {"wall": taken["wall"]}


def dispatch(tools: Tools) -> Figures:
    """Seconds from the commit that queues a task, as the log tells it, to the start of its tool, while there are free places."""
    with TemporaryDirectory() as name, _Heard(Path(name), tools) as heard:
        settings = {"FFMPEG_ISOLATION": "namespace", **heard.settings}
        with up(settings) as platform, platform.client() as client:
            waits: dict[str, list[float]] = {"inspect": [], "first chunk": []}
            for number in range(DISPATCHED):
                path = Path(name) / f"{number}.mp4"
                # A box that players skip makes it another file.
                path.write_bytes(CLIP.read_bytes() + (number + 9).to_bytes(4, "big") + b"free" + bytes(number + 1))  # fmt: skip
                heard.lines.clear()
                video_id = client.upload(path).id
                client.wait(video_id, until=lambda status: status.playable or status.settled)
                lines = platform.log(video_id=video_id)
                client.delete(video_id)
                for task, queued, tool in (
                    ("inspect", "video_upload_completed", "ffprobe"),
                    ("first chunk", "video_inspected", "trim=start_pts=0:"),
                ):
                    committed = _first(lines, {"event": queued})
                    started = next(at for at, said in heard.lines if tool in said)
                    assert committed is not None
                    waits[task].append(started - committed)
    return {task: middle(each) for task, each in waits.items()}


class _Heard:
    """Tools that tell through a pipe when they start, and then become what they stand for."""

    def __init__(self, folder: Path, tools: Tools) -> None:
        self.lines: list[tuple[float, str]] = []
        self._pipe = folder / "started"
        os.mkfifo(self._pipe)
        self.settings = {}
        for name, program in (("FFMPEG", tools.ffmpeg), ("FFPROBE", tools.ffprobe)):
            path = folder / name.lower()
            told = f'echo "$EPOCHREALTIME {name.lower()} $*" > {self._pipe}'
            path.write_text(f'#!/bin/bash\n{told}\nexec {program} "$@"\n')
            path.chmod(0o755)
            self.settings[f"FFMPEG_{name}"] = str(path)

    def __enter__(self) -> Self:
        self._open = os.open(self._pipe, os.O_RDWR)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._open, b"\n")  # so that the listener looks up, and ends

    def _listen(self) -> None:
        with os.fdopen(self._open) as pipe:
            for line in pipe:
                at, _, said = line.partition(" ")
                if not at.strip():
                    return
                self.lines.append((float(at), said))


def starting() -> Figures:
    """Seconds until `penstock up` serves: in an empty folder, and again on what that left."""
    with TemporaryDirectory() as name:
        took = []
        for _ in range(2):
            platform = Platform(Path(name).resolve() / "data")
            begun = time.monotonic()
            try:
                platform.start()
                took.append(time.monotonic() - begun)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    if platform.process is not None:
                        platform.process.terminate()
                        platform.process.wait(60)
                platform.close()
    return {"first": took[0], "again": took[1]}


def report(tools: Tools, measured: Mapping[Case, list[Pair]], others: Mapping[str, list[Pair]], command: str) -> str:  # fmt: skip
    """The section of the page."""
    lines = [HEAD, "| source | until playable, s | one FFmpeg on the first segment, s | ratio | goal | |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for case, pairs in measured.items():
        seconds, times = median(pairs, OURS, "wall"), ratio(pairs, OURS, ONE, "wall")
        wanted = (f"{SMALL_GOAL:g} s", page.verdict(seconds, SMALL_GOAL))
        if not case.small:
            wanted = (f"{LARGE_GOAL:g} times", page.verdict(times, LARGE_GOAL))
        lines.append(
            f"| {case.name} | {seconds:.2f} | {median(pairs, ONE, 'wall'):.2f} | {times:.2f} | {wanted[0]} | {wanted[1]} |"
        )
    lines += ["", "Where the time goes: seconds that each stage took.", ""]
    lines += [f"| source | {' | '.join(STAGES)} |", "| --- |" + " --- |" * len(STAGES)]
    for case, pairs in measured.items():
        ends = [0.0, *(median(pairs, OURS, stage) for stage in STAGES)]
        steps = (f"{max(end - start, 0):.3f}" for start, end in pairwise(ends))
        lines.append(f"| {case.name} | {' | '.join(steps)} |")
    lines += ["", "| besides | measured | goal | |", "| --- | --- | --- | --- |"]
    for name, goal, what, text in (
        ("dispatch", DISPATCH_GOAL, "inspect", "from the acknowledged upload to the start of the first probe"),
        ("dispatch", DISPATCH_GOAL, "first chunk", "from the commit of the plan to the start of the first chunk's encoder"),
        ("starting", START_GOAL, "first", "`penstock up` in an empty folder until it serves"),
        ("starting", START_GOAL, "again", "the same on a folder that it has run on"),
    ):  # fmt: skip
        if pairs := others.get(name, []):
            value = median(pairs, OURS, what)
            shown = f"{value * 1000:.0f} ms" if goal < 1 else f"{value:.2f} s"
            told = f"{goal * 1000:.0f} ms" if goal < 1 else f"{goal:g} s"
            lines.append(f"| {text} | {shown} | {told} | {page.verdict(value, goal)} |")
    every = [pair for pairs in (*measured.values(), *others.values()) for pair in pairs]
    return "\n".join([*lines, "", page.origin(every, command, f"FFmpeg {tools.version}")])


HEAD = """\
## How soon a video plays

Seconds from the acknowledged upload until the first segment of every rung and sound track is durable, recorded and published, through the
whole platform as `penstock up` runs it (media tools in bubblewrap), beside one hand-written FFmpeg command that makes those segments and does nothing else. Sources are moving bars and a tone,
one minute looped without encoding it again, but for the film, which is the clip of the encoding benchmark. Each long one is deleted once it is playable;
while its first chunk is encoded, its packets are read to the end and its sound is begun. Medians.

Waiting for a tool is measured with tools that first tell the time: it includes starting a Python that prepares the sandbox, here a network namespace.
"""


def main() -> int:
    """Measure, print, and write the section where asked."""
    parser = page.arguments(__doc__)
    parser.add_argument("--minutes", type=int, nargs="+", help="lengths of the sources")
    parser.add_argument("--heights", type=int, nargs="+", default=[720], help="of the sources (0: film)")
    parser.add_argument("--repeats", type=int, default=1, help="with --minutes (default 1)")
    parsed = parser.parse_args()
    options = page.asked(parsed)
    cases = FULL if options.full else TRIAL
    if parsed.minutes:
        cases = tuple(Case(m, h, parsed.repeats) for h in parsed.heights for m in parsed.minutes)
    tools = discover(FfmpegConfig(isolation=Isolation.NONE, nice=0))
    ledger = Ledger(FOLDER / "playable.jsonl", stamp(("ffmpeg", "processing", "video", "catalog", "storage", "upload", "wiring"), tools.fingerprint))  # fmt: skip
    others: dict[str, Mapping[str, Callable[[], Figures]]] = {
        "dispatch": {OURS: partial(dispatch, tools)},
        "starting": {OURS: starting},
    }
    if options.afresh:
        for name in (*others, *(case.name for case in cases)):
            ledger.forget(name)
    measured = {}
    for case in cases:
        if not options.report and len(ledger.pairs(case.name)) < case.repeats:
            path = source(tools, case)
            ledger.run(case.name, {OURS: partial(penstock, path), ONE: partial(one, tools, path)}, case.repeats)  # fmt: skip
            if case.minutes > 60:
                path.unlink()  # gigabytes
        if pairs := ledger.pairs(case.name):
            measured[case] = pairs
    for name, contenders in others.items():
        if not options.report:
            ledger.run(name, contenders, 3 if options.full else 1)
    if not measured:
        print("Nothing was measured with this code and these tools.", file=sys.stderr)
        return 1
    told = {name: ledger.pairs(name) for name in others}
    page.tell("playable", report(tools, measured, told, page.command()), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
