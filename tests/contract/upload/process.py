"""The upload service in a process of its own, on SQLite and a folder or a bucket, as it is really served: what ``server`` starts."""

import json
import os
import socket
import sys
import time
from pathlib import Path

from penstock import faults
from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.open import open_staging, open_store
from penstock.storage.s3_access import Pace, StoreConfig
from penstock.upload.app import create_app
from penstock.upload.config import UploadConfig
from penstock.web_api.config import WebConfig
from penstock.wiring.server import Site, serve


def move_clock(seconds: float) -> None:
    """From here on this process's clock is so much ahead of the machine's."""
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + round(seconds * 1e9)


def main(folder: Path, database_url: str, config: UploadConfig, store: StoreConfig) -> None:
    """Serves until killed; the first line of output says where."""
    faults.arm_from(folder / "faults")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    sources = open_store(store, Pace.WORK)
    staging = open_staging(sources)
    app = create_app(
        config,
        WebConfig(service="upload", version="1.0", node="here"),
        catalog=Catalog.open(CatalogConfig(url=database_url)),
        keyring=Keyring(folder / "keyring.json", clock=time.time),
        sources=sources,
        staging=staging,
        bucket=staging if isinstance(staging, BucketStaging) else None,
        announce=lambda: None,
    )
    serve(Site(app), listener, idle_s=30, on_ready=lambda: print("port", port, flush=True))  # noqa: T201 - read by the test


if __name__ == "__main__":
    move_clock(float(os.environ.get("CLOCK_AHEAD_S", "0")))
    main(
        Path(sys.argv[1]),
        sys.argv[2],
        UploadConfig(**json.loads(sys.argv[3])),
        StoreConfig(**json.loads(sys.argv[4])),
    )
