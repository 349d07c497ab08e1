"""Checking what was made with other eyes than the ones that made it: decode it whole, compare it with its source.

Nothing on the way to a ready video needs this; ``penstock verify`` and the tests do.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event

from penstock.ffmpeg import commands
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import ToolFailed
from penstock.video.plan import Chunk, Plan

_GOOD_PSNR = (
    24.0  # dB; the hardest frames of the real clips stay above 30, a frame of another moment falls below
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture: when it is shown, and the SHA-256 of its samples."""

    time: Fraction  # seconds
    digest: str


@dataclass(frozen=True, slots=True)
class RungCheck:
    """What decoding a whole rung found."""

    frames: int
    expected_frames: int
    first_misplaced: int | None  # the first frame that is not where the grid has it
    worst_psnr: float  # dB against the source, of the worst frame
    mean_psnr: float
    worst_frame: int

    @property
    def passed(self) -> bool:
        """Every frame is there, at its time, and shows what the source shows then."""
        return (
            self.frames == self.expected_frames
            and self.first_misplaced is None
            and self.worst_psnr >= _GOOD_PSNR
        )


def join(init: Path, segments: Iterable[Path], joined: Path) -> Path:
    """One file of an init segment and its media segments, as a player would put them together."""
    with joined.open("wb") as file:
        for part in (init, *segments):
            file.write(part.read_bytes())
    return joined


def pictures(tools: Tools, media: Path, *, cancel: Event | None = None) -> list[Picture]:
    """Every picture of the first video stream, decoded. Raises ``ToolFailed`` if the decoder complains."""
    made = bytearray()
    finished = run(
        tools,
        commands.decode(media, tools.config.max_pixels),
        {commands.FIRST_OUTPUT_PIPE: made.extend},
        cancel=cancel,
    )
    if finished.status or finished.messages.strip():
        raise ToolFailed(f"Decoding the result failed with status {finished.status}.")
    return read_hashes(made.decode("ascii"))


def source_pictures(
    tools: Tools, source: Path, plan: Plan, chunk: Chunk, *, cancel: Event | None = None
) -> list[list[Picture]]:
    """What the encoder of each rung is given for a chunk, in the order of the plan's rungs."""
    made = [bytearray() for _ in plan.rungs]
    sinks = {commands.FIRST_OUTPUT_PIPE + position: data.extend for position, data in enumerate(made)}
    run(tools, commands.hash_chunk(source, plan, chunk, tools.config.max_pixels), sinks, cancel=cancel)
    return [read_hashes(data.decode("ascii")) for data in made]


def check_rung(
    tools: Tools,
    source: Path,
    plan: Plan,
    rung: str,
    frames: int,
    joined: Path,
    *,
    cancel: Event | None = None,
) -> RungCheck:
    """Check a whole rung, joined into one file, against its source. ``frames`` is what the scan promised."""
    assert plan.grid is not None
    shown = pictures(tools, joined, cancel=cancel)
    misplaced = (n for n, picture in enumerate(shown) if picture.time != n / plan.grid.rate)
    whole = Chunk(0, 0, frames, 1, plan.grid.segments(frames), None, last=True)
    report = bytearray()
    command = commands.compare(source, plan, whole, plan.rung(rung), joined, tools.config.max_pixels)
    run(tools, command, {1: report.extend}, cancel=cancel)
    psnr = [float(value) for value in re.findall(r"psnr_avg:(\S+)", report.decode("ascii", "replace"))]
    worst = min(range(len(psnr)), key=psnr.__getitem__, default=0)
    finite = [min(value, 100.0) for value in psnr]  # identical pictures have no noise at all
    return RungCheck(
        frames=min(len(shown), len(psnr)),
        expected_frames=frames,
        first_misplaced=next(misplaced, None),
        worst_psnr=psnr[worst] if psnr else 0.0,
        mean_psnr=sum(finite) / len(finite) if finite else 0.0,
        worst_frame=worst,
    )


def read_hashes(report: str) -> list[Picture]:
    """FFmpeg's ``framehash`` format, version 2: ``#tb 0: 1/25``, then a line per picture."""
    time_base = Fraction(1)
    found = []
    for line in report.splitlines():
        if line.startswith("#tb 0:"):
            time_base = Fraction(line.removeprefix("#tb 0:").strip())
        elif line and not line.startswith("#"):
            fields = [field.strip() for field in line.split(",")]
            found.append(Picture(int(fields[2]) * time_base, fields[5]))
    return found
