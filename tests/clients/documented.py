"""The examples of the documentation, as files that can be run, and what they need beside them."""

import re
import subprocess
from pathlib import Path

from scripts import clients

ROOT = Path(__file__).resolve().parents[2]
_EXAMPLE = re.compile(
    r"<!-- example: (?P<name>\S+) -->\n```\w+\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


def examples() -> dict[str, str]:
    """Each example's code by its name, as the page shows it."""
    page = (ROOT / "docs" / "clients.md").read_text()
    return {found["name"]: found["code"] for found in _EXAMPLE.finditer(page)}


def lay_out(name: str, folder: Path) -> Path:
    """The example as a file of ``folder``, where its imports find the packages of others."""
    path = folder / name
    path.write_text(examples()[name])
    if path.suffix in {".js", ".mjs"}:
        (folder / "node_modules").symlink_to(clients.installed())
    return path


def bundled(name: str, folder: Path) -> str:
    """The example as one script that a page can load."""
    path = lay_out(name, folder)
    made = folder / f"bundle-{name}"
    program = str(clients.installed() / ".bin" / "esbuild")
    command = [program, str(path), "--bundle", "--format=iife", f"--outfile={made}", "--log-level=warning"]
    subprocess.run([*command, "--preserve-symlinks"], cwd=folder, check=True, timeout=120)
    return made.read_text()
