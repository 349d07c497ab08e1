"""The whole platform on one machine: takes the folder and the port, then lets the supervisor run its processes.

They are ``web`` and ``processing``, and ``member`` where a cluster is configured.
The parent imports no service, so it stays small; each child builds its own parts from the same settings.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from penstock import telemetry
from penstock.supervisor import DataLock, ProcessSpec, Supervisor
from penstock.wiring import folders, processes

if TYPE_CHECKING:
    from penstock.settings import Settings

# How long to wait for the children of a supervisor that was killed: a little more than they may take to end.
ORPHANS_SECONDS = 15.0

log = structlog.get_logger()


def run(
    settings: "Settings", environment: Mapping[str, str], *, announce: Callable[["Settings", str], None]
) -> int:
    """Blocks until it is told to stop; returns the exit status. ``announce`` is called with the address once all serve.

    Raises :class:`penstock.video.errors.ConfigurationError` where the folder or the port is taken.
    """
    folders.make_folders(settings)
    lock = DataLock.acquire(
        settings.run_folder / "up.lock", holder={"pid": os.getpid()}, patience=ORPHANS_SECONDS
    )
    listener = processes.listen(settings)
    url = settings.address(listener.getsockname()[1])
    lock.describe({"pid": os.getpid(), "url": url})
    handle = telemetry.configure(settings.telemetry("supervisor", terminal=sys.stderr.isatty()))
    if settings.is_public:
        log.warning("port_public", bind=settings.bind, detail="other machines can reach this port")
    module = (sys.executable, "-m", "penstock.wiring")
    web = (*module, "web", "--listen-fd", str(listener.fileno()))
    specs = [
        ProcessSpec("web", web, environment, (lock.fd, listener.fileno())),
        ProcessSpec("processing", (*module, "processing"), environment, (lock.fd,)),
    ]
    if settings.cluster is not None:
        specs.append(ProcessSpec("member", (*module, "member"), environment, (lock.fd,)))
    try:
        return Supervisor(specs, on_ready=lambda: announce(settings, settings.public_url or url)).run()
    finally:
        handle.close()
