"""tus into a bucket that goes away, falls silent or answers late in the middle: a clear answer, and nothing that was counted is lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from tests.contract.upload.conftest import MIB, SMALL, Instance, content, refused, sha256
from tests.contract.upload.server import until
from tests.contract.upload.test_tus import RESUMABLE, opened, send, stands
from tests.servers import proxy
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Server

PART = 5 * MIB
DATA = content(3 * PART + 1000)
FIRST = PART + 1000  # acknowledged before anything goes wrong: a part and a tail


@pytest.fixture
def between(s3_server: S3Server) -> Iterator[Proxy]:
    """A proxy before each of the servers."""
    with proxy.running(s3_server.endpoint) as running:
        yield running


@pytest.fixture
def patience() -> float:
    """Seconds that a store may be silent; a service waits for longer."""
    return 3


@pytest.fixture
def instance(
    tmp_path: Path, s3_server: S3Server, between: Proxy, patience: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Instance]:
    """An instance that reaches its bucket through the proxy."""
    quick = replace(Pace.WORK.value, connect=2, request=patience, retries=1, retry_for=1)
    monkeypatch.setattr(Pace.WORK, "_value_", quick)
    catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{tmp_path / 'records.sqlite'}"))
    catalog.migrate()
    bucket = S3Store(replace(s3_server.new(), endpoint=between.endpoint), Pace.WORK)
    staging = BucketStaging(bucket)
    config = replace(SMALL, max_size=20 * MIB, let_go_s=1.0)
    made = Instance(catalog, bucket, staging, Keyring(tmp_path / "keyring.json"), config, bucket=staging)
    made.add("olga")
    yield made
    between.silent = between.down = False
    made.close()
    catalog.close()


def begun(client: TestClient) -> str:
    """An upload of which something was acknowledged."""
    url = opened(client, len(DATA))
    assert send(client, url, 0, DATA[:FIRST]).status_code == 204
    return url


def unavailable(answer: httpx.Response) -> None:
    """What a client is told, that it may understand: not now, come back; and nothing of where things lie."""
    problem = refused(answer, 503, "storage_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert "bucket-" not in str(problem)
    assert "127.0.0.1" not in str(problem)


def finish(instance: Instance, client: TestClient, url: str) -> None:
    """Goes on from where the server says it stands; the object has the digest of what was sent."""
    offset = stands(client, url)
    assert FIRST <= offset <= len(DATA)
    if offset < len(DATA):
        assert send(client, url, offset, DATA[offset:]).status_code == 204
    (video,) = instance.videos()
    assert (video.state, video.source_size) == ("uploaded", len(DATA))
    assert sha256(instance.sources.get(video.source_key or "")) == sha256(DATA)
    assert list(instance.staging.leftovers()) == []


@pytest.mark.parametrize(
    ("fault", "s3_server"),
    [("down", "ministack"), ("down", "rclone"), ("silent", "ministack")],
    indirect=["s3_server"],
)
def test_a_store_that_goes_away_in_the_middle(
    instance: Instance, client: TestClient, between: Proxy, fault: str
) -> None:
    """The request that meets it is told so, others meanwhile too; where it stands is told all the time, and it goes on."""
    url = begun(client)

    def pieces() -> Iterator[bytes]:
        yield DATA[FIRST : FIRST + 1000]
        setattr(between, fault, True)
        for start in range(FIRST + 1000, len(DATA), MIB):
            yield DATA[start : start + MIB]

    unavailable(send(client, url, FIRST, pieces()))
    assert stands(client, url) == FIRST
    unavailable(send(client, url, FIRST, DATA[FIRST:]))
    assert stands(client, url) == FIRST
    assert client.get(f"/api/uploads/{url.rpartition('/')[2]}").json()["received"] == FIRST
    setattr(between, fault, False)
    finish(instance, client, url)


def test_a_store_that_goes_away_when_all_is_there(
    instance: Instance, client: TestClient, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte is counted and cannot become the object: whoever asks again later completes it, and it is one video."""
    url = begun(client)
    finishing = BucketStaging.finish

    def away(*arguments: object) -> None:
        between.down = True
        finishing(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(BucketStaging, "finish", away)
        unavailable(send(client, url, FIRST, DATA[FIRST:]))
    assert client.head(url, headers=RESUMABLE).status_code == 503
    assert instance.upload(url.rpartition("/")[2]).received == len(DATA)
    assert instance.announced == []
    between.down = False
    finish(instance, client, url)
    assert instance.announced == [["uploaded"]]


def test_a_lost_answer_to_the_completion_is_settled(
    instance: Instance, client: TestClient, between: Proxy
) -> None:
    """The store made the object and nobody heard it: the client is told that its upload is complete."""
    url = begun(client)
    between.lose = b"<CompleteMultipartUpload"
    assert send(client, url, FIRST, DATA[FIRST:]).status_code == 204
    assert between.lost.is_set()
    finish(instance, client, url)


def test_a_store_that_answers_late(instance: Instance, client: TestClient, between: Proxy) -> None:
    """It is waited for, and slow is not broken."""
    url = begun(client)
    between.pause_s = 0.1
    assert send(client, url, FIRST, DATA[FIRST:]).status_code == 204
    between.pause_s = 0
    finish(instance, client, url)


@pytest.mark.parametrize("patience", [90])
@pytest.mark.parametrize("s3_server", ["ministack"], indirect=True)
def test_a_silent_store_holds_up_only_those_who_wait_for_it(
    instance: Instance, client: TestClient, between: Proxy
) -> None:
    """However many uploads hang on it, who asks the records alone is answered at once; afterwards all of them end."""
    urls = [opened(client, 200) for _ in range(60)]  # more than there are threads for everything
    data = [content(200, seed) for seed in range(60)]
    for url, each in zip(urls, data, strict=True):
        assert send(client, url, 0, each[:100]).status_code == 204
    idle = opened(client, 10)
    with ThreadPoolExecutor(61) as pool:
        between.silent = True
        hanging = [
            pool.submit(send, client, url, 100, each[100:]) for url, each in zip(urls, data, strict=True)
        ]
        until(lambda: len(between.held) >= 30)
        asked = pool.submit(stands, client, idle)
        try:
            assert asked.result(timeout=60) == 0
            assert not any(each.done() for each in hanging)
        finally:
            between.silent = False
        assert {each.result().status_code for each in hanging} <= {204, 503}
    for url, each in zip(urls, data, strict=True):
        offset = stands(client, url)
        if offset < 200:
            assert send(client, url, offset, each[offset:]).status_code == 204
    assert sorted(instance.objects().values()) == sorted(data)
