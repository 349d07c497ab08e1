"""tus into a bucket: the tests of the protocol again, and what only a bucket has, which keeps nobody from writing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig, uploads
from penstock.catalog.words import Role
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from penstock.upload.outcomes import staged
from tests.contract.upload.conftest import MIB, SMALL, Instance, content
from tests.contract.upload.test_tus import (
    RESUMABLE,
    disarmed,
    opened,
    send,
    stands,
    test_a_checksum_is_of_all_of_a_request_or_of_none,
    test_a_creation_that_is_repeated,
    test_a_digest_that_is_wrong_ends_the_upload,
    test_an_upload_becomes_a_video,
    test_an_upload_that_another_completes_meanwhile,
    test_an_upload_that_another_is_just_completing,
    test_an_upload_that_is_silent_expires,
    test_an_upload_whose_completion_died,
    test_completing_what_completes_itself,
    test_ending_an_upload,
    test_lies_and_mistakes_about_bytes,
    test_more_bytes_than_there_shall_be,
    test_the_first_bytes_may_come_with_the_creation,
    test_the_length_may_be_said_later,
    test_what_was_never_counted_is_no_part_of_the_video,
)
from tests.servers.s3 import S3Server

__all__ = [
    "disarmed",
    "test_a_checksum_is_of_all_of_a_request_or_of_none",
    "test_a_creation_that_is_repeated",
    "test_a_digest_that_is_wrong_ends_the_upload",
    "test_an_upload_becomes_a_video",
    "test_an_upload_that_another_completes_meanwhile",
    "test_an_upload_that_another_is_just_completing",
    "test_an_upload_that_is_silent_expires",
    "test_an_upload_whose_completion_died",
    "test_completing_what_completes_itself",
    "test_ending_an_upload",
    "test_lies_and_mistakes_about_bytes",
    "test_more_bytes_than_there_shall_be",
    "test_the_first_bytes_may_come_with_the_creation",
    "test_the_length_may_be_said_later",
    "test_what_was_never_counted_is_no_part_of_the_video",
]


@pytest.fixture
def instance(tmp_path: Path, s3_server: S3Server) -> Iterator[Instance]:
    """An instance whose sources lie in a bucket."""
    catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{tmp_path / 'records.sqlite'}"))
    catalog.migrate()
    bucket = S3Store(s3_server.new(), Pace.WORK)
    staging = BucketStaging(bucket)
    config = replace(SMALL, let_go_s=1.0)
    made = Instance(catalog, bucket, staging, Keyring(tmp_path / "keyring.json"), config, bucket=staging)
    made.add("olga")
    made.add("adam", Role.ADMIN)
    yield made
    made.close()
    catalog.close()


@pytest.mark.parametrize("wrote", [0, 100, 6 * MIB])
def test_a_writer_that_died_is_passed_over(instance: Instance, client: TestClient, wrote: int) -> None:
    """Where nothing shows whether it lives it is asked to let go, given its time, and then no longer counts."""
    data = content(7 * MIB)
    url = opened(client, len(data))
    assert send(client, url, 0, data[:1000]).status_code == 204
    upload = instance.upload(url.rpartition("/")[2])
    known = staged(upload, instance.config)
    with instance.staging.writing(known, offset=1000, alone=True) as dead:
        with instance.catalog.write() as tx:
            uploads.take(tx, upload.id, "dead", life_ms=60_000)
        dead.write(content(wrote, seed=5))
        assert stands(client, url) == 1000
        assert instance.upload(upload.id).asked == 1
        assert send(client, url, 1000, data[1000:]).status_code == 204
    instance.assert_uploaded(upload.video_id, data)


def test_two_clients_on_one_upload(instance: Instance) -> None:
    """Through two nodes each takes it from the other again and again; every byte of the object is as it was sent."""
    data = content(7 * MIB + 17)
    nodes = [instance.start(), instance.start()]
    url = opened(nodes[0], len(data))

    def send_all(node: TestClient) -> None:
        for _ in range(200):
            answer = node.head(url, headers=RESUMABLE)
            if answer.status_code == 423:
                continue
            assert answer.status_code == 200, answer.headers
            offset = int(answer.headers["upload-offset"])
            if offset == len(data):
                return
            assert send(node, url, offset, data[offset : offset + 2 * MIB]).status_code in {204, 409, 423}
        raise AssertionError("it never ended")

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(send_all, node) for node in nodes]:
            done.result()
    instance.assert_uploaded(instance.upload(url.rpartition("/")[2]).video_id, data)
