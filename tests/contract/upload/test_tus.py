"""tus 1.0.0: what the protocol asks of a server, and what this one keeps of bytes whose request broke."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from penstock import faults
from penstock.catalog import schema, uploads
from penstock.catalog.records import Upload
from penstock.catalog.words import UploadState
from penstock.faults import Point
from penstock.upload.tus.resumable import Resumable
from penstock.video.errors import StorageUnavailable
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, Instance, content, refused, sha256

RESUMABLE = {"tus-resumable": "1.0.0"}
BYTES = {**RESUMABLE, "content-type": "application/offset+octet-stream"}


@pytest.fixture
def disarmed() -> Iterator[None]:
    """Fault points are passed by again after the test."""
    yield
    faults.disarm()


def metadata(**values: str) -> str:
    """The header."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def create(client: TestClient | httpx.Client, size: int | None, **headers: str) -> httpx.Response:
    """The answer to a creation."""
    length = {"upload-defer-length": "1"} if size is None else {"upload-length": str(size)}
    described = {"upload-metadata": metadata(filename="clip.mp4")}
    answer: httpx.Response = client.post(
        "/api/uploads/tus/", headers={**RESUMABLE, **length, **described, **headers}
    )
    return answer


def opened(client: TestClient | httpx.Client, size: int | None, **headers: str) -> str:
    """The address of a new upload."""
    answer = create(client, size, **headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return str(answer.headers["location"])


def send(
    client: TestClient | httpx.Client, url: str, offset: int, data: Any, **headers: str
) -> httpx.Response:
    """The answer to a PATCH."""
    answer: httpx.Response = client.patch(
        url, content=data, headers={**BYTES, "upload-offset": str(offset), **headers}
    )
    return answer


def stands(client: TestClient | httpx.Client, url: str) -> int:
    """The offset that HEAD tells."""
    answer = client.head(url, headers=RESUMABLE)
    assert answer.status_code == 200, answer.headers
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    """The header."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def test_the_server_says_what_it_can_do(client: TestClient) -> None:
    """OPTIONS names the version, every extension that works, none that does not, the largest size and the algorithms."""
    del client.headers["authorization"]
    for path in ("/api/uploads/tus/", "/api/uploads/tus", "/api/uploads/tus/01kq3v5d2n4h7e9w2f5g8j1a3k"):
        answer = client.options(path)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
        assert set(answer.headers["tus-extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "creation-defer-length",
            "checksum",
            "expiration",
            "termination",
        }
        assert answer.headers["tus-max-size"] == str(8 * MIB)
        assert set(answer.headers["tus-checksum-algorithm"].split(",")) == {"sha1", "sha256"}


@pytest.mark.parametrize("chunk", [3 * MIB + 17, MIB, 700_001])
def test_an_upload_becomes_a_video(instance: Instance, client: TestClient, chunk: int) -> None:
    """Created, sent in requests of any size, acknowledged with the last byte; the offset is told at every step."""
    data = content(3 * MIB + 17)
    described = metadata(
        filename="trip.mp4", title="Trip", visibility="public", filetype="video/mp4", elsewhere="x"
    )
    answer = create(client, len(data), **{"upload-metadata": described})
    url, video_id = answer.headers["location"], answer.headers["penstock-video-id"]
    assert "upload-expires" in answer.headers
    assert client.get(f"/api/status/{video_id}").json()["state"] == "pending"
    for offset in range(0, len(data), chunk):
        assert stands(client, url) == offset
        instance.assert_nothing_uploaded()
        answer = send(client, url, offset, data[offset : offset + chunk])
        assert answer.status_code == 204, answer.text
        assert answer.headers["upload-offset"] == str(min(offset + chunk, len(data)))
        assert answer.headers["penstock-video-id"] == video_id
    instance.assert_uploaded(video_id, data)
    video = instance.video(video_id)
    assert (video.title, video.visibility, video.filename) == ("Trip", "public", "trip.mp4")
    assert video.source_content_type == "video/mp4"
    answer = client.head(url, headers=RESUMABLE)
    assert (answer.headers["upload-offset"], answer.headers["upload-length"]) == (str(len(data)),) * 2
    assert answer.headers["upload-metadata"] == described
    again = send(client, url, len(data), b"")
    assert (again.status_code, again.headers["upload-offset"]) == (204, str(len(data)))
    refused(send(client, url, 0, data), 409, "upload_offset_mismatch")


def test_the_first_bytes_may_come_with_the_creation(instance: Instance, client: TestClient) -> None:
    """As many as the client likes; the answer says how far they came, and all of them make the video at once."""
    data = content(2 * MIB)
    for some in (data, data[: MIB + 1], b""):
        more = {**BYTES, "upload-length": str(len(data)), "upload-metadata": metadata(filename="clip.mp4")}
        answer = client.post(
            "/api/uploads/tus/", content=some, headers={**more, "content-length": str(len(some))}
        )
        assert answer.status_code == 201, answer.text
        url, video_id = answer.headers["location"], answer.headers["penstock-video-id"]
        assert answer.headers.get("upload-offset", "0") == str(len(some))
        if some != data:
            assert send(client, url, len(some), data[len(some) :]).headers["penstock-video-id"]
        assert instance.video(video_id).state in {VideoState.UPLOADED, VideoState.DELETED}


def test_the_length_may_be_said_later(instance: Instance, client: TestClient) -> None:
    """Until it is, the upload goes on; once said, it stays; the request that says it may bring the last bytes."""
    data = content(MIB + 5)
    url = opened(client, None)
    answer = client.head(url, headers=RESUMABLE)
    assert answer.headers["upload-defer-length"] == "1"
    assert "upload-length" not in answer.headers
    assert send(client, url, 0, data[:MIB]).status_code == 204
    refused(send(client, url, MIB, b"", **{"upload-length": "7"}), 400, "tus_header_invalid")
    answer = send(client, url, MIB, b"", **{"upload-length": str(len(data))})
    assert answer.status_code == 204
    assert client.head(url, headers=RESUMABLE).headers["upload-length"] == str(len(data))
    refused(send(client, url, MIB, b"", **{"upload-length": "2000000"}), 400, "tus_header_invalid")
    assert send(client, url, MIB, data[MIB:]).status_code == 204
    instance.assert_uploaded(answer.headers["penstock-video-id"], data)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_checksum_is_of_all_of_a_request_or_of_none(
    instance: Instance, client: TestClient, algorithm: str
) -> None:
    """Bytes that differ from it are refused with 460 and none of them is kept; the right ones then go in their place."""
    data = content(3 * MIB)
    url = opened(client, len(data))
    first, rest = data[:MIB], data[MIB:]
    sums = {"upload-checksum": checksum(first, algorithm)}
    assert send(client, url, 0, first, **sums).status_code == 204
    answer = send(
        client, url, MIB, content(2 * MIB, seed=9), **{"upload-checksum": checksum(rest, algorithm)}
    )
    refused(answer, 460, "checksum_mismatch")
    assert stands(client, url) == MIB
    instance.assert_nothing_uploaded()
    answer = send(client, url, MIB, rest, **{"upload-checksum": checksum(rest, algorithm)})
    assert answer.status_code == 204
    instance.assert_uploaded(answer.headers["penstock-video-id"], data)


def test_what_was_never_counted_is_no_part_of_the_video(instance: Instance, client: TestClient) -> None:
    """Bytes of a refused request that reached beyond the end, told later, are not in the source."""
    data = content(1000)
    url = opened(client, None)
    refused(
        send(client, url, 0, content(9000, seed=7), **{"upload-checksum": checksum(data)}),
        460,
        "checksum_mismatch",
    )
    answer = send(client, url, 0, data, **{"upload-length": "1000"})
    assert answer.status_code == 204
    instance.assert_uploaded(answer.headers["penstock-video-id"], data)


def test_ending_an_upload(instance: Instance, client: TestClient) -> None:
    """After DELETE its bytes are gone and every further request is told so; a complete one is a video, not an upload."""
    url = opened(client, 10)
    send(client, url, 0, b"12345")
    answer = client.delete(url, headers=RESUMABLE)
    assert (answer.status_code, answer.headers["tus-resumable"]) == (204, "1.0.0")
    assert client.head(url, headers=RESUMABLE).status_code == 410
    refused(send(client, url, 5, b"67890"), 410, "upload_cancelled")
    refused(client.delete(url, headers=RESUMABLE), 410, "upload_cancelled")
    assert list(instance.staging.leftovers()) == []
    instance.assert_nothing_uploaded()
    url = opened(client, 4)
    assert send(client, url, 0, b"1234").status_code == 204
    refused(client.delete(url, headers=RESUMABLE), 409, "upload_completed")


def test_an_upload_that_is_silent_expires(instance: Instance, client: TestClient) -> None:
    """Its end is told beforehand and put off by each request; afterwards it is gone, by the database's clock alone."""
    url = opened(client, 10)
    upload_id = url.rpartition("/")[2]
    assert "GMT" in send(client, url, 0, b"12345").headers["upload-expires"]
    with instance.catalog.write() as tx:
        tx.execute(schema.uploads.update().values(expires_at=uploads.get(tx, upload_id).created_at - 1))
    assert client.head(url, headers=RESUMABLE).status_code == 410
    refused(send(client, url, 5, b"67890"), 410, "upload_expired")


def test_versions(client: TestClient) -> None:
    """Another version of the protocol, or none, is refused before anything is looked at, naming the one there is."""
    url = opened(client, 10)
    for headers in ({"tus-resumable": "0.2.2"}, {}):
        for answer in (
            client.post("/api/uploads/tus/", headers={"upload-length": "10", **headers}),
            client.patch(url, content=b"1", headers={"upload-offset": "0", **headers}),
            client.delete(url, headers=headers),
        ):
            refused(answer, 412, "tus_version_unsupported")
            assert answer.headers["tus-version"] == "1.0.0"
        assert client.head(url, headers=headers).status_code == 412
    assert stands(client, url) == 0


def test_methods_for_clients_that_know_few(instance: Instance, client: TestClient) -> None:
    """A method named by a header stands for the one that was sent."""
    url = opened(client, 4)
    headers = {**BYTES, "upload-offset": "0", "x-http-method-override": "PATCH"}
    answer = client.post(url, content=b"1234", headers=headers)
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "4")
    instance.assert_uploaded(answer.headers["penstock-video-id"], b"1234")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 400, "tus_header_invalid"),
        ({"upload-length": "-1"}, 400, "tus_header_invalid"),
        ({"upload-length": "\u0661"}, 400, "tus_header_invalid"),
        ({"upload-length": "1", "upload-defer-length": "1"}, 400, "tus_header_invalid"),
        ({"upload-defer-length": "2"}, 400, "tus_header_invalid"),
        ({"upload-length": "0"}, 422, "empty_upload"),
        ({"upload-length": "9999999999"}, 413, "upload_too_large"),
        ({"upload-length": "1", "upload-concat": "partial"}, 400, "tus_header_invalid"),
        ({"upload-concat": "final;/a /b"}, 400, "tus_header_invalid"),
        ({"upload-length": "1", "upload-metadata": ""}, 400, "tus_header_invalid"),
        ({"upload-length": "1", "upload-metadata": "filename ?"}, 400, "tus_header_invalid"),
        ({"upload-length": "1", "upload-metadata": "filename YQ==,filename YQ=="}, 400, "tus_header_invalid"),
        ({"upload-length": "1", "upload-metadata": "filename /w=="}, 400, "tus_header_invalid"),
        ({"upload-length": "1", "upload-metadata": metadata(filename="a\nb")}, 400, "tus_header_invalid"),
        (
            {"upload-length": "1", "upload-metadata": metadata(filename="a", visibility="x")},
            400,
            "tus_header_invalid",
        ),
        ({"upload-length": "1", "upload-metadata": "a " + "YQ==" * 2000}, 400, "tus_header_invalid"),
    ],
)
def test_creations_that_are_refused(
    instance: Instance, client: TestClient, headers: dict[str, str], status: int, code: str
) -> None:
    """What a creation must say and what it must not; a refused one leaves nothing."""
    encoded = {name: value.encode() for name, value in {**RESUMABLE, **headers}.items()}
    refused(client.post("/api/uploads/tus/", headers=encoded), status, code)
    assert instance.videos() == []
    assert list(instance.staging.leftovers()) == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"upload-offset": "4"}, 409, "upload_offset_mismatch"),
        ({"upload-offset": "6"}, 409, "upload_offset_mismatch"),
        ({"upload-offset": "x"}, 400, "tus_header_invalid"),
        ({"upload-offset": "-5"}, 400, "tus_header_invalid"),
        ({"upload-offset": "9" * 40}, 400, "tus_header_invalid"),
        ({}, 400, "tus_header_invalid"),
        ({"upload-offset": "5", "content-type": "application/octet-stream"}, 415, "unsupported_media_type"),
        ({"upload-offset": "5", "content-encoding": "gzip"}, 415, "content_encoding"),
        ({"upload-offset": "5", "upload-checksum": "crc32 YQ=="}, 400, "tus_header_invalid"),
        ({"upload-offset": "5", "upload-checksum": "sha1 YQ=="}, 400, "tus_header_invalid"),
        ({"upload-offset": "5", "upload-checksum": "sha1"}, 400, "tus_header_invalid"),
        ({"upload-offset": "5", "upload-length": "11"}, 400, "tus_header_invalid"),
    ],
)
def test_lies_and_mistakes_about_bytes(
    instance: Instance, client: TestClient, headers: dict[str, str], status: int, code: str
) -> None:
    """Offsets, lengths, types and sums that are not true are refused, and the upload stands where it stood."""
    url = opened(client, 10)
    send(client, url, 0, b"12345")
    refused(client.patch(url, content=b"67890", headers={**BYTES, **headers}), status, code)
    refused(send(client, url, 5, b"678901"), 422, "wrong_size")
    assert stands(client, url) == 5
    assert send(client, url, 5, b"67890").status_code == 204
    (video,) = instance.videos()
    instance.assert_uploaded(video.id, b"1234567890")


def test_more_bytes_than_there_shall_be(instance: Instance, client: TestClient) -> None:
    """A body of unknown length may fill the upload and no more; what overflows is refused as soon as it does."""
    url = opened(client, 10)
    refused(send(client, url, 0, iter([b"123456", b"78901"])), 422, "wrong_size")
    assert stands(client, url) in {0, 6}
    url = opened(client, None)
    big = iter([content(MIB)] * 9)
    refused(send(client, url, 0, big), 422, "wrong_size")
    instance.assert_nothing_uploaded()


def test_who_may_go_on_with_an_upload(instance: Instance, client: TestClient) -> None:
    """Its owner and an administrator; for others there is none. One who may not upload may not create either."""
    url = opened(client, 10)
    for name in ("stan",):
        other = instance.headers(name)
        assert client.head(url, headers={**RESUMABLE, **other}).status_code == 404
        refused(send(client, url, 0, b"1", **other), 404, "upload_not_found")
        refused(client.delete(url, headers={**RESUMABLE, **other}), 404, "upload_not_found")
    refused(create(client, 10, **instance.headers("rita")), 403, "scope_missing")
    assert send(client, url, 0, b"1", **instance.headers("adam")).status_code == 204
    del client.headers["authorization"]
    refused(create(client, 10), 401, "unauthenticated")
    refused(send(client, url, 1, b"1"), 401, "unauthenticated")
    refused(send(client, f"{url}?signature=x", 1, b"1"), 403, "signature_invalid")


def test_an_address_from_initiate_needs_no_key(instance: Instance, client: TestClient) -> None:
    """Whoever has it may go on with that upload; it opens nothing else."""
    data = content(MIB)
    body = {"filename": "clip.mp4", "size": len(data), "transport": "tus", "sha256": sha256(data)}
    answer = client.post("/api/uploads/initiate", json=body).json()
    assert answer["parts"] is answer["part_size"] is None
    other = opened(client, 10)
    del client.headers["authorization"]
    assert stands(client, answer["url"]) == 0
    assert send(client, answer["url"], 0, data[:1000]).status_code == 204
    signature = answer["url"].partition("?")[2]
    refused(send(client, f"{other}?{signature}", 0, b"1"), 403, "signature_invalid")
    assert client.delete(other, headers={**RESUMABLE, **instance.headers("olga")}).status_code == 204
    assert send(client, answer["url"], 1000, data[1000:]).status_code == 204
    instance.assert_uploaded(answer["video_id"], data)
    client.headers.update(instance.headers("olga"))
    again = client.post("/api/uploads/initiate", json=body)
    assert (again.status_code, again.json()["duplicate"], again.json()["url"]) == (200, True, None)


def test_another_transports_uploads_are_none_here(client: TestClient) -> None:
    """Neither way round."""
    body = {"filename": "clip.mp4", "size": 10, "transport": "put"}
    put = client.post("/api/uploads/initiate", json=body).json()["upload_id"]
    assert client.head(f"/api/uploads/tus/{put}", headers=RESUMABLE).status_code == 404
    tus = opened(client, 10).rpartition("/")[2]
    refused(client.post("/api/uploads/parts", json={"upload_id": tus}), 409, "transport_mismatch")


def test_completing_what_completes_itself(instance: Instance, client: TestClient) -> None:
    """A client that does not know it may ask: too early it is refused, afterwards it gets the same video."""
    url = opened(client, 10)
    body = {"upload_id": url.rpartition("/")[2]}
    send(client, url, 0, b"12345")
    refused(client.post("/api/uploads/complete", json=body), 409, "parts_missing")
    video_id = send(client, url, 5, b"67890").headers["penstock-video-id"]
    assert client.post("/api/uploads/complete", json=body).json()["id"] == video_id
    assert client.get(f"/api/uploads/{body['upload_id']}").json()["received"] == 10


def test_the_same_bytes_again(instance: Instance, client: TestClient) -> None:
    """The answer to the last byte names the video that stands for them, and says that it is an earlier one."""
    data = content(1000)
    first = send(client, opened(client, 1000), 0, data)
    assert "penstock-duplicate" not in first.headers
    described = metadata(filename="b.mp4", sha256=sha256(data))
    url = opened(client, 1000, **{"upload-metadata": described})
    second = send(client, url, 0, data)
    assert second.headers["penstock-video-id"] == first.headers["penstock-video-id"]
    assert second.headers["penstock-duplicate"] == "true"
    again = client.head(url, headers=RESUMABLE)
    assert again.headers["penstock-video-id"] == first.headers["penstock-video-id"]
    described = metadata(filename="c.mp4", allow_duplicate="true")
    third = send(client, opened(client, 1000, **{"upload-metadata": described}), 0, data)
    assert third.headers["penstock-video-id"] != first.headers["penstock-video-id"]


def test_a_digest_that_is_wrong_ends_the_upload(instance: Instance, client: TestClient) -> None:
    """Counted bytes cannot be sent again, so the upload is over; nothing was uploaded."""
    url = opened(client, 4, **{"upload-metadata": metadata(filename="a.mp4", sha256=sha256(b"1234"))})
    refused(send(client, url, 0, b"4321"), 422, "wrong_digest")
    assert client.head(url, headers=RESUMABLE).status_code == 410
    instance.assert_nothing_uploaded()
    assert list(instance.staging.leftovers()) == []


def test_a_creation_that_is_repeated(instance: Instance, client: TestClient) -> None:
    """With the same key it is one upload, however far that has come; another creation under the key is refused."""
    key = {"idempotency-key": "once"}
    url = opened(client, 10, **key)
    send(client, url, 0, b"12345")
    again = create(client, 10, **key)
    assert (again.status_code, again.headers["location"]) == (201, url)
    refused(create(client, 11, **key), 422, "idempotency_key_reused")
    assert len(instance.videos()) == 1
    (upload,) = [instance.upload(url.rpartition("/")[2])]
    assert upload.state is UploadState.OPEN


def half_sent(instance: Instance, client: TestClient) -> tuple[str, Upload]:
    """An upload of ten bytes, five of which are there, whose writer died without a word."""
    url = opened(client, 10)
    assert send(client, url, 0, b"12345").status_code == 204
    upload = instance.upload(url.rpartition("/")[2])
    with instance.catalog.write() as tx:
        uploads.take(tx, upload.id, "dead", life_ms=60_000)
    return url, upload


@pytest.mark.parametrize("when", ["check_free", "_alone"])
def test_an_upload_that_another_completes_meanwhile(
    instance: Instance, client: TestClient, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whoever asks where it stands just then is told that all of it is there, and not that it is gone."""
    other = instance.start()
    url, upload = half_sent(instance, client)
    step, once = getattr(Resumable, when), iter([True])

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if next(once, False):
            assert send(other, url, 5, b"67890").status_code == 204
        return step(*arguments, **options)

    monkeypatch.setattr(Resumable, when, interrupted)
    assert stands(client, url) == 10
    refused(send(client, url, 5, b"67890"), 409, "upload_offset_mismatch")
    instance.assert_uploaded(upload.video_id, b"1234567890")


def test_an_upload_that_another_is_just_completing(
    instance: Instance, client: TestClient, monkeypatch: pytest.MonkeyPatch, disarmed: None
) -> None:
    """Its bytes are a source that no record acknowledges yet: who asks then waits for the answer, and is not told that it is gone."""
    other = instance.start()
    url, upload = half_sent(instance, client)
    adopted, go_on, asked = threading.Event(), threading.Event(), 0
    step = Resumable._alone

    def hold(point: Point) -> None:
        if point is Point.UPLOAD_ADOPTED:
            adopted.set()
            go_on.wait(60)

    def interrupted(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            ending.append(pool.submit(send, other, url, 5, b"67890"))
        elif asked == 2:  # the other's own
            return step(*arguments)
        assert adopted.wait(60)
        try:
            return step(*arguments)
        finally:
            go_on.set()

    faults.arm(hold)
    monkeypatch.setattr(Resumable, "_alone", interrupted)
    ending: list[Future[httpx.Response]] = []
    with ThreadPoolExecutor(1) as pool:
        assert stands(client, url) == 10
        assert ending[0].result().status_code == 204
    instance.assert_uploaded(upload.video_id, b"1234567890")


def test_an_upload_whose_completion_died(instance: Instance, disarmed: None) -> None:
    """Between the source and its record, and with it one that had begun to write: asking where it stands completes it."""
    client = instance.start(let_go_s=0.1)
    url = opened(client, 10)
    upload = instance.upload(url.rpartition("/")[2])

    def die(point: Point) -> None:
        if point is Point.UPLOAD_ADOPTED:
            raise StorageUnavailable("as if it were killed")

    faults.arm(die)
    refused(send(client, url, 0, b"1234567890"), 503, "storage_unavailable")
    faults.disarm()
    with instance.catalog.write() as tx:
        uploads.take(tx, upload.id, "dead", life_ms=60_000)
    assert send(client, url, 5, b"67890").json()["code"] in {"upload_completed", "upload_offset_mismatch"}
    assert stands(client, url) == 10
    instance.assert_uploaded(upload.video_id, b"1234567890")
