"""The upload service on real records and real folders, with two users, a reader and an administrator."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from penstock.access import api_keys
from penstock.access.keyring import Keyring
from penstock.access.principals import Scope
from penstock.audit.audit import Audit
from penstock.audit.findings import Fault
from penstock.catalog import Catalog, accounts, events, tasks, uploads, videos
from penstock.catalog.records import Upload, Video
from penstock.catalog.videos import VideoFilter
from penstock.catalog.words import Role
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.upload.app import create_app
from penstock.upload.config import UploadConfig
from penstock.video.keys import STAGING
from penstock.video.lifecycle import VideoState
from penstock.web_api.config import WebConfig
from tests.servers.databases import catalog, database, postgresql, postgresql_template, sqlite_template

__all__ = ["catalog", "database", "postgresql", "postgresql_template", "sqlite_template"]

MIB = 1024 * 1024
SMALL = UploadConfig(part_size=MIB, max_size=8 * MIB, most_parts=10, free_reserve=0)


def sha256(data: bytes) -> str:
    """The digest as clients and records spell it."""
    return hashlib.sha256(data).hexdigest()


def content(size: int, seed: int = 1) -> bytes:
    """Bytes in which every position shows: a shifted or repeated block would differ."""
    block = b"".join(hashlib.sha256(f"{seed}.{index}".encode()).digest() for index in range(256))
    return b"".join(index.to_bytes(8, "big") + block[8:] for index in range(size // len(block) + 1))[:size]


@dataclass
class Instance:
    """The service, what it stands on, and everybody's keys."""

    catalog: Catalog
    sources: Any  # a LocalStore unless the test brings another
    staging: Any  # likewise a FolderStaging
    keyring: Keyring
    config: UploadConfig
    bucket: BucketStaging | None = None
    announced: list[list[str]] = field(
        default_factory=list
    )  # at each ring: the states of all videos, committed
    accounts: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    clients: list[TestClient] = field(default_factory=list)

    def add(self, name: str, role: Role = Role.USER, scopes: frozenset[Scope] = frozenset(Scope)) -> None:
        """An account with one key."""
        key = api_keys.new()
        with self.catalog.write() as tx:
            account = accounts.create(tx, login=name, name=name.title(), role=role)
            accounts.add_key(
                tx, account_id=account.id, name="test", prefix=key.prefix, digest=key.digest, scopes=scopes
            )
        self.accounts[name] = account.id
        self.keys[name] = key.text

    def start(self, **changes: Any) -> TestClient:
        """A running service; ``changes`` to its configuration."""
        self.config = replace(self.config, **changes)
        app = create_app(
            self.config,
            WebConfig(service="upload", version="1.0", node="here"),
            catalog=self.catalog,
            keyring=self.keyring,
            sources=self.sources,
            staging=self.staging,
            bucket=self.bucket,
            announce=lambda: self.announced.append([str(video.state) for video in self.videos()]),
        )
        client = TestClient(app, headers=self.headers("olga"))
        client.__enter__()
        self.clients.append(client)
        return client

    def headers(self, name: str) -> dict[str, str]:
        """What a caller sends."""
        return {"authorization": f"Bearer {self.keys[name]}"}

    def videos(self) -> list[Video]:
        """Every video, deleted ones included."""
        with self.catalog.read() as tx:
            found = [
                videos.listing(tx, VideoFilter(everything=True, state=state), limit=100)[0]
                for state in (None, VideoState.DELETED)
            ]
        return [video for page in found for video in page]

    def video(self, video_id: str) -> Video:
        """One video."""
        with self.catalog.read() as tx:
            return videos.get(tx, video_id)

    def upload(self, upload_id: str) -> Upload:
        """One session."""
        with self.catalog.read() as tx:
            return uploads.get(tx, upload_id)

    def history(self, video_id: str) -> list[str]:
        """What happened to a video, in order."""
        with self.catalog.read() as tx:
            return [event.event for event in events.listing(tx, video_id)]

    def objects(self) -> dict[str, bytes]:
        """Every source, and nothing of what a bucket keeps of uploads under way."""
        found = [info.key for info in self.sources.list("") if not info.key.startswith(STAGING)]
        return {key: self.sources.get(key) for key in found}

    def assert_nothing_uploaded(self) -> None:
        """No record says uploaded, no source is there, no byte is staged, no task waits, nothing was announced."""
        assert {video.state for video in self.videos()} <= {VideoState.PENDING, VideoState.DELETED}
        assert self.objects() == {}
        assert self.announced == []
        with self.catalog.read() as tx:
            assert tasks.listing(tx) == []

    def assert_uploaded(self, video_id: str, data: bytes) -> None:
        """The video is acknowledged: its source is there, its first task waits, processing was told afterwards."""
        video = self.video(video_id)
        assert video.state is VideoState.UPLOADED
        assert video.source_size == len(data)
        # Parts in a bucket cannot be read before they are an object: what no single request saw, the scan reads.
        unread = set() if self.bucket is None else {None}
        assert video.source_sha256 in {sha256(data), *unread}
        assert video.source_key is not None
        assert self.sources.get(video.source_key) == data
        with self.catalog.read() as tx:
            assert [task.kind for task in tasks.listing(tx, video_id=video_id)] == ["inspect"]
        assert self.announced
        assert "uploaded" in self.announced[-1]
        assert list(self.staging.leftovers()) == []

    def assert_sound(self, *, swept: bool = True) -> None:
        """All that ``penstock fsck --deep`` looks at agrees: nothing is lost, damaged, stuck, doubled or left over.

        Not ``swept``: a service was killed, and the next one to start has not removed yet what it finds left over.
        """
        with tempfile.TemporaryDirectory() as outputs:  # nothing is processed here
            audit = Audit(
                self.catalog,
                sources=self.sources,
                outputs=LocalStore(Path(outputs)),
                staging=self.staging,
                deep=True,
            )
            found = [each for each in audit.run() if swept or each.code is not Fault.ORPHAN]
            assert found == []

    def close(self) -> None:
        """Ends what runs. Whatever a test did to it, what is kept is sound afterwards."""
        for client in self.clients:
            client.__exit__(None, None, None)
        self.assert_sound()


Expect = Callable[[httpx.Response, int, str], None]


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Asserts a problem with this code, and gives it."""
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem.get("code")) == (status, code), problem
    assert response.headers["content-type"] == "application/problem+json"
    return problem


@pytest.fixture
def instance(tmp_path: Path, catalog: Catalog) -> Iterator[Instance]:
    """An instance on an empty catalog of either kind; nothing runs yet."""
    sources = LocalStore(tmp_path / "sources")
    made = Instance(catalog, sources, FolderStaging(sources), Keyring(tmp_path / "keyring.json"), SMALL)
    made.add("olga")
    made.add("stan")
    made.add("adam", Role.ADMIN)
    made.add("rita", scopes=frozenset({Scope.READ}))
    made.add("ursula", scopes=frozenset({Scope.UPLOAD}))
    yield made
    made.close()


@pytest.fixture
def client(instance: Instance) -> TestClient:
    """The service with small limits, asked by Olga."""
    return instance.start()
