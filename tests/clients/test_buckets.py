"""The project's own client and buckets: parts that go straight into one, and objects that are brought from one."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig, schema
from penstock.client import Client, ClientError
from penstock.client.connection import Patience
from penstock.client.importing import Outcome, in_bucket, send_all
from penstock.client.sources import Bucket
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace, StoreConfig, multipart_client
from tests.clients.conftest import Shaky
from tests.clients.proxy import Proxy
from tests.contract.upload.conftest import MIB, SMALL, Instance, content
from tests.contract.upload.server import Server, database_url
from tests.servers.s3 import S3Server
from tests.servers.stores import ministack, rclone, s3_server

__all__ = ["ministack", "rclone", "s3_server"]

PATIENT = Patience(tries=60, first=0.05, longest=1)
PART = 5 * MIB


@pytest.fixture
def line(s3_server: S3Server) -> Iterator[Proxy]:
    """From clients to the bucket."""
    port = int(s3_server.endpoint.rpartition(":")[2])
    with Proxy(lambda: port) as proxy:
        yield proxy


@pytest.fixture
def on_bucket(s3_server: S3Server, line: Proxy, tmp_path: Path) -> Iterator[tuple[Server, Instance]]:
    """An upload service whose sources are a bucket, and which clients reach over the line."""
    folder = tmp_path / "server"
    folder.mkdir()
    catalog = Catalog.open(CatalogConfig(url=database_url(folder)))
    catalog.migrate()
    store = S3Store(replace(s3_server.new(), endpoint=line.url), Pace.WORK)
    staging = BucketStaging(store)
    made = Instance(catalog, store, staging, Keyring(folder / "keyring.json"), SMALL, bucket=staging)
    made.add("olga")
    with Server(made, folder, part_size=PART, max_size=100 * MIB) as server:
        yield server, made
    made.close()
    catalog.close()


def test_parts_go_straight_into_the_bucket(
    on_bucket: tuple[Server, Instance], line: Proxy, tmp_path: Path
) -> None:
    """The line to the bucket is reset in the middle: the client asks what is there, and sends the rest to fresh addresses."""
    server, instance = on_bucket
    file = tmp_path / "clip.mp4"
    file.write_bytes(content(5 * PART + 1000))
    told: list[str] = []
    with Client(
        f"http://127.0.0.1:{server.port}",
        api_key=instance.keys["olga"],
        patience=PATIENT,
        waiting=lambda _seconds, reason: told.append(reason.code),
    ) as client:
        line.cut_after(4 * PART)
        uploaded = client.upload(file)
    assert line.cuts == 1
    assert told
    assert uploaded.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    video = instance.video(uploaded.id)
    assert video.source_key is not None
    assert instance.sources.get(video.source_key) == file.read_bytes()
    assert declared(instance) == uploaded.sha256


def test_an_object_goes_from_bucket_to_bucket(
    on_bucket: tuple[Server, Instance], archive: tuple[StoreConfig, dict[str, bytes]], line: Proxy
) -> None:
    """Read once, in order; its digest is told at the end, for processing to compare with what arrived."""
    server, instance = on_bucket
    config, objects = archive
    source = next(one for one in in_bucket(bucket(config)).sources if one.name == "a.mp4")
    with Client(f"http://127.0.0.1:{server.port}", api_key=instance.keys["olga"], patience=PATIENT) as client:
        line.cut_after(12 * MIB)
        uploaded = client.upload(source)
    assert line.cuts == 1
    video = instance.video(uploaded.id)
    assert instance.sources.get(str(video.source_key)) == objects["2019/a.mp4"]
    assert declared(instance) == hashlib.sha256(objects["2019/a.mp4"]).hexdigest()


def declared(instance: Instance) -> str | None:
    """The digest that processing compares with before the video is ready."""
    with instance.catalog.read() as tx:
        (digest,) = tx.execute(schema.uploads.select().with_only_columns(schema.uploads.c.sha256)).scalars()
    return None if digest is None else str(digest)


def bucket(config: StoreConfig) -> Bucket:
    """What an import reads from."""
    name, _, prefix = config.url.removeprefix("s3://").partition("/")
    return Bucket(multipart_client(config), name, f"{prefix}/")


@pytest.fixture
def archive(s3_server: S3Server) -> tuple[StoreConfig, dict[str, bytes]]:
    """A bucket's prefix with videos of several sizes, and something else."""
    config = s3_server.new()
    store = S3Store(config, Pace.WORK)
    objects = {
        "2019/a.mp4": content(20 * MIB),
        "2019/b.mov": content(MIB, seed=2),
        "2019/again.mp4": content(MIB, seed=2),
    }
    for key, data in {**objects, "2019/notes.txt": b"no video"}.items():
        store.put(key, data)
    return config, objects


def test_objects_are_brought_whole(
    shaky: Shaky, archive: tuple[StoreConfig, dict[str, bytes]], tmp_path: Path
) -> None:
    """Over a line that is reset in the middle; the same bytes are one video; a second run reads no object again."""
    config, objects = archive
    found = in_bucket(bucket(config))
    assert [source.name for source in found.sources] == ["a.mp4", "again.mp4", "b.mov"]
    assert found.left_out == 1
    memory = tmp_path / "uploads.db"
    with Client(shaky.url, api_key=shaky.key, patience=PATIENT, memory=memory) as client:
        shaky.proxy.cut_after(8 * MIB)
        first = list(send_all(found.sources, client.upload, together=2))
        assert shaky.proxy.cuts == 1
        outcomes = {item.shown.rpartition("/")[2]: item.outcome for item in first}
        assert outcomes["a.mp4"] is Outcome.UPLOADED
        assert sorted(outcomes[name] for name in ("again.mp4", "b.mov")) == ["duplicate", "uploaded"]
        for data in objects.values():
            file = tmp_path / "expected"
            file.write_bytes(data)
            shaky.assert_has(file)
        sent = shaky.proxy.received
        again = list(send_all(found.sources, client.upload, together=2))
        assert {item.outcome for item in again} == {Outcome.DUPLICATE}
        assert {item.video_id for item in again} == {item.video_id for item in first}
        assert shaky.proxy.received - sent < 4000


def test_the_command_line_brings_a_bucket(
    shaky: Shaky, archive: tuple[StoreConfig, dict[str, bytes]], tmp_path: Path
) -> None:
    """With the credentials of the AWS command line, and a server that is named; folders of other names are left alone."""
    config, objects = archive
    environment = {
        **os.environ,
        "PENSTOCK_URL": shaky.url,
        "PENSTOCK_API_KEY": shaky.key,
        "PENSTOCK_STATE": str(tmp_path / "state"),
        "AWS_ACCESS_KEY_ID": config.access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": config.secret_access_key or "",
    }
    S3Store(config, Pace.WORK).put("2019-other/c.mp4", b"of another folder")
    origin = f"{config.url}/2019"
    imported = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "import", origin, "--endpoint", str(config.endpoint)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr
    assert sorted(row.split()[2] for row in imported.stdout.splitlines()) == sorted(
        f"{config.url}/{key}" for key in objects
    )
    (tmp_path / "a.mp4").write_bytes(objects["2019/a.mp4"])
    shaky.assert_has(tmp_path / "a.mp4")


def test_an_object_that_is_replaced_under_way_is_told(shaky: Shaky, s3_server: S3Server) -> None:
    """Never half of one and half of the other: its entity tag is asked for with every piece, and the digest decides."""
    config = s3_server.new()
    store = S3Store(config, Pace.WORK)
    store.put("film.mp4", content(20 * MIB))
    others = content(19 * MIB, seed=9)
    (source,) = in_bucket(bucket(config)).sources
    replaced: list[int] = []

    def progress(stage: str, done: int) -> None:
        if stage == "send" and done > 9 * MIB and not replaced:
            replaced.append(done)
            store.delete(["film.mp4"])
            store.put("film.mp4", others)

    with (
        Client(shaky.url, api_key=shaky.key, patience=PATIENT) as client,
        pytest.raises(ClientError) as refusal,
    ):
        client.upload(source, progress=progress)
    assert refusal.value.code == "file_changed"
    assert {str(video.state) for video in shaky.instance.videos()} == {"pending"}


def test_a_bucket_that_refuses_is_told_with_the_remedy(s3_server: S3Server) -> None:
    """No bucket, or no permission: which one it was, and what decides over credentials."""
    config = replace(s3_server.new(), url="s3://nobody-has-this-bucket/here")
    with pytest.raises(ClientError, match="nobody-has-this-bucket") as refusal:
        in_bucket(bucket(config))
    assert refusal.value.code == "file_unreadable"
