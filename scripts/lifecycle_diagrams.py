"""Writes the diagrams of docs/lifecycle.md from the transition tables in the code.

`--check` writes nothing and fails when a diagram differs from its table.
"""

import argparse
import sys
from pathlib import Path

from penstock.video import lifecycle
from penstock.video.lifecycle import GenerationState, VideoState

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "lifecycle.md"


def diagrams() -> dict[str, str]:
    """Each diagram under the name that the page marks its place with."""
    return {
        "video": lifecycle.diagram(
            lifecycle.VIDEO_TRANSITIONS, VideoState.PENDING, lifecycle.FINAL_VIDEO_STATES
        ),
        "generation": lifecycle.diagram(
            lifecycle.GENERATION_TRANSITIONS, GenerationState.PLANNED, lifecycle.FINAL_GENERATION_STATES
        ),
    }


def drawn(text: str) -> str:
    """The page with every diagram as the code has it. Raises ValueError where the page has no place for one."""
    for name, source in diagrams().items():
        before, mark, rest = text.partition(f"<!-- diagram: {name} -->\n```mermaid\n")
        _, fence, after = rest.partition("```\n")
        if not fence:
            raise ValueError(f"the page has no place for the diagram '{name}'")
        text = f"{before}{mark}{source}\n{fence}{after}"
    return text


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when a diagram is not up to date"
    )
    text = PAGE.read_text()
    wanted = drawn(text)
    if not parser.parse_args(arguments).check:
        PAGE.write_text(wanted)
        return 0
    if text == wanted:
        return 0
    print("docs/lifecycle.md is not up to date; run: python scripts/lifecycle_diagrams.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
