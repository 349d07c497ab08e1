"""A real PostgreSQL server for tests: its own folder and socket, no network port, ended with the process that started it.

The server refuses to run as root, so under root it runs as an unprivileged user through ``setpriv``. Durability is off:
these tests are about what transactions see, not about power cuts.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from scripts import servers

_SETTINGS = {
    "listen_addresses": "",  # only the socket in its own folder: nothing to collide with, nobody else gets in
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}
_START_TIMEOUT_S = 60  # a loaded machine; usually well under one second


class PostgresServer:
    """One running server; ``url`` gives what a catalog is opened with."""

    def __init__(self, folder: Path, user: str) -> None:
        self._folder = folder
        self._user = user
        self._count = 0

    def url(self, database: str = "postgres") -> str:
        """A SQLAlchemy URL of one of its databases."""
        return f"postgresql://{self._user}@/{database}?host={self._folder}"

    def create(self, template: str = "template1") -> str:
        """A fresh database, a copy of ``template``; returns its name."""
        self._count += 1
        name = f"penstock_{self._count}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        """Removes a database; whoever is still connected is cut off."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement.encode())

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(host=str(self._folder), user=self._user, dbname="postgres", autocommit=True)

    def wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Returns once the server answers."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self._connect().close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from None
                time.sleep(0.02)
            else:
                return


@contextmanager
def running() -> Iterator[PostgresServer]:
    """Starts a server and ends it with the block. A missing PostgreSQL fails the test that asked for it."""
    initdb = next(program.find() for program in servers.PROGRAMS if program.name == "postgresql")
    if initdb is None:
        pytest.fail(
            "PostgreSQL is not installed; run: sudo make servers (or leave out the tests marked needs_postgresql)"
        )
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="penstock-pg-", dir="/tmp"))  # a socket's path must be short
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        data, log = folder / "data", folder / "log"
        # The text order of C is that of code points, as in SQLite.
        options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={user}"]
        subprocess.run(
            [*_as(user), initdb, *options, "-D", str(data)], check=True, capture_output=True, cwd=folder
        )
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command = [*_as(user, "--pdeathsig=INT"), str(Path(initdb).with_name("postgres")), "-D", str(data)]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "-k", str(folder), *settings], stdout=out, stderr=out, cwd=folder
            )
        try:
            server = PostgresServer(folder, user)
            server.wait(process, log)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # "fast": cut connections, then end in order
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> str:
    """Whom the server runs as: oneself, unless that is root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _as(user: str, *options: str) -> list[str]:
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [setpriv, *options] if setpriv and options else []
    if setpriv is None:
        pytest.fail("PostgreSQL does not run as root and setpriv (util-linux) is missing.")
    identity = pwd.getpwnam(user)
    return [setpriv, f"--reuid={user}", f"--regid={identity.pw_gid}", "--clear-groups", *options]
