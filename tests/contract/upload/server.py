"""A handle on the upload service in a process of its own: to ask it, to watch it, to kill it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import httpx

from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import StoreConfig
from tests.contract.upload.conftest import SMALL, Instance


def database_url(folder: Path) -> str:
    """Of the records below a data folder."""
    return f"sqlite:///{folder / 'records.sqlite'}"


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Returns once the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Server:
    """A running process."""

    def __init__(
        self,
        instance: Instance,
        folder: Path,
        *,
        database: str | None = None,
        ahead_s: float = 0,
        **changes: Any,
    ) -> None:
        """``database``: another than that of the folder. ``ahead_s``: how much its clock is ahead of this machine's."""
        self._instance = instance
        config = json.dumps({**asdict(SMALL), **changes})
        sources = instance.sources
        bucket = sources.config if isinstance(sources, S3Store) else None
        store = bucket or StoreConfig(f"file://{(folder / 'sources').resolve()}")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.contract.upload.process",
                str(folder),
                database or database_url(folder),
                config,
                json.dumps(asdict(store)),
            ],
            env={**os.environ, "CLOCK_AHEAD_S": str(ahead_s)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("port "), line
        self.port = int(line.split()[1])
        # What it logs from here on must not fill the pipe.
        self._drain = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._drain.start()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=instance.headers("olga"), timeout=60
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()
        self._drain.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def connect(self) -> socket.socket:
        """A connection to misbehave on."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def peak_memory(self) -> int:
        """Bytes of the highest resident set so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        found = re.search(rf"^{name} ([0-9.e+]+)$", self.client.get("/metrics").text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def stop(self) -> int:
        """Asks the process to end as an operator does; its exit status."""
        self._process.terminate()
        return self._process.wait(60)

    def wait_dead(self) -> None:
        """Returns once the process was killed; what it left is sound, but for what the next start removes."""
        assert self._process.wait(30) == -signal.SIGKILL
        self._instance.assert_sound(swept=False)

    @contextmanager
    def traced(self, log: Path, *options: str) -> Iterator[None]:
        """The process under strace while the block runs; ``httpx.HTTPError`` out of the block says that it died."""
        command = ["strace", "-f", "-y", "-s", "64", "-o", str(log), "-p", str(self.pid), *options]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        try:
            yield
        except httpx.HTTPError:
            tracer.communicate()  # the process died, and strace ends with it
            raise
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.communicate(timeout=10)
        except subprocess.TimeoutExpired:  # interrupted while the process was dying, strace may wait for ever
            tracer.kill()
            tracer.communicate()
