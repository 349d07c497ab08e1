"""The library on real records, with the cast of every test: an administrator, two users, and nobody."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from penstock.access import api_keys
from penstock.access.config import AccessConfig
from penstock.access.keyring import Keyring
from penstock.access.principals import Scope
from penstock.catalog import (
    Catalog,
    accounts,
    artefacts,
    generations,
    segments,
    uploads,
    videos,
)
from penstock.catalog.records import ArtefactRecord, InitSegment, NewTrack, SegmentRecord
from penstock.catalog.words import Role, Transport
from penstock.library.app import create_app
from penstock.library.cluster import Cluster, ClusterUnavailable
from penstock.library.config import LibraryConfig
from penstock.video import keys
from penstock.video.timeline import TrackKind
from penstock.video.visibility import Visibility
from penstock.web_api.config import WebConfig
from tests.servers.databases import catalog, database, postgresql, postgresql_template, sqlite_template

__all__ = ["catalog", "database", "postgresql", "postgresql_template", "sqlite_template"]

NOW = 1_790_000_000.0
CALLED = "http://testserver"
DIGEST = "0" * 64


@dataclass
class Clock:
    """Unix seconds, moved by the test."""

    now: float = NOW

    def __call__(self) -> float:
        """The time now."""
        return self.now


@dataclass
class ToldNodes:
    """What the library is told of the cluster; None: nobody answers it."""

    cluster: Cluster | None = field(default_factory=lambda: Cluster(name=None, nodes=[]))

    def __call__(self) -> Cluster:
        """As wiring answers."""
        if self.cluster is None:
            raise ClusterUnavailable("The membership service of this node does not answer.", retry_after=2)
        return self.cluster


@dataclass
class Instance:
    """A library and its records, and the steps that other rooms take with them."""

    catalog: Catalog
    client: TestClient
    keyring: Keyring
    clock: Clock
    announced: list[str]
    accounts: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

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

    def headers(self, name: str | None) -> dict[str, str]:
        """What a caller sends; None: nobody in particular."""
        return {} if name is None else {"authorization": f"Bearer {self.keys[name]}"}

    def video(
        self,
        owner: str = "olga",
        visibility: Visibility = Visibility.PUBLIC,
        *,
        title: str = "A clip",
        filename: str = "clip.mp4",
        until: str = "ready",
    ) -> str:
        """A video taken through the stages up to ``until``: pending, uploaded, processing, playable, ready or failed."""
        who = "test"
        with self.catalog.write() as tx:
            video = videos.create(
                tx,
                owner_id=self.accounts[owner],
                title=title,
                filename=filename,
                visibility=visibility,
                who=who,
            )
            upload = uploads.create(tx, video, transport=Transport.PUT, life_ms=60_000)
            if until == "pending":
                return video.id
            uploads.complete(tx, upload.id, size=1000, who=who)
            if until == "uploaded":
                return video.id
            generation_id = videos.get(tx, video.id).current_generation_id
            assert generation_id is not None
            if until == "failed":
                generations.fail(tx, generation_id, code="media_invalid", message="It is no video.", who=who)
                return video.id
            generations.begin(
                tx,
                generation_id,
                plan="{}",
                plan_digest=DIGEST,
                tool_fingerprint=None,
                work_total=10.0,
                tracks=[
                    NewTrack(
                        "240p", TrackKind.VIDEO, 0, 1000, 300_000, width=426, height=240, segments_total=2
                    ),
                    NewTrack(
                        "480p", TrackKind.VIDEO, 1, 1000, 900_000, width=854, height=358, segments_total=2
                    ),
                    NewTrack("audio-0", TrackKind.AUDIO, 2, 1000, 128_000, channels=2, segments_total=2),
                ],
                who=who,
            )
            videos.record(tx, video.id, duration_ms=8000, width=854, height=480)
            if until == "processing":
                return video.id
            for number in (1, 2) if until == "ready" else (1,):
                made, inits = _chunk(video.id, number)
                segments.record(tx, generation_id, made, inits=inits)
            artefacts.record(
                tx, ArtefactRecord(generation_id, "poster.jpg", "poster", "k", 10, DIGEST, "image/jpeg")
            )
            videos.mark_playable(tx, video.id, generation_id, who=who)
            if until == "ready":
                generations.freeze(tx, generation_id, who=who)
        return video.id

    def delete(self, video_id: str) -> None:
        """Deletes a video behind the library's back."""
        with self.catalog.write() as tx:
            videos.delete(tx, video_id, who="test")

    def history(self, video_id: str) -> list[tuple[str, str]]:
        """Who did what, in order."""
        from penstock.catalog import events

        with self.catalog.read() as tx:
            return [(item.event, item.who) for item in events.listing(tx, video_id)]


def _chunk(video_id: str, number: int) -> tuple[list[SegmentRecord], dict[str, InitSegment]]:
    prefix = keys.attempt_prefix(video_id, "task", number)
    sizes = {"240p": 100_000, "480p": 300_000, "audio-0": 60_000}
    made = [
        SegmentRecord(name, number, (number - 1) * 4000, 4000, 100, size, DIGEST, prefix)
        for name, size in sizes.items()
    ]
    return made, {name: InitSegment("avc1.64001f", f"{prefix}{name}/init.mp4", 700, DIGEST) for name in sizes}


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def nodes() -> ToldNodes:
    """The cluster as a test tells of it."""
    return ToldNodes()


@pytest.fixture
def instance(tmp_path: Path, clock: Clock, catalog: Catalog, nodes: ToldNodes) -> Iterator[Instance]:
    """A library on an empty catalog of either kind, with everybody's account."""
    access = AccessConfig(keyring_path=tmp_path / "keyring.json")
    keyring = Keyring(access.keyring_path, clock=clock)
    announced: list[str] = []
    app = create_app(
        LibraryConfig(),
        WebConfig(service="library", version="1.0", node="here"),
        access,
        catalog=catalog,
        keyring=keyring,
        announce=lambda: announced.append("!"),
        nodes=nodes,
        clock=clock,
    )
    with TestClient(app) as client:
        made = Instance(catalog, client, keyring, clock, announced)
        made.add("olga")
        made.add("stan")
        made.add("adam", Role.ADMIN)
        made.add("rita", scopes=frozenset({Scope.READ}))
        yield made
