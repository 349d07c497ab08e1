"""The programs that some tests need beside Python: which are here, and `install` for the missing ones (Debian packages, root).

Installing must not disturb the machine: a package's own service is kept from starting and from taking its default port, and
no PostgreSQL cluster is created. Each test starts what it needs itself, on a port and in a folder of its own. Standard
library only: `sudo make servers` runs this with the system's Python.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _newest_postgresql() -> str | None:
    """Debian keeps the server's programs out of the PATH, one folder per major version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which("initdb")


def _chromium() -> str | None:
    return next(
        (at for name in ("chromium", "chromium-browser", "google-chrome") if (at := shutil.which(name))), None
    )


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the tests: the pytest marker is `needs_<name>`."""

    name: str
    title: str
    package: str
    find: Callable[[], str | None]


def _bubblewrap() -> str | None:
    """It may be installed and of no use: many containers forbid what it does."""
    found = shutil.which("bwrap")
    if found is None:
        return None
    tried = subprocess.run(
        [found, "--ro-bind", "/", "/", "--unshare-all", "true"], capture_output=True, check=False
    )
    return found if tried.returncode == 0 else None


def _namespaces() -> str | None:
    """Making a network namespace and a bridge in it needs root, iproute2 and a machine that permits it."""
    found = shutil.which("ip")
    if found is None or os.geteuid() != 0:
        return None
    name = f"penstock-try-{os.getpid()}"
    tries = (["netns", "add", name], ["-n", name, "link", "add", "bridge0", "type", "bridge"])
    worked = [
        subprocess.run([found, *one], capture_output=True, check=False).returncode == 0 for one in tries
    ]
    subprocess.run([found, "netns", "del", name], capture_output=True, check=False)
    return found if all(worked) else None


def _node() -> str | None:
    """With npm, which brings the clients that it runs; before 18 it lacks what they need."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.removeprefix("v").partition(".")[0]
    return found if major.isdigit() and int(major) >= 18 else None


PROGRAMS = (
    Program("postgresql", "PostgreSQL", "postgresql", _newest_postgresql),
    Program("chromium", "Chromium", "chromium", _chromium),
    Program("strace", "strace", "strace", lambda: shutil.which("strace")),
    Program("curl", "curl", "curl", lambda: shutil.which("curl")),
    Program("node", "Node.js", "npm", _node),  # npm brings nodejs along
    Program("namespaces", "network namespaces", "iproute2", _namespaces),
    Program("bubblewrap", "bubblewrap", "bubblewrap", _bubblewrap),
)


# What benchmarks measure against and with; no test needs them.
YARDSTICKS = (
    Program("nginx", "nginx", "nginx", lambda: shutil.which("nginx")),
    Program("wrk", "wrk", "wrk", lambda: shutil.which("wrk")),
)


def missing(programs: tuple[Program, ...] = PROGRAMS) -> list[Program]:
    """Those of ``programs`` (what tests need, unless told otherwise) that this machine lacks."""
    return [program for program in programs if program.find() is None]


def may_install() -> bool:
    """Only root on a Debian-like system may, and does."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(programs: list[Program]) -> None:
    """Install the packages; raises CalledProcessError when apt-get fails.

    While apt-get runs, `policy-rc.d` answers 101 ("action forbidden by policy", Debian's invoke-rc.d), so that no service
    starts. A policy that the machine already has is left as it is.
    """
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    clusters = Path("/etc/postgresql-common/createcluster.conf")
    if not clusters.exists():
        clusters.parent.mkdir(parents=True, exist_ok=True)
        clusters.write_text("create_main_cluster = false\n")
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        packages = [program.package for program in programs]
        print(f"Installing {', '.join(packages)} (no service is started)", flush=True)
        subprocess.run(["apt-get", "-qq", "update"], env=env, check=True)
        subprocess.run(
            ["apt-get", "-qq", "--yes", "install", "--no-install-recommends", *packages], env=env, check=True
        )
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def main() -> int:
    """`install`: bring the missing programs; anything else: say which are here. With `bench`: those of the benchmarks."""
    asked = sys.argv[1:]
    programs = YARDSTICKS if "bench" in asked else PROGRAMS
    lacking = missing(programs)
    if "install" in asked and lacking:
        if not may_install():
            print(
                f"penstock: installing needs root on Debian or Ubuntu: sudo python3 scripts/servers.py {' '.join(asked)}",
                file=sys.stderr,
            )
            return 1
        install(lacking)
    for program in programs:
        print(f"{program.title:<12}{program.find() or 'missing'}")
    return 1 if missing(programs) else 0


if __name__ == "__main__":
    sys.exit(main())
