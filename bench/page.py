"""docs/benchmarks.md, of which each benchmark writes its own section; and what is common to their command lines."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.pairs import Pair

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    full: bool  # the measurement that counts, instead of a trial
    report: bool  # only tell what was measured already
    afresh: bool  # forget what was measured already
    write: bool  # write the section of the page


def arguments(program: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=(program or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="the whole measurement (without: a short trial)")
    parser.add_argument("--report", action="store_true", help="measure nothing, tell what was measured")
    parser.add_argument("--afresh", action="store_true", help="begin anew instead of going on")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    return parser


def asked(options: argparse.Namespace) -> Asked:
    """The common options of a parsed command line."""
    return Asked(options.full, options.report, options.afresh, options.write)


def write(section: str, text: str, page: Path = PAGE) -> None:
    """Replaces what stands between a section's markers. Raises ValueError where the page has none."""
    before, begin, rest = page.read_text().partition(f"<!-- begin {section} -->\n")
    _, end, after = rest.partition(f"<!-- end {section} -->")
    if not begin or not end:
        raise ValueError(f"{page} has no section {section}")
    page.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")


def tell(section: str, text: str, options: Asked) -> None:
    """Prints a section, and writes it where that is asked."""
    if not options.full:
        heading, _, rest = text.partition("\n")
        text = f"{heading}\n\n**A trial of one repeat, which says that the program works and little more; `--full` measures.**\n{rest}"
    print(text)
    if options.write:
        write(section, text)


def origin(pairs: Sequence[Pair], command: str, *facts: str) -> str:
    """When, on what and by which command a section's figures were made."""
    dates = sorted(pair.at for pair in pairs)
    loads = sorted(pair.load for pair in pairs)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    # What a repeat leaves behind counts as load before the next, so the least tells of others.
    busy = " The machine was busy with other work, which stretches wall-clock times." if loads[0] > 2 else ""
    return (
        f"`{command}`, {when} UTC. {machine()}; {'; '.join(facts)}. Load of the machine before the repeats, that of earlier ones "
        f"included: {loads[0]:.1f} to {loads[-1]:.1f}.{busy}"
    )


def machine() -> str:
    """Processor, memory, system and Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} processors, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def verdict(value: float, goal: float, *, most: bool = True) -> str:
    """``kept`` or ``missed``, for a goal that is a bound from above (``most``) or from below."""
    return "kept" if (value <= goal if most else value >= goal) else "**missed**"


def command(options: Sequence[str] | None = None) -> str:
    """The command line of the running program, as a reader would type it."""
    own = Path(sys.argv[0]).name
    return " ".join(
        [
            "python",
            f"bench/{own}",
            *(a for a in (options or sys.argv[1:]) if a not in {"--report", "--afresh"}),
        ]
    )
