"""What an open upload takes that nothing happens to: memory and processor time of the web process, per upload."""

import time
from contextlib import ExitStack, closing
from pathlib import Path

from bench.pairs import Figures
from bench.processes import cpu, memory
from bench.sending import Target, create_tus, patch
from bench.up import up

COUNT = 100  # of each kind: an account may have 200 open uploads
SECONDS = 20  # below the minute after which a silent request ends
_SIZE, _SOME = 1_000_000, 64_000


def idle(folder: Path) -> Figures:
    """Uploads by `tus` with some bytes on: first between two requests, then others in the middle of one."""
    with up(folder=folder) as platform, ExitStack() as held:
        web = platform.pids("web")[-1]
        target = Target.of(platform)
        # What the first of all takes is not theirs: code that is imported, threads, the connection.
        _some(target)
        before, alone = memory(web), _cpu(web)
        for _ in range(COUNT - 1):
            _some(target)
        between, resting = memory(web), _cpu(web)
        for _ in range(COUNT):
            line = held.enter_context(closing(target.line()))
            line.begin("PATCH", create_tus(line, _SIZE), patch(0), _SIZE)
            line.send(bytes(_SOME))
        time.sleep(1)  # the last of them has arrived
        middle, waiting = memory(web), _cpu(web)
    return {
        "between, kB": (between - before) / (COUNT - 1) / 1e3,
        "between, CPU": max(0.0, resting - alone) / (COUNT - 1) * 1e6,
        "within, kB": (middle - between) / COUNT / 1e3,
        "within, CPU": max(0.0, waiting - resting) / COUNT * 1e6,
        "none, CPU": alone * 100,
    }


def _some(target: Target) -> None:
    """A new upload, and a request that brings some bytes and ends."""
    with closing(target.line()) as line:
        path = create_tus(line, _SIZE)
        line.begin("PATCH", path, patch(0), _SOME)
        line.send(bytes(_SOME))
        line.end(f"PATCH {path}")


def _cpu(pid: int) -> float:
    """Seconds per second."""
    began = cpu(pid).own
    time.sleep(SECONDS)
    return (cpu(pid).own - began) / SECONDS
