"""What a video costs through Penstock beside what FFmpeg and another packager take: same clip, ladder, encoder settings.

    python bench/transcode.py                       a trial: 20 s at 720p, once; under three minutes on two cores
    python bench/transcode.py --full                3 minutes at 720p and at 1080p, three repeats each, and 10 minutes at 720p once
    python bench/transcode.py --seconds 60 --height 1080 --repeats 3

- *Penstock*: the whole platform as `penstock up` runs it: the file is uploaded over HTTP, and the clock runs from the moment when
  it is acknowledged until the video is ready: inspected, encoded, every segment durable, checked, published.
- *one command*: one hand-written FFmpeg command: one decode, every rung scaled from the source, HLS segments.
- *one run per rung*: the same, each rung and each sound track by a process of its own, all started together.
- *Shaka Streamer*, with its own and with the same encoder settings: see bench/shaka.py.

All make the same rungs and the same sound tracks with the same FFmpeg and x264 preset. FFmpeg alone chooses its own threads.
Penstock's media tools run in network namespaces instead of bubblewrap here, because what bubblewrap starts is not counted to
whoever waits for it, and at no niceness, because the others have none.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import page, shaka  # noqa: E402 - found by the line above
from bench.pairs import FOLDER, Figures, Ledger, Pair, median, ratio, ratios, stamp  # noqa: E402
from bench.processes import Cpu, Peak, cpu  # noqa: E402
from bench.up import up  # noqa: E402
from penstock.ffmpeg.config import FfmpegConfig, Isolation  # noqa: E402
from penstock.ffmpeg.discovery import discover  # noqa: E402
from penstock.ffmpeg.inspect import inspect  # noqa: E402
from penstock.ffmpeg.tools import Tools  # noqa: E402
from penstock.video.ladder import Rung  # noqa: E402
from penstock.video.plan import Plan, Settings, plan  # noqa: E402

CLIP = ROOT / "tests" / "media" / "bigbuckbunny.mp4"
CPU_GOAL, WALL_GOAL, REST_GOAL = 1.08, 1.05, 0.02
OURS, ONE, PER_RUNG, SHAKA = "Penstock", "one command", "one run per rung", "Shaka Streamer"
ALIKE = "Shaka Streamer, same encoder settings"
AS_IT_COMES = (
    f"Shaka Streamer, {shaka.OWN_PRESET}"  # in sources of a minute and less: it takes several times as long
)


@dataclass(frozen=True, slots=True)
class Case:
    """One source to be measured with."""

    seconds: int
    height: int
    repeats: int

    @property
    def others(self) -> tuple[str, ...]:
        """Whom Penstock is measured against."""
        return (ONE, PER_RUNG, SHAKA, ALIKE, *((AS_IT_COMES,) if self.seconds <= 60 else ()))

    @property
    def name(self) -> str:
        """As the tables say it."""
        length = f"{self.seconds // 60} min" if self.seconds % 60 == 0 else f"{self.seconds} s"
        return f"{self.height}p, {length}"


TRIAL = (Case(20, 720, 1),)
FULL = (Case(60, 720, 1), Case(180, 720, 3), Case(180, 1080, 3), Case(600, 720, 1))


def looped(tools: Tools, case: Case) -> Path:
    """The clip over and over; where it has to be larger, it is enlarged once before, which nobody's time includes."""
    FOLDER.mkdir(exist_ok=True)
    clip = CLIP
    if case.height != 720:
        clip = FOLDER / f"clip-{case.height}p.mp4"
        if not clip.exists():
            larger = ("-vf", f"scale=-2:{case.height}:flags=lanczos", "-c:v", "libx264", "-crf", "16")
            ffmpeg(tools, "-i", str(CLIP), *larger, "-c:a", "copy", str(clip))
    path = FOLDER / f"source-{case.height}p-{case.seconds}s.mp4"
    if not path.exists():
        ffmpeg(tools, "-stream_loop", "-1", "-i", str(clip), "-t", str(case.seconds), "-c", "copy", str(path))  # fmt: skip
    return path


def penstock(source: Path) -> Figures:
    """Through the whole platform, once it has seen a video. CPU: of everything from the first byte of the upload on."""
    with up({"FFMPEG_ISOLATION": "namespace", "FFMPEG_NICE": "0"}) as platform:
        assert platform.process is not None
        services = {each: platform.pids(each)[-1] for each in ("web", "processing")}
        pids = {"supervisor": platform.process.pid, **services}
        with platform.client() as client:
            client.wait(client.upload(CLIP).id)  # a service has seen a video before
        before = {each: cpu(pid) for each, pid in pids.items()}
        with platform.client() as client, Peak([platform.process.pid]) as peak:
            uploaded = client.upload(source)
            client.wait(uploaded.id)
            video = client.video(uploaded.id)
        took = {each: cpu(pid) - before[each] for each, pid in pids.items()}
        size = _size(platform.data / "outputs" / uploaded.id)
    assert video.ready_at is not None
    assert video.uploaded_at is not None
    assert video.playable_at is not None
    ready, playable = (
        (moment - video.uploaded_at).total_seconds() for moment in (video.ready_at, video.playable_at)
    )
    return _ours(took, ready, playable, peak.bytes, size)


def _ours(took: Mapping[str, Cpu], wall: float, playable: float, peak: int, size: int) -> Figures:
    tools = took["processing"].children
    rest = sum(each.own for each in took.values())
    return {
        "cpu": tools + rest,
        "rest": rest,
        **{f"rest of {each}": of.own for each, of in took.items()},
        "wall": wall,
        "playable": playable,
        "peak": peak / 1e6,
        "size": size / 1e6,
    }


def alone(way: Callable[[Path], None]) -> Figures:
    """What one run of a way into a fresh folder takes."""
    with TemporaryDirectory() as name, Peak([os.getpid()], without=os.getpid()) as peak:
        folder = Path(name).resolve()
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        way(folder)
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"cpu": taken, "wall": wall, "peak": peak.bytes / 1e6, "size": _size(folder) / 1e6}


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
    for sound in _sounds(made, folder, seconds):
        arguments += sound
    ffmpeg(tools, "-i", str(source), *arguments)


def per_rung(tools: Tools, source: Path, made: Plan, folder: Path) -> None:
    """A process for each rung and each sound track."""
    commands = [
        ["-map", "0:v", "-vf", f"scale={rung.width}:{rung.height}", *_x264(made, rung), *_hls(folder, rung.name, None)]
        for rung in made.rungs
    ]  # fmt: skip
    commands += _sounds(made, folder, None)
    with ThreadPoolExecutor(len(commands)) as pool:
        for done in [pool.submit(ffmpeg, tools, "-i", str(source), *command) for command in commands]:
            done.result()


def planned(tools: Tools, source: Path) -> Plan:
    """The plan under default settings."""
    return plan(inspect(tools, source), replace(Settings(), fingerprint=tools.fingerprint))


def bitrates(tools: Tools, source: Path, made: Plan) -> dict[str, int]:
    """What each rung of the one command took on the first ten seconds, in bit/s: the goal for encoders that need one."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        one_command(tools, source, made, folder, seconds=10)
        return {rung.name: _size(folder / rung.name) * 8 // 10 for rung in made.rungs}


def measure(tools: Tools, case: Case, ledger: Ledger, options: page.Asked) -> list[Pair]:
    """The repeats of a case."""
    if options.report:
        return ledger.pairs(case.name)
    if options.afresh:
        ledger.forget(case.name)
    if len(ledger.pairs(case.name)) < case.repeats:
        source = looped(tools, case)
        made = planned(tools, source)
        rates = bitrates(tools, source, made)
        contenders = {
            OURS: partial(penstock, source),
            ONE: partial(alone, partial(one_command, tools, source, made)),
            PER_RUNG: partial(alone, partial(per_rung, tools, source, made)),
            SHAKA: partial(alone, partial(shaka.run, tools, source, made, rates)),
            ALIKE: partial(alone, partial(shaka.run, tools, source, made, rates, alike=True)),
        }
        if AS_IT_COMES in case.others:
            own = partial(shaka.run, tools, source, made, rates, preset=shaka.OWN_PRESET)
            contenders[AS_IT_COMES] = partial(alone, own)
        ledger.run(case.name, contenders, case.repeats)
    return ledger.pairs(case.name)


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


def _sounds(made: Plan, folder: Path, seconds: float | None) -> list[list[str]]:
    return [
        [
            *("-map", f"0:{track.stream}", "-c:a", "aac", "-b:a", str(track.bitrate), "-ac", str(track.channels)),
            *("-ar", str(track.sample_rate), *_hls(folder, track.name, seconds)),
        ]
        for track in made.audio
    ]  # fmt: skip


def ffmpeg(tools: Tools, *arguments: str) -> None:
    """Runs it to its end. Raises CalledProcessError where it fails."""
    subprocess.run([tools.ffmpeg, "-nostdin", "-v", "error", *arguments], check=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in {".m4s", ".mp4"})


def report(tools: Tools, measured: Mapping[Case, list[Pair]], command: str) -> str:
    """The section of the page."""
    lines = [HEAD]
    lines += [
        "| source | Penstock against | CPU | from to | wall | from to | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, pairs in measured.items():
        for other in case.others:
            cells = [f"{case.name}, {len(pairs)} {'repeat' if len(pairs) == 1 else 'repeats'}", other]
            for what in ("cpu", "wall"):
                every = ratios(pairs, OURS, other, what)
                cells += [f"{ratio(pairs, OURS, other, what):.2f}", f"{every[0]:.2f} to {every[-1]:.2f}"]
            cells.append(f"{ratio(pairs, OURS, other, 'peak'):.2f}")
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| source | way | CPU s | wall s | peak memory MB | MB made |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for case, pairs in measured.items():
        for name in (OURS, *case.others):
            figures = [f"{median(pairs, name, what):.{digits}f}" for what, digits in (("cpu", 1), ("wall", 1), ("peak", 0), ("size", 1))]  # fmt: skip
            lines.append(f"| {case.name} | {name} | {' | '.join(figures)} |")
    lines += ["", *_goals(measured), ""]
    pairs = [pair for each in measured.values() for pair in each]
    return "\n".join([*lines, page.origin(pairs, command, f"FFmpeg {tools.version}, Shaka Streamer {shaka.VERSION}")])  # fmt: skip


def _goals(measured: Mapping[Case, list[Pair]]) -> list[str]:
    lines = ["| goal | " + " | ".join(case.name for case in measured) + " |"]
    lines.append("| --- |" + " --- |" * len(measured))
    rows: list[tuple[str, Callable[[list[Pair]], str]]] = [
        (f"CPU at most {CPU_GOAL} of one command's", partial(_against, what="cpu", goal=CPU_GOAL)),
        (f"wall clock at most {WALL_GOAL} of one command's", partial(_against, what="wall", goal=WALL_GOAL)),
        ("less of both than one run per rung", partial(_less, other=PER_RUNG)),
        ("less of both than Shaka Streamer", partial(_less, other=SHAKA)),
        ("less of both than the same with Penstock's encoder settings", partial(_less, other=ALIKE)),
        (f"all that is not FFmpeg at most {REST_GOAL:.0%} of the CPU", _rest),
    ]
    return lines + [f"| {text} | {' | '.join(say(each) for each in measured.values())} |" for text, say in rows]  # fmt: skip


def _against(pairs: list[Pair], what: str, goal: float) -> str:
    value = ratio(pairs, OURS, ONE, what)
    return f"{value:.2f}: {page.verdict(value, goal)}"


def _less(pairs: list[Pair], other: str) -> str:
    worst = max(ratio(pairs, OURS, other, what) for what in ("cpu", "wall"))
    return page.verdict(worst, 1.0)


def _rest(pairs: list[Pair]) -> str:
    shares = sorted(pair.figures[OURS]["rest"] / pair.figures[OURS]["cpu"] for pair in pairs)
    share = shares[len(shares) // 2]
    return f"{share:.1%}: {page.verdict(share, REST_GOAL)}"


HEAD = f"""\
## Encoding, beside FFmpeg and another packager

The same source, rungs, sound tracks, FFmpeg and x264 preset, five ways:

* **Penstock**, the whole platform: uploaded over HTTP; wall-clock time from the acknowledged upload until the video is ready (inspected,
  encoded, every segment synced to the disk and hashed, checked, published), CPU of all its processes and their tools from the first byte of the upload on, after a first video of five seconds. Its tools run in network namespaces
  instead of bubblewrap (whose children nobody is charged for) and at no added niceness.
* **one command**: one hand-written FFmpeg command that decodes once, scales every rung from the source and writes HLS segments.
* **one run per rung**: the same with a process for each rung and each sound track, all started together.
* **Shaka Streamer** from PyPI with the same FFmpeg. It has no setting for x264's preset and says `slow`; here it gets Penstock's, which favours it; as it comes it is measured on a short source only. Average bit rates
  (those of the one command) without a cap, one keyframe per segment and the profile `main` below 720p are its own; each of them takes x264 less. So it is also measured with **the same encoder settings** as Penstock: quality
  under a cap, a keyframe every two seconds, the profile `high`.

Every repeat runs all of them, the order turning; ratios are medians of the ratio within each repeat, below 1 Penstock needs less. Memory is
the largest sum over all processes (PSS, seen four times a second). The source is a real clip of five seconds ({CLIP.name}) looped without encoding it
again; a loop repeats its pictures, so sizes say little. Where it is 1080p, the clip was enlarged before. Penstock's chunks
restart the encoder every 16 s; the others never do.
"""


def main() -> int:
    """Measure, print, and write the section where asked."""
    parser = page.arguments(__doc__)
    parser.add_argument("--seconds", type=int, help="length of the looped clip")
    parser.add_argument("--height", type=int, default=720, help="of the source (default 720)")
    parser.add_argument("--repeats", type=int, default=1, help="with --seconds: runs of each way (default 1)")
    parsed = parser.parse_args()
    options = page.asked(parsed)
    cases = FULL if options.full else TRIAL
    if parsed.seconds:
        cases = (Case(parsed.seconds, parsed.height, parsed.repeats),)
    shaka.install()
    tools = discover(FfmpegConfig(isolation=Isolation.NONE, nice=0))
    ledger = Ledger(FOLDER / "transcode.jsonl", stamp(("ffmpeg", "processing", "video", "catalog", "storage"), tools.fingerprint))  # fmt: skip
    measured = {}
    for case in cases:
        if pairs := measure(tools, case, ledger, options):
            measured[case] = pairs
    if not measured:
        print("Nothing was measured with this code and these tools.", file=sys.stderr)
        return 1
    page.tell("transcode", report(tools, measured, page.command()), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
