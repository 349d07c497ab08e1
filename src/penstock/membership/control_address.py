"""Where the control interface of this machine's node is reached: a Unix socket, or a loopback port with a token.

The service writes what a client has to know into the node's folder; this file knows both sides, and nothing that is said.
"""

import contextlib
import secrets
from pathlib import Path

from penstock.membership.client import MembershipClient
from penstock.membership.config import MembershipConfig
from penstock.membership.errors import Unreachable
from penstock.membership.files import write_durably


def connect(config: MembershipConfig, *, patience: float = 15.0) -> MembershipClient:
    """A client of the node of this machine. ``patience``: seconds to wait for an answer.

    Raises :class:`Unreachable` where the service was never started; one that has ended since is noticed when it is asked.
    """
    port = control_port(config)
    if port is not None:
        return MembershipClient(port=port, token=control_token(config), patience=patience)
    path = control_path(config)
    if not path.exists():
        raise Unreachable("The node's control interface is not there: is 'penstock serve member' running?")
    return MembershipClient(path, patience=patience)


def control_path(config: MembershipConfig) -> Path:
    """Where the Unix socket is, unless a port is set."""
    return config.control_socket or config.folder / "control.sock"


def control_port(config: MembershipConfig) -> int | None:
    """The TCP port at which the service was last started, if it was not the Unix socket."""
    try:
        return int(port_path(config).read_text())
    except (FileNotFoundError, ValueError):
        return None


def port_path(config: MembershipConfig) -> Path:
    """The file that tells the port."""
    return config.folder / "control.port"


def control_token(config: MembershipConfig) -> str:
    """The token of the control interface; made at the first start, readable by its owner alone."""
    path = config.folder / "control.token"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    token = secrets.token_urlsafe(32)
    write_durably(path, f"{token}\n".encode())
    return token
