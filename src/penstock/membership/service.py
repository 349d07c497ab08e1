"""The per-node service, put together: agent, control interface, and the socket that the latter is reached at."""

import os
import socket
import stat
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI

from penstock.membership import control
from penstock.membership.agent import Agent
from penstock.membership.config import MembershipConfig
from penstock.membership.control_address import control_path, control_token, port_path
from penstock.membership.errors import InvalidInput
from penstock.membership.files import write_durably
from penstock.membership.network import NetworkTransport

BACKLOG = 128  # programs of one machine
LONGEST_SOCKET_PATH = 100  # the kernel takes 108 bytes, other systems 104


def build(config: MembershipConfig) -> FastAPI:
    """The service as an ASGI application; nothing listens before it starts."""
    agent = Agent(config, NetworkTransport(config.bind, config.port))
    token = control_token(config) if config.control_port is not None else None
    return control.application(agent, version=version("penstock"), token=token)


def listen(config: MembershipConfig) -> socket.socket:
    """The control interface's socket, listening. Raises :class:`InvalidInput` where it cannot be."""
    if config.control_port is not None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # TIME_WAIT after a restart is not in use
        bound = _listening(listener, ("127.0.0.1", config.control_port), f"port {config.control_port}")
        write_durably(port_path(config), f"{bound.getsockname()[1]}\n".encode())
        return bound
    port_path(config).unlink(missing_ok=True)
    path = control_path(config)
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise InvalidInput(
            f"The path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes, and the control interface's is longer. Name a "
            "shorter one in PENSTOCK_MEMBERSHIP_CONTROL_SOCKET, or a port in PENSTOCK_MEMBERSHIP_CONTROL_PORT (0: any)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
        path.unlink()  # left by a process that was killed
    before = os.umask(0o177)  # the socket is its owner's alone from its first moment
    try:
        return _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path), path.name)
    finally:
        os.umask(before)


def _listening(listener: socket.socket, address: str | tuple[str, int], name: str) -> socket.socket:
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidInput(f"The control interface cannot listen at {name}: {error.strerror}.") from error
    listener.setblocking(False)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
