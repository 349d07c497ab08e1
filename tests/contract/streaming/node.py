"""One streaming node as a program: the real service on the real server, with objects and keys and nothing else.

Its one argument is a JSON document; it writes the port that it listens on as its first line.
"""

import json
import socket
import sys
from pathlib import Path

from penstock import telemetry
from penstock.access.keyring import Keyring
from penstock.storage.local import LocalStore
from penstock.streaming.app import create_app
from penstock.streaming.config import StreamingConfig
from penstock.web_api.config import WebConfig
from penstock.wiring.server import Site, serve


class ElsewhereStore(LocalStore):
    """The same objects, as a store that has no files of this machine to offer."""

    def local_path(self, key: str) -> None:  # type: ignore[override]  # narrower on purpose
        """Nothing here is a file."""


def main(arguments: dict[str, str]) -> None:
    """Serves until it is told to end."""
    root, node = Path(arguments["root"]), arguments["node"]
    telemetry.configure(
        telemetry.TelemetryConfig(service="streaming", node=node, version="0", file=root / f"{node}.log")
    )
    store = ElsewhereStore if arguments.get("elsewhere") else LocalStore
    service = create_app(
        StreamingConfig(
            node=node,
            growing_recheck=0.05,
            settled_recheck=0.5,
            cache_folder=root / f"{node}.cache" if arguments.get("elsewhere") == "cached" else None,
        ),
        WebConfig(service="streaming", version="0", node=node),
        outputs=store(root / "outputs"),
        keyring=Keyring(root / "keys.json"),
    )
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        site = Site(service.app, {service.prefix: service.playback})
        serve(site, listener, idle_s=30, on_ready=lambda: print(port, flush=True))  # noqa: T201  # how the test learns the port


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
