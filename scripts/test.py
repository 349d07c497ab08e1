"""`make test`: every check and every test, in one pytest run, with the servers the tests need.

As root, or in CI, missing servers are installed, and one that cannot be had fails the run. Without root the tests that need a
missing one are left out, and the last lines name them and the command that runs them.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import check, environment, servers  # noqa: E402 - found by the line above, wherever this is started from

WORKERS = "3"  # on two cores: media tests keep a core busy each, most others wait for processes that start, die and return


def left_out() -> list[servers.Program]:
    """Bring the servers where that is allowed; return those whose tests cannot run here."""
    lacking = servers.missing()
    in_ci = bool(os.environ.get("CI"))
    if lacking and servers.may_install():
        servers.install(lacking)
        lacking = servers.missing()
    if lacking and (in_ci or servers.may_install()):
        raise SystemExit(
            f"penstock: the tests need {', '.join(p.title for p in lacking)}, and in CI none is left out."
        )
    return lacking


def main() -> int:
    """Return 0 only if every check holds and every test that can run here passes."""
    lacking = left_out()
    checked = check.main()
    command = [sys.executable, "-m", "pytest", "-n", WORKERS, "--dist", "loadgroup"]
    if lacking:
        command += ["-m", " and ".join(f"not needs_{program.name}" for program in lacking)]
    tested = subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, check=False).returncode
    if record := environment.read_record():
        print(environment.footprint(record))
    if checked:
        print("make test: a check is broken (see the beginning, or run make check)")
    for program in lacking:
        print(f"Not run: the tests marked needs_{program.name}, because {program.title} is not installed.")
    if lacking:
        print("To run them: sudo make servers && make test")
    return checked or tested


if __name__ == "__main__":
    sys.exit(main())
