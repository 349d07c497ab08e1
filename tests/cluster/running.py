"""The whole platform as the processes that a user starts, on a port and a folder of its own, for tests to push around."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from penstock.client import Client

T = TypeVar("T")
PATIENCE = 120.0  # seconds; how long anything may take on a busy machine before a test fails


def eventually(question: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """The first answer that is true. Raises AssertionError, saying what was waited for, when there is none in time."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"within {patience:.0f} s: {what}")


class Platform:
    """``penstock up`` in a folder. Start it, look at it, kill parts of it; :meth:`close` leaves nothing behind."""

    def __init__(self, data: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.log_file = data.parent / "penstock.log"
        self.environment = {
            **os.environ,
            "PENSTOCK_DATA": str(data),
            "PENSTOCK_STATE": str(data.parent / "state"),  # not the home of whoever runs the tests
            "PENSTOCK_PORT": "0",
            "PENSTOCK_LOG_FILE": str(self.log_file),
            **{f"PENSTOCK_{name}": value for name, value in (settings or {}).items()},
        }
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    # -- its life

    def start(self) -> "Platform":
        """Returns when everything serves."""
        self.process = self.spawn()
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first.startswith("Penstock is up at "), f"{first!r}; {self.log()[-5:]}"
        self.url = first.split()[-1]
        return self

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """The command as a process, its output to be read."""
        return subprocess.Popen(
            [sys.executable, "-m", "penstock.cli", "up", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> int:
        """Ends it as Ctrl-C does; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        self.process = None
        return status

    def close(self) -> None:
        """Kills whatever of it still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()
        for name in ("web", "processing", "member"):
            for pid in self.pids(name):
                if running(pid):
                    os.kill(pid, signal.SIGKILL)

    # -- its processes

    def pids(self, name: str) -> list[int]:
        """Every pid under which a process was started so far, the present one last."""
        return [line["pid"] for line in self.log("process_started") if line["process"] == name]

    def kill(self, name: str) -> int:
        """Ends, as kill -9 does, the present process of this name; returns its pid."""
        pid = self.pids(name)[-1]
        os.kill(pid, signal.SIGKILL)
        return pid

    def vanish(self) -> None:
        """Ends everything of it at once, as a power cut does: nobody is left to notice and to end in order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)  # or it would start again what is killed first
        for name in ("web", "processing", "member"):
            if self.pids(name):
                self.kill(name)
        self.process.kill()
        self.process.wait()

    def wait_restarted(self, name: str, starts: int) -> None:
        """Until the process of this name was started so many times, and said that it serves."""
        eventually(
            lambda: sum(line["process"] == name for line in self.log("process_ready")) >= starts,
            f"{name} serves again",
        )

    # -- what it says

    def log(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Log lines so far: of one event, and with these values."""
        if not self.log_file.exists():
            return []
        text = self.log_file.read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [
            line
            for line in lines
            if (event is None or line["event"] == event)
            and all(line.get(name) == value for name, value in fields.items())
        ]

    def client(self) -> Client:
        """With the administrator's key."""
        return Client(self.url, api_key=(self.data / "admin.key").read_text().strip())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line, against this platform."""
        return subprocess.run(
            [sys.executable, "-m", "penstock.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def get(self, path: str) -> httpx.Response:
        """A request without a key."""
        return httpx.get(f"{self.url}{path}", timeout=60)


class Services:
    """Each service as a process of its own, as on machines that share one folder; :meth:`close` leaves none behind."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log_file = data.parent / "services.log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, service: str, **settings: str) -> str:
        """Starts one and returns its address once it serves (of processing: that of its health and figures)."""
        begun = len(self._ready(service))
        environment = {
            **os.environ,
            "PENSTOCK_DATA": str(self.data),
            "PENSTOCK_PORT": "0",
            "PENSTOCK_LOG_FILE": str(self.log_file),
            **{f"PENSTOCK_{name}": value for name, value in settings.items()},
        }
        process = subprocess.Popen([sys.executable, "-m", "penstock.cli", "serve", service], env=environment)
        self._processes[service] = process

        def ready() -> dict[str, Any] | None:
            assert process.poll() is None, f"{service} ended with {process.returncode}"
            lines = self._ready(service)
            return lines[-1] if len(lines) > begun else None

        line = eventually(ready, f"{service} serves")
        return str(line.get("url") or f"http://127.0.0.1:{line['port']}")

    def kill(self, service: str) -> None:
        """Ends one as kill -9 does."""
        process = self._processes.pop(service)
        process.kill()
        process.wait()

    def close(self) -> None:
        """Ends those that run."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def client(self, url: str) -> Client:
        """Of the service at this address, with the administrator's key."""
        return Client(url, api_key=(self.data / "admin.key").read_text().strip())

    def _ready(self, service: str) -> list[dict[str, Any]]:
        text = self.log_file.read_text() if self.log_file.exists() else ""
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in lines if (line["event"], line["service"]) == ("service_ready", service)]


def running(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Every process below this one, with its command line."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    waiting = children.get(pid, [])[:]
    while waiting:
        child = waiting.pop()
        waiting += children.get(child, [])
        try:
            yield child, Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip()
        except FileNotFoundError:
            continue
