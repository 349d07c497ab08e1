"""Renews requirements/*.txt from pyproject.toml: every platform's files by hash, no host, no path of this machine.

No uv.lock: it would name the package index, and these files work behind any mirror and with plain pip.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
FLAGS = (
    "--universal",  # one file for every platform, with environment markers
    "--python-version=3.11",  # the oldest supported; the resolution holds for all newer ones
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",  # the header would repeat the command with its paths
    "--quiet",
)
FOREIGN = re.compile(r"https?://|file:|--index-url|--find-links|--extra-index-url")


def main() -> int:
    """Resolve the sets, each held to those before; `--upgrade` looks for newer versions."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))} | {
        "UV_NO_CONFIG": "1"
    }
    compile_ = [str(UV), "pip", "compile", *FLAGS, *sys.argv[1:]]
    sets = {
        "tools": ["--group=tools"],
        "runtime": ["pyproject.toml", "--constraints=requirements/tools.txt"],
        "dev": [
            "pyproject.toml",
            "--group=dev",
            "--constraints=requirements/tools.txt",
            "--constraints=requirements/runtime.txt",
        ],
        "bench": ["--group=bench", "--constraints=requirements/runtime.txt"],
    }
    for name, asked in sets.items():
        output = ROOT / "requirements" / f"{name}.txt"
        subprocess.run(
            [*compile_, *asked, "--output-file", f"requirements/{name}.txt"], cwd=ROOT, env=env, check=True
        )
        if found := FOREIGN.search(output.read_text()):
            print(
                f"{output.name} names a host or an index ({found.group()}): a lock must work anywhere",
                file=sys.stderr,
            )
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
