"""Taking a TCP port, or saying whose it is and what to do."""

import errno
import socket

from penstock.video.errors import ConfigurationError


class PortBusy(ConfigurationError):
    """Something listens on the address already. Nothing was started."""

    code = "port_busy"


def listen(host: str, port: int, *, backlog: int, remedy: str) -> socket.socket:
    """A listening TCP socket; port 0 lets the system choose. Raises :class:`PortBusy`, whose text ends with ``remedy``."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(
            f"The address to listen on, '{host}', is not known here: {error.strerror}."
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port in TIME_WAIT after a restart is free; one that is listened on is not (no SO_REUSEPORT).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortBusy(f"Port {port} on {host} is in use. {remedy}") from None
        if error.errno == errno.EACCES:
            raise PortBusy(f"Port {port} needs privileges that this user lacks. {remedy}") from None
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {error.strerror}. {remedy}"
        ) from error
    listener.setblocking(False)
    return listener
