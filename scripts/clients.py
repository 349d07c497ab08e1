"""The JavaScript clients that tests run unmodified: `node_modules` exactly as their lock file says, made when it is asked for.

npm verifies each package by the hash in the lock, which names no address: the packages come from the registry that npm is
configured with. No package's own script is run.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "clients"
PACKAGES = FOLDER / "node_modules"
_MARK = PACKAGES / ".made-from"


def installed() -> Path:
    """The folder of the packages, made now if need be; one process at a time. Raises CalledProcessError where npm fails."""
    lock = FOLDER / "package-lock.json"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not _MARK.exists() or _MARK.read_text() != wanted:
            npm = shutil.which("npm") or "npm"
            quiet = [
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--loglevel=error",
                "--omit-lockfile-registry-resolved",
            ]
            subprocess.run([npm, "ci", *quiet], cwd=FOLDER, check=True, timeout=240, stdout=sys.stderr)
            _MARK.write_text(wanted)
    return PACKAGES


if __name__ == "__main__":
    print(installed())
