"""Fails when the documents name something that is gone: a link, a heading, a file, a test, a make target, a `penstock` command.

The two tables that make promises, docs/guarantees.md and docs/milestones.md, are held to more: every row names the test or the
command that shows it, or says plainly "not yet"; and the milestones are all there.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_YET = "not yet"
MILESTONES = tuple(f"{course}{number}" for course in "VM" for number in range(1, 14))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
_COMMAND = re.compile(r"^(?:sudo )?(make|penstock)(?: ([a-z][a-z-]*))?(?= |$)")
_SHELL = {"sh", "bash", "shell", "console"}


@dataclass(frozen=True, slots=True)
class Known:
    """What the documents may name."""

    root: Path
    make_targets: frozenset[str]
    penstock_commands: frozenset[str]
    _tests: dict[Path, frozenset[str]] = field(default_factory=dict)

    def has_test(self, reference: str) -> bool:
        """True for `path::test_name` or `path::TestClass::test_name`; a parameter in brackets is ignored."""
        path_text, _, name = reference.partition("::")
        path = self.root / path_text
        if path not in self._tests:
            self._tests[path] = frozenset(_test_names(path)) if path.is_file() else frozenset()
        return name.partition("[")[0] in self._tests[path]


def _test_names(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield node.name
            yield from (
                f"{node.name}::{m.name}"
                for m in node.body
                if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)
            )
        elif isinstance(node, ast.Assign):  # hypothesis names a state machine's test case by assignment
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def make_targets(root: Path) -> frozenset[str]:
    """Targets of the Makefile."""
    return frozenset(_TARGET.findall((root / "Makefile").read_text()))


def pages(root: Path) -> list[Path]:
    """Every document of the project, committed or about to be; what git ignores is not ours."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=root,
        text=True,
        capture_output=True,
        check=True,
    )
    return sorted(path for name in listed.stdout.splitlines() if (path := root / name).is_file())


def anchor(heading: str) -> str:
    """The fragment that a rendered heading answers to (GitHub's rule: lower case, punctuation dropped, blanks to hyphens)."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _links(page: Path, prose: str) -> Iterator[str]:
    for target in _LINK.findall(prose):
        if re.match(r"[a-z]+:", target):  # another site: not ours to vouch for
            continue
        path_text, _, fragment = target.partition("#")
        path = (page.parent / path_text).resolve() if path_text else page
        if not path.exists():
            yield f"link to {target}: no such file"
        elif fragment and fragment not in {
            anchor(h) for h in _HEADING.findall(_FENCE.sub("", path.read_text()))
        }:
            yield f"link to {target}: no such heading"


def _names(text: str, known: Known) -> Iterator[str]:
    """Complaints about one code span or one line of a shell example."""
    if "::" in text and text.startswith("tests/"):
        if not known.has_test(text):
            yield f"`{text}`: no such test"
    elif command := _COMMAND.match(text):
        program, word = command.groups()
        allowed = known.make_targets if program == "make" else known.penstock_commands
        if word is not None and word not in allowed:
            yield f"`{program} {word}`: no such command"
    elif (
        re.fullmatch(r"(src|tests|scripts|docs|bench|requirements)/[\w./-]+", text)
        and not (known.root / text).exists()
    ):
        yield f"`{text}`: no such file"


def check_page(page: Path, known: Known) -> Iterator[str]:
    """Complaints about links and names in one page."""
    text = page.read_text()
    prose = _FENCE.sub("", text)
    yield from _links(page, _SPAN.sub("", prose))
    for span in _SPAN.findall(prose):
        yield from _names(span, known)
    for language, block in _FENCE.findall(text):
        if language in _SHELL:
            for line in block.splitlines():
                yield from _names(line.strip().removeprefix("$ "), known)


def rows(text: str) -> Iterator[list[str]]:
    """Cells of every table row of a page, headers and rulers left out."""
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if (
            line.startswith("|")
            and not re.match(r"\|[\s:|-]+\|$", line)
            and not re.match(r"\|[\s:|-]+\|$", below)
        ):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _shown(cell: str) -> bool:
    """True when a cell names a test or a command, or admits that nothing shows it yet."""
    named = any("::" in span or _COMMAND.match(span) for span in _SPAN.findall(cell))
    return named or NOT_YET in cell.lower()


def check_guarantees(text: str) -> Iterator[str]:
    """Every row's last cell shows the promise."""
    for row in rows(text):
        if not _shown(row[-1]):
            yield f"row {row[0]!r} names no test and no command"


def check_milestones(text: str) -> Iterator[str]:
    """All milestones are there, once; each shown one has a command or test, and a page."""
    seen: dict[str, int] = {}
    for row in rows(text):
        name = row[0]
        seen[name] = seen.get(name, 0) + 1
        rest = " ".join(row[2:])
        if not _shown(rest):
            yield f"row {name} names no test and no command"
        if NOT_YET not in rest.lower() and not _LINK.search(rest):
            yield f"row {name} links no page"
    for name in MILESTONES:
        if seen.get(name, 0) != 1:
            yield f"row {name} stands {seen.get(name, 0)} times"


def complaints(root: Path, documents: Iterable[Path], penstock_commands: Iterable[str]) -> list[str]:
    """Everything wrong with the documents below `root`, as `page: what`."""
    known = Known(root, make_targets(root), frozenset(penstock_commands))
    found = [f"{page.relative_to(root)}: {what}" for page in documents for what in check_page(page, known)]
    for name, rule in (("guarantees", check_guarantees), ("milestones", check_milestones)):
        found += [f"docs/{name}.md: {what}" for what in rule((root / "docs" / f"{name}.md").read_text())]
    return found


def installed_commands() -> frozenset[str]:
    """Words that `penstock` answers to."""
    from typer.main import get_command

    from penstock.cli.app import app

    group = get_command(app)
    return frozenset(getattr(group, "commands", {}))


def main() -> int:
    """Print each complaint; 1 if there is any."""
    found = complaints(ROOT, pages(ROOT), installed_commands())
    for complaint in found:
        print(complaint)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
