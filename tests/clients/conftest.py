"""The upload service as a process that can be killed, behind a line that breaks, with clients that nobody here wrote."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from tests.clients.proxy import Proxy
from tests.contract.upload.conftest import MIB, SMALL, Instance, content
from tests.contract.upload.server import Server, database_url

LIMITS: dict[str, Any] = {"max_size": 256 * MIB, "most_parts": 256}


class Shaky:
    """A server that may die, at an address that stays."""

    def __init__(self, instance: Instance, folder: Path) -> None:
        self.instance = instance
        self._folder = folder
        self._server = self._start()
        self.proxy = Proxy(lambda: self._server.port)
        self.url = self.proxy.url
        self.key = instance.keys["olga"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__()
        self._server.__exit__()

    def kill_and_start_again(self) -> None:
        """As ``kill -9`` does, and then from what it left on disk."""
        self._server.__exit__()
        self._server = self._start()

    def assert_has(self, path: Path, video_id: str | None = None) -> None:
        """Exactly one video stands for the file, with its very bytes."""
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        standing = [video for video in self.instance.videos() if str(video.state) != "deleted"]
        found = [video for video in standing if video.source_sha256 == digest]
        assert len(found) == 1, [(video.id, video.state) for video in standing]
        assert video_id in {None, found[0].id}
        assert (str(found[0].state), found[0].source_size) == ("uploaded", len(data))
        assert found[0].source_key is not None
        assert self.instance.sources.get(found[0].source_key) == data

    def _start(self) -> Server:
        return Server(self.instance, self._folder, **LIMITS).__enter__()


@pytest.fixture
def shaky(tmp_path: Path) -> Iterator[Shaky]:
    """A running server behind a proxy."""
    folder = tmp_path / "server"
    folder.mkdir()
    catalog = Catalog.open(CatalogConfig(url=database_url(folder)))
    catalog.migrate()
    sources = LocalStore(folder / "sources")
    made = Instance(catalog, sources, FolderStaging(sources), Keyring(folder / "keyring.json"), SMALL)
    made.add("olga")
    with Shaky(made, folder) as shaky:
        yield shaky
    made.close()
    catalog.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twelve parts of the server's size."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(content(12 * MIB))
    return path
