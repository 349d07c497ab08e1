"""The typed Python client of Penstock's HTTP interface. It knows nothing of the server but what every client can see."""

from typing import TYPE_CHECKING, Any

from penstock.client.errors import ClientError

if TYPE_CHECKING:
    from penstock.client.client import Client

__all__ = ["Client", "ClientError"]


def __getattr__(name: str) -> Any:
    """Loads the HTTP library at the first use of ``Client``: a command that talks to no server starts without it."""
    if name == "Client":
        from penstock.client.client import Client

        return Client
    raise AttributeError(name)
