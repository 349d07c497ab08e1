"""The typed Python client of Penstock's HTTP interface. It knows nothing of the server but what every client can see."""

from penstock.client.client import Client
from penstock.client.errors import ClientError

__all__ = ["Client", "ClientError"]
