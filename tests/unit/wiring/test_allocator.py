"""Large buffers leave the process when they are freed, whatever was freed before."""

import platform
import subprocess
import sys

_PROGRAM = """\
import sys
from pathlib import Path
from penstock.wiring.allocator import return_large_buffers

def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

told = return_large_buffers() if sys.argv[1] == "told" else None
del (first := [bytearray(b"x" * (24 << 20))])[:]  # from which the allocator learns
before = resident()
kept, freed = [], []
for _ in range(16):
    freed.append(bytearray(b"x" * (5 << 20)))
    kept.append(bytearray(b"x" * 100_000))  # what lies between keeps the rest from being given back in one piece
freed.clear()
print(told, resident() - before)
"""


def _grown(word: str) -> tuple[str, int]:
    command = [sys.executable, "-c", _PROGRAM, word]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return said[0], int(said[1])


def test_freed_buffers_are_given_back() -> None:
    """Of 80 MiB that were used and freed hardly anything remains; glibc by itself keeps most of it."""
    told, grown = _grown("told")
    if platform.libc_ver()[0] == "glibc":
        assert told == "True"
        assert grown < 20 < _grown("untold")[1]
    else:
        assert told == "False"
