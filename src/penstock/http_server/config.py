"""What can be set about how connections are served."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """For every process that answers HTTP on the public port."""

    idle_s: float = 75.0
    """Seconds that a client may keep a connection between two requests, and within which a request's address and headers must
    be there whole. A proxy in front must let go of its idle connections earlier than this, or it will now and then send a
    request into one that is just being closed: most wait 60 s."""
