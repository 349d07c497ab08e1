"""Makes `.venv` hold exactly what the lock files say, starting from Python and pip alone.

uv is fetched by pip, by hash; it then installs the locked requirements and this package in editable form. What was
downloaded and what it occupies is written beside the environment, so that a later run can print it. Standard library only:
this runs before anything is installed.
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
RECORD = VENV / "penstock-environment.json"

_UNITS = {"B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GiB": 2**30}
_DOWNLOAD = re.compile(r"Downloading (?P<what>\S+) \((?P<size>[\d.]+) ?(?P<unit>B|kB|KiB|MB|MiB|GiB)\)")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one installation fetched: the files whose size the installer reported, and their number."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: "Transfer") -> "Transfer":
        return Transfer(self.bytes + other.bytes, self.files + other.files)

    def __str__(self) -> str:
        if not self.files:
            return "nothing (every file was in uv's or pip's cache)"
        return f"{self.bytes / 1e6:.0f} MB (files of 1 MiB and more; the many small ones add about 3 %)"


@dataclass(frozen=True, slots=True)
class Record:
    """What `.venv` was made from, which set it holds, and what each set took."""

    stamp: str
    holds: str
    runtime: Transfer
    dev: Transfer


class SetupFailed(Exception):
    """The environment could not be made; the message names the remedy."""


def reported_transfer(output: str) -> Transfer:
    """Sum the downloads a run of pip or uv reports; uv names only files of 1 MiB and more."""
    found = [(float(m["size"]), _UNITS[m["unit"]]) for m in _DOWNLOAD.finditer(output)]
    return Transfer(round(sum(size * unit for size, unit in found)), len(found))


def stamp() -> str:
    """Identify everything the environment is made from, so that an unchanged one is left alone."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()} {ROOT}".encode())
    for path in [ROOT / "pyproject.toml", *sorted(REQUIREMENTS.glob("*.txt"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_record() -> Record | None:
    """Return what the last run wrote; None when there is no environment, or one that something else made."""
    try:
        raw = json.loads(RECORD.read_text())
        return Record(raw["stamp"], raw["holds"], Transfer(**raw["runtime"]), Transfer(**raw["dev"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def occupied(folder: Path) -> int:
    """Bytes on disk below a folder; a hard link counts once, links are not followed."""
    seen: dict[tuple[int, int], int] = {}
    for at, _, names in os.walk(folder):
        for name in names:
            facts = os.lstat(os.path.join(at, name))  # noqa: PTH118 - thousands of files: Path objects cost more than the calls
            seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(seen.values())


def _run(command: list[str], env: dict[str, str]) -> Transfer:
    """Run an installer quietly; on failure show all it said."""
    done = subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode:
        sys.stderr.write(said)
        raise SetupFailed(
            "the packages could not be installed (see above). They come from the package index that pip uses: behind a"
            " mirror or a proxy set PIP_INDEX_URL, HTTPS_PROXY or PIP_CERT and run the same command again."
        )
    return reported_transfer(said)


def installer_environment() -> dict[str, str]:
    """Give uv the index and the certificates that pip is configured with: uv does not read pip's settings."""
    env = dict(os.environ) | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CONFIG": "1", "NO_COLOR": "1"}
    env.pop("VIRTUAL_ENV", None)
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], text=True, capture_output=True, check=False, env=env
    ).stdout
    settings = dict(re.findall(r"^(?::env:|global|install)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    for pip_name, uv_name in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        if pip_name in settings and uv_name not in env:
            env[uv_name] = settings[pip_name]
    return env


def install(wanted: str) -> Record:
    """Build or bring up to date the environment for `runtime` or `dev`."""
    env = installer_environment()
    if platform.system() == "Linux" and platform.libc_ver()[0] != "glibc":
        raise SetupFailed(
            "a Linux with glibc is needed (this one has another C library): use a Debian or Ubuntu container."
        )
    python = VENV / "bin" / "python"
    print(
        f"Setting up {VENV.name} ({wanted}): downloads about {200 if wanted == 'runtime' else 300} MB the first time; changes nothing outside the clone."
    )
    usable = (
        python.exists()
        and subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode
        == 0
    )
    if not usable or f"python{sys.version_info[0]}.{sys.version_info[1]}" not in {
        p.name for p in (VENV / "lib").glob("*")
    }:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    tools = REQUIREMENTS / "tools.txt"
    transfer = _run([str(python), "-m", "pip", "install", "--require-hashes", "-r", str(tools)], env)
    uv = [str(VENV / "bin" / "uv"), "pip"]
    target = ["--python", str(python)]
    runtime = transfer + _run(
        [
            *uv,
            "install",
            *target,
            "--require-hashes",
            "-r",
            str(tools),
            "-r",
            str(REQUIREMENTS / "runtime.txt"),
        ],
        env,
    )
    dev = _run(
        [*uv, "sync", *target, "--require-hashes", str(tools), str(REQUIREMENTS / f"{wanted}.txt")], env
    )
    _run([*uv, "install", *target, "--no-deps", "--no-build-isolation", "--offline", "--editable", "."], env)
    return Record(stamp(), wanted, runtime, dev)


def ensure(wanted: str) -> Record:
    """Return the record of an environment that holds `wanted`, made now if need be; one process at a time."""
    with (ROOT / "pyproject.toml").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        record = read_record()
        if record is not None and record.stamp == stamp() and record.holds in {wanted, "dev"}:
            return record
        before = record
        record = install("dev" if before is not None and before.holds == "dev" else wanted)
        if before is not None and not record.runtime.files:
            record = Record(record.stamp, record.holds, before.runtime, record.dev + before.dev)
        RECORD.write_text(json.dumps(asdict(record), indent=1) + "\n")
        print(footprint(record))
        return record


def footprint(record: Record) -> str:
    """One paragraph: what the environment downloaded and occupies."""
    lines = [f"Environment: downloaded for make demo {record.runtime}"]
    if record.holds == "dev":
        lines.append(f"; besides that for make test {record.dev}")
    lines.append(
        f"; .venv occupies {occupied(VENV) / 1e6:.0f} MB (most of it shared with uv's cache by hard links)."
    )
    return "".join(lines)


def main() -> int:
    """Make or keep the environment; a failure is one line that names the remedy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("holds", choices=["runtime", "dev"], help="what the environment must hold")
    asked = parser.parse_args()
    try:
        ensure(asked.holds)
    except SetupFailed as failure:
        print(f"penstock: {failure}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as failure:
        print(f"penstock: the environment could not be made: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
