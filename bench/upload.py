"""How fast bytes come in by every way, beside one Python process that writes, hashes and syncs them, and in how much memory.

    python bench/upload.py            a trial: 400 MB, once
    python bench/upload.py --full     2 GB, five repeats; needs 6 GB of disk

The clients hand the file to the socket and compute nothing, so that what is measured is the service.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import nginx, page  # noqa: E402 - found by the line above
from bench.idle import COUNT, SECONDS, idle  # noqa: E402
from bench.pairs import FOLDER, Figures, Ledger, Pair, median, ratio, ratios, stamp  # noqa: E402
from bench.processes import Peak, cpu  # noqa: E402
from bench.sending import AT_ONCE, Line, Send, Target, direct, several, tus, whole  # noqa: E402
from bench.up import up  # noqa: E402
from tests.cluster.running import Platform  # noqa: E402
from tests.servers import s3  # noqa: E402

PLAIN, NGINX = "one Python process", "nginx"
IDLE = "open uploads"
RATE_GOAL = 0.8
FLAT = 1.1  # what the second half of an upload may take of the first half's memory
EIGHT = 8
PIECE = 1 << 20
MIB = 1 << 20
_NGINX = "client_max_body_size 0; root {folder}/put; dav_methods PUT;"
_PLAIN_PROGRAM = """\
import hashlib, os, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    while piece := source.read(1 << 20):
        digest.update(piece)
        target.write(piece)
    target.flush()
    os.fsync(target.fileno())
folder = os.open(os.path.dirname(sys.argv[2]), os.O_RDONLY)
os.fsync(folder)
print(digest.hexdigest())
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way of uploading. ``least``: of the rate of ``against``; ``memory``: MB of the web process at most; None: no goal."""

    send: Send
    against: str | None = PLAIN
    least: float | None = None
    memory: float | None = None


ONE, EIGHT_AT_ONCE, DIRECT = "`tus`, one request", "`tus`, eight at once", "`direct`"
TO_FOLDER: Mapping[str, Way] = {
    "`POST /api/uploads`": Way(whole, least=RATE_GOAL, memory=150),
    ONE: Way(tus, least=RATE_GOAL, memory=150),
    "`tus`, 64 MiB a request": Way(partial(tus, piece=64 * MIB)),
    EIGHT_AT_ONCE: Way(partial(several, count=EIGHT), against=ONE, least=1, memory=200),
    DIRECT: Way(direct),
}
# There the parts of direct uploads go to the store itself, whose own rate that is.
TO_BUCKET: Mapping[str, Way] = {
    DIRECT: Way(direct, against=None),
    ONE: Way(tus, against=DIRECT),
    EIGHT_AT_ONCE: Way(partial(several, count=EIGHT), against=ONE, memory=200),
}


def source(megabytes: int) -> Path:
    """A file of bytes that nothing compresses, in the page cache."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"bytes-{megabytes}MB"
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1_000_000))
    with path.open("rb", buffering=0) as file:
        while file.read(PIECE):
            pass
    return path


def plain(path: Path) -> Figures:
    """The bytes to another file, with their SHA-256, synced, by a Python process of its own."""
    with TemporaryDirectory(dir=FOLDER) as name:
        began = time.monotonic()
        command = [sys.executable, "-c", _PLAIN_PROGRAM, str(path), str(Path(name) / "copy")]
        subprocess.run(command, check=True, capture_output=True)
        return _figures(path, time.monotonic() - began)


def put(path: Path) -> Figures:
    """The same PUT into nginx, which neither hashes nor syncs."""
    with TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name).resolve()
        (folder / "put").mkdir()
        with (
            nginx.running(folder, _NGINX.format(folder=folder)) as port,
            closing(Line(f"http://127.0.0.1:{port}")) as line,
        ):
            began = time.monotonic()
            line.ask("PUT", "/bytes", {}, file=path, size=path.stat().st_size)
            return _figures(path, time.monotonic() - began)


def service(send: Send, path: Path, settings: Mapping[str, str] | None = None) -> Figures:
    """One way of uploading, into a platform of its own; memory is that of its largest process."""
    with up(settings, folder=FOLDER) as platform:
        web = platform.pids("web")[-1]
        with _processing_stopped(platform):
            target, before = Target.of(platform), cpu(web)
            with Peak([web], pace=0.05) as peak:
                began = time.monotonic()
                send(target, path)
                taken = time.monotonic() - began
            spent = (cpu(web) - before).own
        half = len(peak.seen) // 2
        flat = max(peak.seen[half:]) / max(peak.seen[:half]) if half else 1.0
        return {**_figures(path, taken), "peak": peak.bytes / 1e6, "flat": flat, "cpu": spent / path.stat().st_size * 1e9}  # fmt: skip


@contextmanager
def _processing_stopped(platform: Platform) -> Iterator[None]:
    """What becomes of the bytes later is another question. It is not stopped while it has the records locked."""
    processing = platform.pids("processing")[-1]
    with closing(
        sqlite3.connect(platform.data / "penstock.db", timeout=0.5, isolation_level=None)
    ) as records:
        stopped = False
        while not stopped:
            os.kill(processing, signal.SIGSTOP)
            try:
                records.execute("BEGIN IMMEDIATE")
                records.execute("ROLLBACK")
                stopped = True
            except sqlite3.OperationalError:
                os.kill(processing, signal.SIGCONT)
                time.sleep(0.05)
    try:
        yield
    finally:
        os.kill(processing, signal.SIGCONT)


def bucket(send: Send, path: Path) -> Figures:
    """One way of uploading, where sources lie in a bucket of a server that keeps them in memory."""
    with s3.running("ministack") as server:
        access = {"ENDPOINT": server.endpoint, "ACCESS_KEY_ID": s3.KEY, "SECRET_ACCESS_KEY": s3.SECRET}
        rooms = {f"{room}_{name}": value for room in ("SOURCES", "OUTPUTS") for name, value in access.items()}
        return service(send, path, {"STORAGE": f"s3://{server.bucket()}", **rooms})


def _figures(path: Path, seconds: float) -> dict[str, float]:
    return {"rate": path.stat().st_size / seconds / 1e6, "wall": seconds}


def measure(ledger: Ledger, *, full: bool) -> None:
    """Every case that is not measured yet; what it wrote is gone when it ends."""
    repeats = 5 if full else 1
    folder, buckets = sizes(full=full)
    if len(ledger.pairs(f"{folder} MB")) < repeats:
        path = source(folder)
        ways = {name: partial(service, way.send, path) for name, way in TO_FOLDER.items()}
        ledger.run(f"{folder} MB", {**ways, NGINX: partial(put, path), PLAIN: partial(plain, path)}, repeats)
        path.unlink()
    repeats = 3 if full else 1
    if len(ledger.pairs(f"bucket, {buckets} MB")) < repeats:
        path = source(buckets)
        ledger.run(f"bucket, {buckets} MB", {name: partial(bucket, way.send, path) for name, way in TO_BUCKET.items()}, repeats)  # fmt: skip
        path.unlink()
    ledger.run(IDLE, {IDLE: partial(idle, FOLDER)}, 1)


def sizes(*, full: bool) -> tuple[int, int]:
    """MB that go to a folder, and to a bucket."""
    return (2000, 500) if full else (400, 200)


def rows(pairs: list[Pair], ways: Mapping[str, Way]) -> list[str]:
    """The table of some ways."""
    lines = ["| way | MB/s | against | times | from to | goal | | largest memory, MB | goal | | second half | | CPU s per GB |"]  # fmt: skip
    lines.append("| --- |" + " --- |" * 12)
    for name, way in ways.items():
        memory, flat = (max(pair.figures[name][what] for pair in pairs) for what in ("peak", "flat"))
        cells = [name, f"{median(pairs, name, 'rate'):.0f}", *_compared(pairs, name, way)]
        goal = ["", ""] if way.memory is None else [f"{way.memory:.0f}", page.verdict(memory, way.memory)]
        cells += [
            f"{memory:.0f}",
            *goal,
            f"{flat:.2f}",
            "" if way.memory is None else page.verdict(flat, FLAT),
        ]
        cells.append(f"{median(pairs, name, 'cpu'):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _compared(pairs: list[Pair], name: str, way: Way) -> list[str]:
    if way.against is None:
        return [""] * 5
    times, every = ratio(pairs, name, way.against, "rate"), ratios(pairs, name, way.against, "rate")
    goal = ["", ""] if way.least is None else [f"{way.least:g}", page.verdict(times, way.least, most=False)]
    return [way.against, f"**{times:.2f}**", f"{every[0]:.2f} to {every[-1]:.2f}", *goal]


def report(ledger: Ledger, *, full: bool) -> str:
    """The section of the page. Raises LookupError where something is not measured with this code."""
    folder, buckets = sizes(full=full)
    local, remote, resting = (ledger.pairs(case) for case in (f"{folder} MB", f"bucket, {buckets} MB", IDLE))
    if not (local and remote and resting):
        raise LookupError
    yard = [f"{name}: {median(local, name, 'rate'):.0f} MB/s" for name in (PLAIN, NGINX)]
    lines = [
        HEAD,
        f"**To a folder**, {folder / 1000:g} GB. {'; '.join(yard)}.",
        "",
        *rows(local, TO_FOLDER),
        "",
    ]
    lines += [f"**To a bucket**, {buckets / 1000:g} GB.", "", *rows(remote, TO_BUCKET), ""]
    told = {what: median(resting, IDLE, what) for what in resting[0].figures[IDLE]}
    lines += [
        (
            f"**An open upload** by `tus` to which nothing happens, of {COUNT} of each kind, over {SECONDS} s "
            f"(the process without them: {told['none, CPU']:.1f}% of a processor):"
        ),
        "",
        "| | memory, kB each | processor, µs each per second |",
        "| --- | --- | --- |",
        f"| between two requests | {told['between, kB']:.0f} | {told['between, CPU']:.0f} |",
        f"| in the middle of one | {told['within, kB']:.0f} | {told['within, CPU']:.0f} |",
        "",
    ]
    fact = f"repeats: {len(local)} to a folder, {len(remote)} to a bucket; {nginx.version()}"
    return "\n".join([*lines, page.origin([*local, *remote, *resting], page.command(), fact)])


HEAD = f"""\
## Taking uploads in

The same random bytes, sent to a running platform over the loopback by a client that only hands a file to the socket; put into nginx by the same client, which there are neither
hashed nor synced; and written, hashed (SHA-256) and synced by one Python process that reads the file. The clock runs until the answer: the bytes are synced, hashed, named durably and recorded
by then. `tus, eight at once` sends an eighth of them each. `direct` sends {AT_ONCE} parts at once, and reads the whole once more at its end. Memory is that of the web process (PSS, seen twenty times
a second), code included; *second half* is its largest memory in the second half of the time in terms of the first half's. The bucket is one of `ministack`, a server in Python that keeps
everything in memory and shares the processors; `direct` goes to it past the service.
"""


def main() -> int:
    """Measure, print, and write the section where asked."""
    options = page.asked(page.arguments(__doc__).parse_args())
    ledger = Ledger(FOLDER / "upload.jsonl", stamp(("http_server", "upload", "storage", "web_api", "wiring")))
    if options.afresh:
        folder, buckets = sizes(full=options.full)
        for case in (f"{folder} MB", f"bucket, {buckets} MB", IDLE):
            ledger.forget(case)
    if not options.report:
        measure(ledger, full=options.full)
    try:
        page.tell("upload", report(ledger, full=options.full), options)
    except LookupError:
        print("Nothing was measured with this code, or not all of it.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
