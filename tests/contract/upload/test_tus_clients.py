"""A tus client written elsewhere, unmodified, against the real server."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.storage.interface import Storage

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, SMALL, Instance, content
from tests.contract.upload.server import Server, database_url


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """What the server's process stands on, as this process sees it."""
    catalog = Catalog.open(CatalogConfig(url=database_url(tmp_path)))
    catalog.migrate()
    sources = LocalStore(tmp_path / "sources")
    made = Instance(catalog, sources, FolderStaging(sources), Keyring(tmp_path / "keyring.json"), SMALL)
    made.add("olga")
    yield made
    made.close()
    catalog.close()


class Kept(Storage):
    """Where the client keeps the address of an upload, by the file's fingerprint."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}

    def get_item(self, key: str) -> str | None:
        """The address."""
        return self.addresses.get(key)

    def set_item(self, key: str, value: str) -> None:
        """Keeps it."""
        self.addresses[key] = value

    def remove_item(self, key: str) -> None:
        """Forgets it."""
        self.addresses.pop(key, None)


class Film(io.BytesIO):
    """A file that stays open: the client closes some of those that it is given and leaves others."""

    def close(self) -> None:
        """Not yet."""


@pytest.mark.parametrize("summed", [False, True], ids=["plain", "with checksums"])
def test_tuspy_is_cut_and_resumes(instance: Instance, tmp_path: Path, *, summed: bool) -> None:
    """Its server dies in the middle; with the address that it kept it goes on at the next one, and the digest is right."""
    data = content(5 * MIB + 321)
    film = Film(data)
    kept = Kept()

    def uploader(server: Server) -> Any:
        address = f"http://127.0.0.1:{server.port}/api/uploads/tus/"
        return TusClient(address, headers=instance.headers("olga")).uploader(
            file_stream=film,
            chunk_size=MIB,
            metadata={"filename": "film.mp4"},
            store_url=True,
            url_storage=kept,
            upload_checksum=summed,
        )

    with Server(instance, tmp_path) as server:
        port = server.port
        first = uploader(server)
        first.upload(stop_at=2 * MIB)
    with pytest.raises((TusCommunicationError, requests.ConnectionError)):
        first.upload()
    with Server(instance, tmp_path) as server:
        ((key, address),) = kept.addresses.items()
        kept.addresses[key] = address.replace(f":{port}/", f":{server.port}/")
        again = uploader(server)
        assert again.offset == 2 * MIB
        again.upload()
    (video,) = instance.videos()
    assert video.state is VideoState.UPLOADED
    assert video.source_sha256 == hashlib.sha256(data).hexdigest()
