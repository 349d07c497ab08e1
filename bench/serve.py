"""Serving players, beside nginx: the same files over the same connections, one worker each, in turns.

    python bench/serve.py             a trial: five seconds each, and 100 viewers for 20 s
    python bench/serve.py --full      five seconds each, fifteen repeats, and 1 000 viewers for three minutes

Penstock's streaming service checks the token in every path, looks the segment up in the timeline and writes a line of its log per
request; nginx sends the files with `sendfile` and writes its access log. wrk asks, over the loopback. Then manifests of a film of two
hours, and viewers who each fetch as they play: four seconds of video every four seconds.
Needs nginx and wrk: `sudo python3 scripts/servers.py install bench`.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import nginx, page  # noqa: E402 - found by the line above
from bench.pairs import FOLDER, Contender, Figures, Ledger, Pair, median, ratio, ratios, stamp  # noqa: E402
from bench.processes import Peak, cpu  # noqa: E402
from penstock.manifests import names  # noqa: E402
from scripts import servers  # noqa: E402
from tests.contract.streaming.stage import Stage, filled  # noqa: E402
from tests.unit.manifests import timelines as make  # noqa: E402

OURS, NGINX = "Penstock", "nginx"
SIZES = {"64 KB": 64_000, "512 KB": 512_000, "2 MB": 2_000_000}
GOALS = {"64 KB": 0.5, "512 KB": 1.0, "2 MB": 1.0}
FILES = 64  # of each size: all stay in memory
CONNECTIONS = 64
FILM = 1800  # segments of four seconds: two hours
SEGMENT_SECONDS, BIT_RATE = 4, 2_000_000

_NGINX = "sendfile on; tcp_nopush on; keepalive_requests 100000000; types {{ video/mp4 m4s; }} root {root};"
_WRK = """\
local paths, last = {}, 0
function init(arguments) for line in io.lines(arguments[1]) do paths[#paths + 1] = line end end
function request() last = last % #paths + 1; return wrk.format("GET", paths[last]) end
function done(summary, latency, requests)
    local failed = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.bytes, summary.duration, latency:percentile(99),
        failed.status + failed.connect + failed.read + failed.write + failed.timeout))
end
"""


class Theatre:
    """What is served: files of each size, a film of two hours and one to watch; the addresses of all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stage = Stage(folder)
        self.paths: dict[str, dict[str, Path]] = {}  # what is asked for: whom: the file with the addresses
        for label, size in SIZES.items():
            timeline = filled(self.stage, [make.video(count=FILES, sizes=[size] * FILES)])
            self.stage.publish(timeline)
            track = timeline.tracks[0]
            base = self.stage.path(timeline, "", expires=time.time() + 86_400)
            ours = [f"{base}{track.name}/{segment.number}{names.SEGMENT_SUFFIX}" for segment in track.segments]  # fmt: skip
            theirs = [f"/{track.key(segment)}" for segment in track.segments]
            self.paths[label] = {OURS: self._written(label, ours), NGINX: self._written(f"{label}-n", theirs)}
        # Nothing of it is ever fetched but its manifests.
        film = make.timeline([*(make.video(rung, count=FILM) for rung in range(5)), make.audio(durations=(188 * make.AAC_FRAME,) * FILM)])  # fmt: skip
        self.stage.publish(film)
        base = self.stage.path(film, "", expires=time.time() + 86_400)
        self.manifests = {
            "HLS, multivariant": f"{base}{names.MULTIVARIANT}",
            "HLS, one rung": f"{base}1080p/{names.MEDIA_PLAYLIST}",
            "DASH": f"{base}{names.MPD}",
        }
        self.manifest_paths = {label: self._written(f"m-{at}", [path]) for at, (label, path) in enumerate(self.manifests.items())}  # fmt: skip
        size = SEGMENT_SECONDS * BIT_RATE // 8
        watched = filled(self.stage, [replace(make.video(count=FILES, sizes=[size] * FILES), name="480p")])
        self.stage.publish(watched)
        base = self.stage.path(watched, "", expires=time.time() + 86_400)
        self.watched = self._written("watched", [f"{base}480p/{number}{names.SEGMENT_SUFFIX}" for number in range(1, FILES + 1)])  # fmt: skip

    def _written(self, name: str, paths: list[str]) -> Path:
        file = self.folder / f"paths-{name.replace(' ', '-')}"
        file.write_text("".join(f"{path}\n" for path in paths))
        return file


@contextmanager
def streaming(theatre: Theatre) -> Iterator[tuple[int, int]]:
    """Port and pid of one streaming service."""
    arguments = json.dumps({"root": str(theatre.folder), "node": "bench"})
    command = [sys.executable, "-m", "tests.contract.streaming.node", arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def asked(port: int, paths: Path, seconds: float, *, gzip: bool = False) -> Figures:
    """What wrk gets from one thread: answers per second, MB/s, milliseconds that 99 of 100 answers took at most."""
    script = paths.parent / "ask.lua"
    script.write_text(_WRK)
    headers = ["-H", "Accept-Encoding: gzip"] if gzip else []
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", *headers, "-s", str(script)]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/", "--", str(paths)], capture_output=True, text=True, check=True
    ).stdout
    line = next(line for line in said.splitlines() if line.startswith("RESULT"))
    requests, size, microseconds, slowest, failed = (int(value) for value in line.split()[1:])
    if failed:
        raise RuntimeError(f"{failed} of {requests} answers were errors")
    taken = microseconds / 1e6
    return {"rate": requests / taken, "MB/s": size / taken / 1e6, "p99": slowest / 1000}


def viewers(port: int, pid: int, paths: Path, count: int, seconds: int) -> Figures:
    """So many viewers for so long, in a process of their own; what they saw, and what serving them took."""
    command = [sys.executable, str(ROOT / "bench" / "viewers.py"), str(port), str(paths), str(count), str(seconds)]  # fmt: skip
    before, began = cpu(pid), time.monotonic()
    with Peak([pid]) as peak:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = (cpu(pid) - before).own / (time.monotonic() - began)
    return {**json.loads(said), "cpu": spent, "peak": peak.bytes / 1e6}


def measure(theatre: Theatre, ledger: Ledger, *, full: bool) -> None:
    """Every case that is not measured yet."""
    seconds, repeats = (5, 15) if full else (5, 1)
    root = _NGINX.format(root=theatre.folder / "outputs")
    with nginx.running(theatre.folder, root) as theirs, streaming(theatre) as (ours, pid):
        ports = {OURS: ours, NGINX: theirs}
        for size in SIZES:
            for name, port in ports.items():
                asked(port, theatre.paths[size][name], 1)  # so that all is in memory
            contenders: dict[str, Contender] = {
                name: partial(asked, port, theatre.paths[size][name], seconds) for name, port in ports.items()
            }
            ledger.run(_case(size, full=full), contenders, repeats)
        for label, paths in theatre.manifest_paths.items():
            for gzip in (False, True):
                alone = {OURS: partial(asked, ours, paths, seconds, gzip=gzip)}
                ledger.run(_case(f"{label}{', gzip' * gzip}", full=full), alone, repeats)
        count, length = (1000, 180) if full else (100, 20)
        alone = {OURS: partial(viewers, ours, pid, theatre.watched, count, length)}
        ledger.run(_case("viewers", full=full), alone, 1)


def _case(name: str, *, full: bool) -> str:
    return name if full else f"{name}, trial"


def report(ledger: Ledger, command: str, *, full: bool) -> str:
    """The section of the page."""
    told: dict[str, list[Pair]] = {name: ledger.pairs(_case(name, full=full)) for name in (*SIZES, *_manifests(), "viewers")}  # fmt: skip
    lines = [HEAD, "| segment | Penstock, answers/s | MB/s | p99 ms | nginx, answers/s | p99 ms | Penstock against nginx | from to | goal | |"]  # fmt: skip
    lines.append("| --- |" + " --- |" * 9)
    for size in SIZES:
        if pairs := told[size]:
            every, times = ratios(pairs, OURS, NGINX, "rate"), ratio(pairs, OURS, NGINX, "rate")
            cells = [
                size,
                *(f"{median(pairs, OURS, what):.0f}" for what in ("rate", "MB/s", "p99")),
                *(f"{median(pairs, NGINX, what):.0f}" for what in ("rate", "p99")),
                *(f"**{times:.2f}**", f"{every[0]:.2f} to {every[-1]:.2f}", f"{GOALS[size]:g}"),
                page.verdict(times, GOALS[size], most=False),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| manifest of two hours, five rungs | per second | MB/s | p99 ms |", "| --- | --- | --- | --- |"]  # fmt: skip
    for name in _manifests():
        if pairs := told[name]:
            figures = " | ".join(f"{median(pairs, OURS, what):.0f}" for what in ("rate", "MB/s", "p99"))
            lines.append(f"| {name} | {figures} |")
    if pairs := told["viewers"]:
        seen = pairs[-1].figures[OURS]
        lines += ["", (
            f"**{seen['viewers']:.0f} viewers** of {BIT_RATE / 1e6:g} Mbit/s each for {seen['seconds']:.0f} s, from one process of this machine: "
            f"{seen['segments']:.0f} segments, **{seen['stalls']:.0f} stalls** (goal 0: {page.verdict(seen['stalls'], 0)}); a segment of {SEGMENT_SECONDS} s took "
            f"{seen['p50']:.0f} ms in the middle, {seen['p99']:.0f} ms at the 99th percentile, {seen['worst']:.0f} ms at most. The service used {seen['cpu']:.0%} of a core "
            f"and {seen['peak']:.0f} MB."
        )]  # fmt: skip
    every_pair = [pair for pairs in told.values() for pair in pairs]
    return "\n".join([*lines, "", page.origin(every_pair, command, nginx.version())])


def _manifests() -> list[str]:
    return [f"{label}{gzip}" for label in ("HLS, multivariant", "HLS, one rung", "DASH") for gzip in ("", ", gzip")]  # fmt: skip


HEAD = f"""\
## Serving players, beside nginx

Penstock's streaming service (one process, one loop; a token checked, the segment looked up and a log line written per request) and nginx (one worker,
`sendfile`, access log, no tokens) send the same {FILES} files of each size over {CONNECTIONS} kept-open connections of the loopback to wrk, in turns. wrk shares the
processors with them. Ratios are medians of the ratio within each repeat.
"""


def main() -> int:
    """Measure, print, and write the section where asked."""
    options = page.asked(page.arguments(__doc__).parse_args())
    if lacking := servers.missing(servers.YARDSTICKS):
        print(f"serve: {', '.join(each.title for each in lacking)} missing: sudo python3 scripts/servers.py install bench", file=sys.stderr)  # fmt: skip
        return 1
    ledger = Ledger(FOLDER / "serve.jsonl", stamp(("http_server", "streaming", "manifests", "access", "wiring", "telemetry", "storage")))  # fmt: skip
    if options.afresh:
        for name in (*SIZES, *_manifests(), "viewers"):
            ledger.forget(_case(name, full=options.full))
    if not options.report:
        with TemporaryDirectory() as folder:
            measure(Theatre(Path(folder).resolve()), ledger, full=options.full)
    if not any(ledger.pairs(_case(name, full=options.full)) for name in SIZES):
        print("Nothing was measured with this code.", file=sys.stderr)
        return 1
    page.tell("serve", report(ledger, page.command(), full=options.full), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
