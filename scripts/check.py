"""Everything that can be said about the code without running it; `make check`. Goes on after a failure and names all of them."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"

CHECKS: dict[str, list[str]] = {
    "formatting": [f"{BIN}/ruff", "format", "--check", "--quiet", "."],
    "lints": [f"{BIN}/ruff", "check", "--quiet", "."],
    "types": [f"{BIN}/mypy", "--no-error-summary"],
    "import directions": [f"{BIN}/lint-imports", "--no-logo"],
    "documents": [f"{BIN}/python", "scripts/check_docs.py"],
    "HTTP contract": [f"{BIN}/python", "scripts/check_contract.py"],
    "error codes": [f"{BIN}/python", "scripts/error_table.py", "--check"],
}


def main() -> int:
    """Run each check; print one line for a kept one and all that a broken one says."""
    broken = []
    for name, command in CHECKS.items():
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
        print(
            f"{name:<20}{'ok' if done.returncode == 0 else 'BROKEN'}  {time.monotonic() - began:.1f} s",
            flush=True,
        )
        if done.returncode:
            broken.append(name)
            print(done.stdout + done.stderr, flush=True)
    if broken:
        print(f"check: broken: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
