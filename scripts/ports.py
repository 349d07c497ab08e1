"""Ports for servers that are told where to listen before they do."""

import secrets
import socket

# Below what Linux (from 32768) and macOS (from 49152) give to clients: any of those may be taken until the server listens.
_FIRST, _COUNT = 20_000, 12_000


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, by TCP and by UDP."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            try:
                stream.bind(("127.0.0.1", port))
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
