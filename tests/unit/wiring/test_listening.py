import socket

import pytest

from penstock.wiring.listening import PortBusy, listen


def test_a_busy_port_is_refused_with_the_remedy() -> None:
    """Two listeners never share a port, and the text says what to do."""
    with (
        listen("127.0.0.1", 0, backlog=8, remedy="") as first,
        pytest.raises(PortBusy, match=r"in use\. Choose another with --port"),
    ):
        listen("127.0.0.1", first.getsockname()[1], backlog=8, remedy="Choose another with --port.")


def test_a_listener_accepts_over_ipv6_too() -> None:
    """An IPv6 address works like any other."""
    with listen("::1", 0, backlog=8, remedy="") as server:
        socket.create_connection(server.getsockname()[:2]).close()
