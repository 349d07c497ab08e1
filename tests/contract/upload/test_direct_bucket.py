"""Direct uploads on real S3 servers: what the client does, plain HTTP and boto3 do, and nothing of ours."""

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, garbage, uploads
from penstock.catalog.words import Role, UploadState
from penstock.processing.collector import Collector
from penstock.processing.config import ProcessingConfig
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace, multipart_client
from penstock.upload.outcomes import staged
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, SMALL, Instance, content, refused, sha256
from tests.servers.s3 import S3Server

PART = 5 * MIB
DATA = content(2 * PART + 1000)
LIMITS = replace(SMALL, part_size=PART, max_size=40 * MIB)


@pytest.fixture
def bucket(s3_server: S3Server) -> S3Store:
    """An empty store of sources."""
    return S3Store(s3_server.new(), Pace.WORK)


@pytest.fixture
def instance(tmp_path: Path, catalog: Catalog, bucket: S3Store) -> Any:
    """An instance whose sources lie in a bucket."""
    staging = BucketStaging(bucket)
    made = Instance(catalog, bucket, staging, Keyring(tmp_path / "keyring.json"), LIMITS, bucket=staging)
    made.add("olga")
    made.add("stan")
    made.add("adam", Role.ADMIN)
    yield made
    made.close()


def initiate(client: TestClient | httpx.Client, data: bytes = DATA, **more: Any) -> dict[str, Any]:
    """A new direct upload."""
    body = {"filename": "film.mp4", "size": len(data), "transport": "direct", **more}
    answer = client.post("/api/uploads/initiate", json=body)
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session


def send(part: dict[str, Any], data: bytes = DATA) -> str:
    """One part to its address, as any HTTP client does it; its ETag."""
    answer = httpx.put(part["url"], content=data[part["offset"] :][: part["size"]], timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


def complete(
    client: TestClient | httpx.Client, session: dict[str, Any], etags: dict[int, str] | None = None
) -> Any:
    """Asks for the end."""
    parts = [{"number": number, "etag": etag} for number, etag in (etags or {}).items()]
    body = {"upload_id": session["upload_id"], "parts": parts}
    return client.post("/api/uploads/complete", json=body)


def test_parts_go_to_the_bucket_and_become_the_source(
    instance: Instance, client: TestClient, bucket: S3Store
) -> None:
    """Addresses of the bucket take the parts in any order; completion answers twice alike, and leaves the object alone."""
    session = initiate(client, sha256=sha256(DATA))
    assert [part["size"] for part in session["parts"]] == [PART, PART, 1000]
    assert all(
        urlsplit(part["url"]).netloc == urlsplit(bucket.config.endpoint).netloc for part in session["parts"]
    )
    etags = {part["number"]: send(part) for part in session["parts"]}
    first = complete(client, session, etags)
    assert first.status_code == 200, first.text
    assert (first.json()["state"], first.json()["size"], first.json()["sha256"]) == (
        "uploaded",
        len(DATA),
        None,
    )
    assert complete(client, session).json() == first.json()
    video = instance.video(session["video_id"])
    assert instance.objects() == {video.source_key: DATA}
    assert list(instance.staging.leftovers()) == []
    assert instance.announced[-1] == ["uploaded"]


def test_an_interrupted_upload_goes_on(client: TestClient, instance: Instance) -> None:
    """The store says which parts are there; fresh addresses are given for the others, and completing waits for all."""
    session = initiate(client)
    send(session["parts"][0])
    missing = refused(complete(client, session), 409, "parts_missing")
    assert [error["pointer"] for error in missing["errors"]] == ["/parts/2", "/parts/3"]
    answer = client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()
    assert [(part["number"], part["size"]) for part in answer["received"]] == [(1, PART)]
    assert client.get(f"/api/uploads/{session['upload_id']}").json()["received"] == PART
    assert [part["number"] for part in answer["missing"]] == [2, 3]
    for part in answer["missing"]:
        send(part)
    assert complete(client, session).status_code == 200
    assert list(instance.objects().values()) == [DATA]


def test_other_etags_than_arrived_are_refused(client: TestClient, instance: Instance) -> None:
    """A client whose part is not what the store has learns so, and may send it again."""
    session = initiate(client)
    etags = {part["number"]: send(part) for part in session["parts"]}
    refused(complete(client, session, {**etags, 2: '"0123"'}), 409, "parts_differ")
    instance.assert_nothing_uploaded()
    assert complete(client, session, etags).status_code == 200


@pytest.mark.needs_curl
def test_curl_sends_a_part(client: TestClient, tmp_path: Path) -> None:
    """The address is all that the plainest of clients needs."""
    session = initiate(client, DATA[:1000])
    (tmp_path / "part").write_bytes(DATA[:1000])
    command = ["curl", "-fsS", "-T", str(tmp_path / "part"), session["parts"][0]["url"]]
    subprocess.run(command, check=True, timeout=60)
    assert complete(client, session).status_code == 200


def test_a_boto3_client_sends_parts_of_its_own_accord(
    client: TestClient, instance: Instance, bucket: S3Store
) -> None:
    """Who has credentials of the bucket and the upload's id from the address may use a client of S3."""
    session = initiate(client)
    first = urlsplit(session["parts"][0]["url"])
    upload_id = parse_qs(first.query)["uploadId"][0]
    _, name, key = first.path.split("/", 2)
    theirs = multipart_client(bucket.config)
    for part in session["parts"]:
        data = DATA[part["offset"] :][: part["size"]]
        theirs.upload_part(Bucket=name, Key=key, UploadId=upload_id, PartNumber=part["number"], Body=data)
    assert complete(client, session).status_code == 200
    assert list(instance.objects().values()) == [DATA]


def test_the_address_permits_one_part_alone(client: TestClient, s3_server: S3Server) -> None:
    """Another part, another upload's key or another signature is refused by the store."""
    session = initiate(client)
    url = session["parts"][0]["url"]
    for changed in (
        url.replace("partNumber=1", "partNumber=2"),
        url[:-4] + "0000",
        url.replace("/source.", "/sourcf."),
    ):
        assert changed != url
        assert httpx.put(changed, content=DATA[:PART], timeout=60).status_code == 403
    expected = client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()
    assert expected["received"] == []


def test_a_part_of_another_size_does_not_pass(client: TestClient, instance: Instance) -> None:
    """Whether the store refuses the length or takes it, the part is missing, and the upload cannot be completed with it."""
    session = initiate(client)
    httpx.put(session["parts"][0]["url"], content=DATA[: PART + 1], timeout=60)
    for part in session["parts"][1:]:
        send(part)
    stands = client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()
    assert [part["number"] for part in stands["received"]] == [2, 3]
    assert [part["number"] for part in stands["missing"]] == [1]
    assert client.get(f"/api/uploads/{session['upload_id']}").json()["received"] == PART + 1000
    refused(complete(client, session), 409, "parts_missing")
    instance.assert_nothing_uploaded()


def test_the_service_itself_takes_no_part(client: TestClient, instance: Instance) -> None:
    """Where the bucket receives, the service's own address of a part does not exist."""
    session = initiate(client)
    refused(
        client.put(f"/api/uploads/{session['upload_id']}/parts/1", content=b"x"), 403, "signature_invalid"
    )
    instance.assert_nothing_uploaded()


def test_a_crash_before_the_record_is_settled(
    client: TestClient, instance: Instance, bucket: S3Store
) -> None:
    """The parts became the object and nobody wrote it down: nothing is missing, and completing again finds it."""
    session = initiate(client)
    for part in session["parts"]:
        send(part)
    upload = instance.upload(session["upload_id"])
    with instance.staging.sealed(staged(upload, LIMITS)) as sealed:
        sealed.adopt()
    assert client.get(f"/api/uploads/{upload.id}").json()["received"] == len(DATA)
    found = client.post("/api/uploads/parts", json={"upload_id": upload.id}).json()
    assert [part["size"] for part in found["received"]] == [part["size"] for part in session["parts"]]
    assert found["missing"] == []
    assert complete(client, session).status_code == 200
    assert list(instance.objects().values()) == [DATA]


def test_cancelled_and_expired_uploads_leave_no_parts(
    client: TestClient, instance: Instance, bucket: S3Store, tmp_path: Path
) -> None:
    """A cancelled upload's parts go at once, an expired one's with the collector, and both addresses end."""
    gone, late = initiate(client), initiate(client)
    for session in (gone, late):
        send(session["parts"][0])
    assert client.delete(f"/api/uploads/{gone['upload_id']}").status_code == 204
    assert [left.name for left in instance.staging.leftovers()] == [late["upload_id"]]
    refused(complete(client, gone), 410, "upload_cancelled")
    with instance.catalog.write() as tx:
        uploads.end(tx, late["upload_id"], UploadState.EXPIRED, who="reaper")
        assert garbage.due(tx)
    config = ProcessingConfig(node="n", run_folder=tmp_path, scratch_folder=tmp_path)
    Collector(instance.catalog, config, sources=bucket, outputs=bucket, staging=instance.staging).sweep()
    assert list(instance.staging.leftovers()) == []
    assert instance.video(late["video_id"]).state is VideoState.DELETED
    for session in (gone, late):
        assert (
            httpx.put(session["parts"][1]["url"], content=DATA[PART : 2 * PART], timeout=60).status_code
            == 404
        )


@pytest.mark.parametrize("transport", ["put", "one_request"])
def test_the_other_transports_reach_the_bucket_through_the_service(
    client: TestClient, instance: Instance, transport: str
) -> None:
    """A whole body streams into parts of the bucket; its digest is known, and nothing is left beside it."""
    if transport == "put":
        body = {"filename": "film.mp4", "size": len(DATA), "transport": "put", "sha256": sha256(DATA)}
        session = client.post("/api/uploads/initiate", json=body).json()
        for data in (DATA[::-1], DATA):  # sent again, it replaces what was there
            assert client.put(session["url"], content=data).status_code == 200
        answer = complete(client, session).json()
    else:
        answer = client.post("/api/uploads", params={"filename": "film.mp4"}, content=DATA).json()
    assert (answer["state"], answer["sha256"]) == ("uploaded", sha256(DATA))
    assert list(instance.objects().values()) == [DATA]
    assert list(instance.staging.leftovers()) == []


def test_tus_appends_of_any_size_reach_the_bucket(client: TestClient, instance: Instance) -> None:
    """What a resumable client sends in pieces that are no parts is kept in parts and a tail, and becomes the source."""
    base = {"tus-resumable": "1.0.0"}
    made = client.post(
        "/api/uploads/tus/",
        headers={**base, "upload-length": str(len(DATA)), "upload-metadata": "filename ZmlsbS5tcDQ="},
    )
    assert made.status_code == 201, made.text
    url, offset = made.headers["location"], 0
    for size in (1000, PART, 17, PART - 17, len(DATA)):
        piece = DATA[offset : offset + size]
        headers = {**base, "upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
        answer = client.patch(url, content=piece, headers=headers)
        assert answer.status_code == 204, answer.text
        offset += len(piece)
        assert answer.headers["upload-offset"] == str(offset)
    (video,) = instance.videos()
    assert (video.state, video.source_size) == (VideoState.UPLOADED, len(DATA))
    assert list(instance.objects().values()) == [DATA]
    assert list(instance.staging.leftovers()) == []


def test_a_part_sent_twice_with_other_bytes(
    client: TestClient, instance: Instance, s3_server: S3Server
) -> None:
    """What the store has last counts, and who lists the other bytes' tag is told; no mixture becomes a video."""
    session = initiate(client)
    parts = session["parts"]
    other = httpx.put(parts[1]["url"], content=DATA[::-1][:PART], timeout=60).headers["etag"]
    etags = {part["number"]: send(part) for part in (parts[0], parts[2])}
    again = httpx.put(parts[1]["url"], content=DATA[PART : 2 * PART], timeout=60)
    if again.status_code != 200:
        assert s3_server.kind == "rclone"  # which keeps what it has
        mine = hashlib.md5(DATA[PART : 2 * PART], usedforsecurity=False).hexdigest()
        refused(complete(client, session, {**etags, 2: f'"{mine}"'}), 409, "parts_differ")
        instance.assert_nothing_uploaded()
        return
    refused(complete(client, session, {**etags, 2: other}), 409, "parts_differ")
    instance.assert_nothing_uploaded()
    assert complete(client, session, {**etags, 2: again.headers["etag"]}).status_code == 200
    assert list(instance.objects().values()) == [DATA]
