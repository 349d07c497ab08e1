"""Two real S3 servers for tests, on loopback ports of their own: what works only on one of them is not relied upon.

``ministack`` verifies the signatures of pre-signed addresses, ``rclone serve s3``, a gateway over a folder, those in headers
too: a wrong pair is refused by the second alone. Both come with the development environment. Each ends with the block that started it, or with the process.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx

from penstock.storage.s3_access import StoreConfig, multipart_client
from scripts.ports import free_port

_PROGRAMS = Path(sys.executable).parent
_START_TIMEOUT_S = 120  # a loaded machine; usually two seconds
KEY, SECRET = "penstocktests", "not-a-secret-outside-of-tests"


@dataclass(frozen=True)
class S3Server:
    """One running server."""

    kind: str
    endpoint: str
    key: str = KEY
    secret: str = SECRET

    def config(self, url: str) -> StoreConfig:
        """What opens a store on it."""
        return StoreConfig(
            url,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.key,
            secret_access_key=self.secret,
        )

    def bucket(self) -> str:
        """Makes a new bucket; returns its name."""
        name = f"bucket-{secrets.token_hex(6)}"
        multipart_client(self.config(f"s3://{name}")).create_bucket(Bucket=name)
        return name

    def new(self) -> StoreConfig:
        """An empty store: a new prefix in a bucket that others use too."""
        return self.config(f"s3://{self._shared}/some/prefix-{secrets.token_hex(6)}")

    @cached_property
    def _shared(self) -> str:
        return self.bucket()


def _ministack(port: int, folder: Path, key: str, secret: str) -> tuple[list[str], Mapping[str, str]]:
    environment = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": "s3",
        "S3_PERSIST": "0",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder),
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    return [str(_PROGRAMS / "ministack")], environment


def _rclone(port: int, folder: Path, key: str, secret: str) -> tuple[list[str], Mapping[str, str]]:
    served = folder / "served"
    served.mkdir()
    options = [
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{key},{secret}",
        "--config",
        str(folder / "none"),
    ]
    return [str(_PROGRAMS / "rclone"), "serve", "s3", *options, str(served)], {}


KINDS: Mapping[str, Callable[[int, Path, str, str], tuple[list[str], Mapping[str, str]]]] = {
    "ministack": _ministack,
    "rclone": _rclone,
}


@contextmanager
def running(kind: str, key: str = KEY, secret: str = SECRET) -> Iterator[S3Server]:
    """Starts a server that this pair opens, and ends it with the block."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="penstock-s3-") as name:
        folder = Path(name)
        command, environment = KINDS[kind](port, folder, key, secret)
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=folder, env={**os.environ, **environment}
            )
        try:
            server = S3Server(kind, f"http://127.0.0.1:{port}", key, secret)
            _wait(server, process, log)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            httpx.get(server.endpoint, timeout=5)
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{server.kind} did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
