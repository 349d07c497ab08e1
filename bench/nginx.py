"""nginx with one worker, as a yardstick."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HEAD = """\
daemon off; worker_processes 1; user {user}; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/nginx-access.log combined;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {server}
    }}
}}
"""


@contextmanager
def running(folder: Path, server: str) -> Iterator[int]:
    """Its port, once it answers. ``folder``: for its files; ``server``: what stands in its ``server`` block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "root" if os.geteuid() == 0 else "nobody"
    (folder / "nginx.conf").write_text(_HEAD.format(user=user, folder=folder, port=port, server=server))
    program = shutil.which("nginx")
    if program is None:
        raise RuntimeError("nginx is not here: python scripts/servers.py install bench")
    with subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as process:
        try:
            _await(port)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)


def version() -> str:
    """As it says itself: ``nginx/1.22.1``."""
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition(" ")[2]


def _await(port: int) -> None:
    for _ in range(200):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("nginx does not answer")
