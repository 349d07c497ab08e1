"""Writes docs/errors.md: every error code with its status and meaning, read from the code that raises it.

A class of the error tree contributes its own code and the first sentence of its docstring; a raise that names a more
precise code contributes the text it raises with; so does the table of reasons for which a source is refused. `--check` fails when the file differs from what would be written.
"""

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "penstock"
PAGE = ROOT / "docs" / "errors.md"
_UNFORESEEN = (
    "A failure that nobody foresaw; the log has its story under the request's id."  # the root has no case
)
HEAD = """\
# Error codes

Every error answer is an RFC 9457 problem document with one of these in `code`; a video that failed, and a task that
died, carry one too. Codes are stable: match on them, not on titles or details. See [the HTTP interface](api.md#errors).

Written by `scripts/error_table.py` from the code that raises them; a check fails when it is not up to date.

| code | status | meaning |
| --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of the error tree, with what it inherits filled in."""

    code: str
    status: int
    meaning: str


def page(source: Path = SOURCE) -> str:
    """The whole document."""
    modules = [ast.parse(path.read_text(), filename=str(path)) for path in sorted(source.rglob("*.py"))]
    kinds = error_classes(modules)
    rows = {(kind.code, kind.status): kind.meaning for kind in reversed(kinds.values())}
    for module in modules:
        for code, status, meaning in (*raised(module, kinds), *refusals(module, kinds)):
            rows.setdefault((code, status), meaning)
    lines = [
        f"| `{code}` | {status} | {meaning} |"
        for (code, status), meaning in sorted(rows.items(), key=lambda row: (row[0][1], row[0][0]))
    ]
    return HEAD + "\n".join(lines) + "\n"


def error_classes(modules: Iterable[ast.Module]) -> dict[str, Kind]:
    """Every class below PenstockError by its name, parents before children."""
    found = {
        node.name: node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)
    }
    kinds = {"PenstockError": replace(_kind(found["PenstockError"], Kind("", 0, "")), meaning=_UNFORESEEN)}
    while True:
        added = {
            name: _kind(node, kinds[base])
            for name, node in found.items()
            for base in [next((b for b in map(_last_name, node.bases) if b in kinds), None)]
            if base is not None and name not in kinds
        }
        if not added:
            return kinds
        kinds |= added


def raised(module: ast.Module, kinds: dict[str, Kind]) -> Iterator[tuple[str, int, str]]:
    """Code, status and text of every call of an error class that names its own code."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or (kind := kinds.get(_last_name(node.func))) is None:
            continue
        for keyword in node.keywords:
            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and node.args:
                yield str(keyword.value.value), kind.status, _text(node.args[0])


def refusals(module: ast.Module, kinds: dict[str, Kind]) -> Iterator[tuple[str, int, str]]:
    """Code, status and text of every refusal of a source: an enumeration of codes and a dictionary of what is said."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and node.name == "Refusal":
            codes = {
                item.targets[0].id: item.value.value
                for item in node.body
                if isinstance(item, ast.Assign)
                and isinstance(item.targets[0], ast.Name)
                and isinstance(item.value, ast.Constant)
            }
            said = [table for table in ast.walk(module) if isinstance(table, ast.Dict)]
            for key, value in (
                (key, value) for table in said for key, value in zip(table.keys, table.values, strict=True)
            ):
                if isinstance(key, ast.Attribute) and key.attr in codes:
                    yield str(codes[key.attr]), kinds["MediaError"].status, _text(value)


def _kind(node: ast.ClassDef, parent: Kind) -> Kind:
    own: dict[str, object] = {
        target.id: item.value.value
        for item in node.body
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)
        for target in item.targets
        if isinstance(target, ast.Name)
    }
    code = str(own.get("code", parent.code))
    # A class that only groups others shares its parent's code, and leaves the meaning to the one that named it.
    meaning = _first_sentence(ast.get_docstring(node) or "") if "code" in own else parent.meaning
    return Kind(code, int(str(own.get("status", parent.status))), meaning)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr) -> str:
    """The words of a string or an f-string; what is filled in at run time is an ellipsis."""
    if isinstance(node, ast.Constant):
        return _cell(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return _cell("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
    return ""


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    sentence, stop, _ = paragraph.partition(". ")
    return _cell(sentence + ("." if stop else ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the page is not up to date"
    )
    wanted = page()
    if not parser.parse_args(arguments).check:
        PAGE.write_text(wanted)
        return 0
    if PAGE.is_file() and PAGE.read_text() == wanted:
        return 0
    print("docs/errors.md is not up to date; run: python scripts/error_table.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
