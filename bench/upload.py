"""How fast bytes come in, beside one Python process that writes, hashes and syncs the same bytes, and in how much memory.

    python bench/upload.py            a trial: 500 MB, once
    python bench/upload.py --full     2 GB, five repeats

The client is a process that hands the file to the socket and computes nothing, so that what is measured is the service.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import page  # noqa: E402 - found by the line above
from bench.pairs import FOLDER, Contender, Figures, Ledger, Pair, median, ratio, ratios, stamp  # noqa: E402
from bench.processes import Peak, cpu  # noqa: E402
from bench.up import up  # noqa: E402
from tests.cluster.running import Platform  # noqa: E402

PLAIN = "one Python process"
RATE_GOAL, MEMORY_GOAL = 0.8, 150.0
PIECE = 1 << 20
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


def service(way: Callable[[Platform, Path], None], path: Path) -> Figures:
    """One way of uploading, into a platform of its own; its memory is that of its largest process."""
    with up(folder=FOLDER) as platform:
        web, processing = platform.pids("web")[-1], platform.pids("processing")[-1]
        os.kill(processing, signal.SIGSTOP)  # what becomes of the bytes later is another question
        try:
            before = cpu(web)
            with Peak([web], pace=0.05) as peak:
                began = time.monotonic()
                way(platform, path)
                taken = time.monotonic() - began
            spent = (cpu(web) - before).own
        finally:
            os.kill(processing, signal.SIGCONT)
        return {**_figures(path, taken), "peak": peak.bytes / 1e6, "cpu": spent}


def one_request(platform: Platform, path: Path) -> None:
    """`POST /api/uploads` with the bytes as its body. Raises RuntimeError unless it is acknowledged."""
    at = urlsplit(platform.url)
    key = (platform.data / "admin.key").read_text().strip()
    head = (
        f"POST /api/uploads?filename=bytes.mp4&visibility=private HTTP/1.1\r\nHost: {at.netloc}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: video/mp4\r\nContent-Length: {path.stat().st_size}\r\n\r\n"
    )
    assert at.hostname is not None
    with socket.create_connection((at.hostname, at.port or 80)) as connection, path.open("rb") as file:
        connection.sendall(head.encode())
        connection.sendfile(file)
        answer = connection.recv(65_536)
    if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
        raise RuntimeError(answer[:500].decode("latin-1"))


# Each is measured alike; the first is the one with a goal.
WAYS: Mapping[str, Callable[[Platform, Path], None]] = {"POST /api/uploads": one_request}


def _figures(path: Path, seconds: float) -> dict[str, float]:
    return {"rate": path.stat().st_size / seconds / 1e6, "wall": seconds}


def report(pairs: list[Pair], megabytes: int, command: str) -> str:
    """The section of the page."""
    lines = [HEAD, "| way | MB/s | against the plain process | from to | goal | | largest memory, MB | goal | | CPU s per GB |"]  # fmt: skip
    lines.append("| --- |" + " --- |" * 9)
    for way in WAYS:
        times, every = ratio(pairs, way, PLAIN, "rate"), ratios(pairs, way, PLAIN, "rate")
        memory = max(pair.figures[way]["peak"] for pair in pairs)
        cells = [
            f"`{way}`",
            f"{median(pairs, way, 'rate'):.0f}",
            f"**{times:.2f}**",
            f"{every[0]:.2f} to {every[-1]:.2f}",
            *(f"{RATE_GOAL}", page.verdict(times, RATE_GOAL, most=False)),
            *(f"{memory:.0f}", f"{MEMORY_GOAL:.0f}", page.verdict(memory, MEMORY_GOAL)),
            f"{median(pairs, way, 'cpu') / megabytes * 1000:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| {PLAIN} | {median(pairs, PLAIN, 'rate'):.0f} | | | | | | | | |")
    fact = (
        f"{megabytes / 1000:g} GB of random bytes, {len(pairs)} {'repeat' if len(pairs) == 1 else 'repeats'}"
    )
    return "\n".join([*lines, "", page.origin(pairs, command, fact)])


HEAD = """\
## Taking uploads in

The same bytes, once sent to a running platform over the loopback by a client that only hands a file to the socket, and once written, hashed (SHA-256) and synced by one
Python process that reads the file. The clock runs until the answer: the bytes are synced, hashed, named durably and recorded by then. Memory is that of the web
process (PSS, seen twenty times a second).
"""


def main() -> int:
    """Measure, print, and write the section where asked."""
    options = page.asked(page.arguments(__doc__).parse_args())
    megabytes, repeats = (2000, 5) if options.full else (500, 1)
    ledger = Ledger(FOLDER / "upload.jsonl", stamp(("upload", "storage", "web_api", "wiring")))
    case = f"{megabytes} MB"
    if options.afresh:
        ledger.forget(case)
    if not options.report and len(ledger.pairs(case)) < repeats:
        path = source(megabytes)
        contenders: dict[str, Contender] = {way: partial(service, run, path) for way, run in WAYS.items()}
        ledger.run(case, {**contenders, PLAIN: partial(plain, path)}, repeats)
        path.unlink()
    pairs = ledger.pairs(case)
    if not pairs:
        print("Nothing was measured with this code.", file=sys.stderr)
        return 1
    page.tell("upload", report(pairs, megabytes, page.command()), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
