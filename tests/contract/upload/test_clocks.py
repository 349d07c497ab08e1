"""Nodes whose clocks differ by hours: what is decided by the records' clock alone, and what by the clock of who is asked."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from penstock import faults
from penstock.access.keyring import Keyring
from penstock.audit.audit import Audit
from penstock.catalog import Catalog, CatalogConfig, uploads
from penstock.faults import Point
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from penstock.upload.sessions import Sessions
from tests.contract.upload.conftest import MIB, SMALL, Instance, content, refused
from tests.contract.upload.server import Server
from tests.contract.upload.test_direct_bucket import complete, initiate
from tests.contract.upload.test_direct_bucket import send as send_part
from tests.contract.upload.test_tus import opened, send, stands
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import S3Server

HOUR_S = 3600
TRUE, TRUE_NS = time.time, time.time_ns
SKEWS = [-7 * HOUR_S, -300, 300, 7 * HOUR_S]


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    """The node's clock, for as long as the block runs; that of the records stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: TRUE() + seconds)
        patch.setattr(time, "time_ns", lambda: TRUE_NS() + round(seconds * 1e9))
        yield


def other_node(instance: Instance) -> Sessions:
    """The rules of another node on the same records and store."""
    return Sessions(
        catalog=instance.catalog,
        sources=instance.sources,
        staging=instance.staging,
        config=instance.config,
        announce=lambda: None,
    )


@pytest.mark.parametrize("ahead_s", SKEWS)
def test_a_node_that_starts_does_not_sweep_what_another_begins(
    instance: Instance, client: TestClient, ahead_s: float
) -> None:
    """A place whose record is about to come is young by the records' clock, whatever the clocks of the two nodes say."""
    starting = other_node(instance)
    audit = Audit(
        instance.catalog,
        sources=instance.sources,
        outputs=instance.sources,
        staging=instance.staging,
        deep=False,
        repair=False,
        pause=lambda _: None,
    )
    found: list[Any] = []

    def start_and_look(point: Point) -> None:
        if point is Point.UPLOAD_STAGED:
            with clock_ahead(0):
                starting.sweep()
                found.extend(audit.run())

    faults.arm(start_and_look)
    try:
        with clock_ahead(ahead_s):
            url = opened(client, 10)
    finally:
        faults.disarm()
    assert found == []
    assert send(client, url, 0, content(10)).status_code == 204


@pytest.mark.parametrize("ahead_s", SKEWS)
def test_no_session_ends_early_or_late_by_a_node_s_clock(
    instance: Instance, client: TestClient, ahead_s: float
) -> None:
    """When an upload expires is counted, told and decided by the records' clock."""
    url = opened(client, 10)
    upload_id = url.rpartition("/")[2]
    before = instance.upload(upload_id).expires_at
    with clock_ahead(ahead_s):
        assert stands(client, url) == 0
        assert send(client, url, 0, b"12345").status_code == 204
        later = opened(client, 10)
    expires = instance.upload(upload_id).expires_at
    assert 0 <= expires - before < HOUR_S * 1000
    assert 0 <= instance.upload(later.rpartition("/")[2]).expires_at - expires < HOUR_S * 1000
    with instance.catalog.write() as tx, clock_ahead(ahead_s):
        assert uploads.expired(tx) == []
    assert send(client, url, 5, b"67890").status_code == 204


def test_signed_addresses_end_by_the_clock_of_who_is_asked(instance: Instance, client: TestClient) -> None:
    """Clocks that differ by less than an address's life shorten it; beyond that the node that is asked gives its own."""
    data = content(MIB)
    body = {"filename": "clip.mp4", "size": len(data), "transport": "direct"}
    session = client.post("/api/uploads/initiate", json=body).json()
    address = session["parts"][0]["url"]
    life_s = instance.config.url_life_s
    with clock_ahead(life_s + 60):
        refused(client.put(address, content=data), 403, "signature_expired")
        renewed = client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()
        fresh = renewed["missing"][0]["url"]
        assert client.put(fresh, content=data).status_code == 200
    for ahead_s in (life_s - 60, -7 * HOUR_S):
        with clock_ahead(ahead_s):
            assert client.put(address, content=data).status_code == 200
    assert client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]}).status_code == 200


@pytest.mark.needs_postgresql
def test_nodes_whose_clocks_differ_by_hours_take_over_from_each_other(
    tmp_path: Path, postgresql: PostgresServer, postgresql_template: str, ministack: S3Server
) -> None:
    """Two processes with clocks of their own, on records that have another and a bucket, send one upload in turns."""
    database = postgresql.url(postgresql.create(postgresql_template))
    catalog = Catalog.open(CatalogConfig(database))
    bucket = S3Store(ministack.new(), Pace.WORK)
    staging = BucketStaging(bucket)
    config = replace(SMALL, max_size=20 * MIB, part_size=5 * MIB)
    made = Instance(catalog, bucket, staging, Keyring(tmp_path / "keyring.json"), config, staging)
    made.add("olga")
    data = content(12 * MIB)
    limits: dict[str, Any] = {
        "max_size": config.max_size,
        "part_size": config.part_size,
        "database": database,
    }
    with (
        closing(catalog),
        Server(made, tmp_path, ahead_s=2 * HOUR_S, **limits) as early,
        Server(made, tmp_path, ahead_s=-2 * HOUR_S, **limits) as late,
    ):
        body = {"filename": "clip.mp4", "size": len(data), "transport": "tus"}
        address = late.client.post("/api/uploads/initiate", json=body).json()["url"]
        for offset, node in enumerate([early, late, early, late]):
            start = offset * 3 * MIB
            assert stands(node.client, address) == start
            assert send(node.client, address, start, data[start : start + 3 * MIB]).status_code == 204
        session = initiate(early.client, data)
        for part in session["parts"]:
            send_part(part, data)
        assert complete(late.client, session).status_code == 200
        uploaded = [video for video in made.videos() if video.state == "uploaded"]
        assert [video.source_size for video in uploaded] == [len(data)] * 2
        assert set(made.objects().values()) == {data}
        assert list(staging.leftovers()) == []
        made.assert_sound()
