"""Fails when `docs/openapi.json` is not what the code serves, or breaks clients of the former document without saying so.

The former document is the one before the last change of the file: that of the last commit where the file differs from it, else
that before the last commit which changed it. So a change is checked before it is committed and, in CI, after.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.cli.compatibility import incompatibilities
from penstock.cli.openapi import document, rendered

ROOT = Path(__file__).resolve().parent.parent
FILE = "docs/openapi.json"
WRITE = f"penstock openapi > {FILE}"


def former_text(root: Path, present: str) -> str | None:
    """The document before the last change; None where there was none, or no history to ask."""
    committed = _git(root, "show", f"HEAD:{FILE}")
    if committed is not None and committed != present:
        return committed
    last = _git(root, "log", "-n", "1", "--format=%H", "--", FILE)
    return _git(root, "show", f"{last.strip()}^:{FILE}") if last and last.strip() else None


def complaints(
    present: Mapping[str, Any], checked_in: str, former: Mapping[str, Any] | None, changelog: str
) -> list[str]:
    """What is wrong, each with what to do about it."""
    if checked_in != rendered(dict(present)):
        return [f"{FILE} is not what the code serves; write it anew with '{WRITE}' and read the difference"]
    broken = incompatibilities(former, present) if former is not None else []
    if not broken or former is None:
        return []
    version = present["info"]["version"]
    if version == former["info"]["version"]:
        return [
            *broken,
            f"these changes break clients; they need another version than {version} in pyproject.toml",
        ]
    if not re.search(rf"^##.*\b{re.escape(version)}\b", changelog, re.MULTILINE):
        return [
            *broken,
            f"these changes break clients; CHANGELOG.md must say so under a heading for {version}",
        ]
    return []


def main() -> int:
    """Print the complaints; 1 if there are any."""
    checked_in = (ROOT / FILE).read_text()
    former = former_text(ROOT, checked_in)
    found = complaints(
        document(), checked_in, json.loads(former) if former else None, (ROOT / "CHANGELOG.md").read_text()
    )
    for complaint in found:
        print(complaint)
    return 1 if found else 0


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
