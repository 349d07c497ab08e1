"""``POST /api/uploads``: a file in one request."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from penstock.catalog import idempotency, schema
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.staging import Staged
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, Instance, content, refused, sha256

NAME = {"filename": "clip.mp4"}


def in_pieces(data: bytes, size: int = 70_000) -> Iterator[bytes]:
    """A body whose length is not announced."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, 3 * MIB + 17])
def test_raw_bytes_become_a_video(instance: Instance, client: TestClient, size: int) -> None:
    """The answer names a video whose source is durable, byte for byte, with its first task queued and announced."""
    data = content(size)
    response = client.post("/api/uploads", params=NAME, content=data, headers={"content-type": "video/mp4"})
    assert response.status_code == 201, response.text
    answer = response.json()
    instance.assert_uploaded(answer["id"], data)
    assert answer["state"] == "uploaded"
    assert (answer["size"], answer["sha256"]) == (size, sha256(data))
    assert (answer["title"], answer["filename"], answer["visibility"]) == ("clip", "clip.mp4", "private")
    assert answer["duplicate"] is False
    video = instance.video(answer["id"])
    assert video.source_content_type == "video/mp4"
    assert video.owner_id == instance.accounts["olga"]
    assert instance.history(video.id) == ["created", "upload_completed"]


def test_a_body_of_unknown_length(instance: Instance, client: TestClient) -> None:
    """A chunked body is taken as well."""
    data = content(2 * MIB + 5)
    response = client.post("/api/uploads", params=NAME, content=in_pieces(data))
    assert response.status_code == 201, response.text
    instance.assert_uploaded(response.json()["id"], data)


def test_a_form_becomes_a_video(instance: Instance, client: TestClient) -> None:
    """Fields before the file describe it; the file's own name and type count."""
    data = content(MIB + 1)
    fields = {"title": "Höhenflug", "visibility": "unlisted", "sha256": sha256(data).upper()}
    response = client.post(
        "/api/uploads", data=fields, files={"file": ("C:\\videos\\flug.mkv", data, "video/x-matroska")}
    )
    assert response.status_code == 201, response.text
    answer = response.json()
    instance.assert_uploaded(answer["id"], data)
    assert (answer["title"], answer["filename"], answer["visibility"]) == (
        "Höhenflug",
        "flug.mkv",
        "unlisted",
    )
    assert instance.video(answer["id"]).source_content_type == "video/x-matroska"


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({}, "/query/filename"),
        ({"filename": "a\nb"}, "/query/filename"),
        ({"filename": "a\0b"}, "/query/filename"),
        ({"filename": "videos/"}, "/query/filename"),
        ({**NAME, "title": "x" * 513}, "/query/title"),
        ({**NAME, "visibility": "secret"}, "/query/visibility"),
        ({**NAME, "sha256": "abc"}, "/query/sha256"),
        ({**NAME, "allow_duplicate": "perhaps"}, "/query/allow_duplicate"),
    ],
)
def test_a_bad_description_is_refused(
    instance: Instance, client: TestClient, params: dict[str, str], pointer: str
) -> None:
    """The answer names the field, and nothing at all was made."""
    problem = refused(client.post("/api/uploads", params=params, content=b"x"), 422, "invalid_request")
    assert [item["pointer"] for item in problem["errors"]] == [pointer]
    assert instance.videos() == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"title": "x\ty"}, "invalid_request"),
        ({"surprise": "x"}, "invalid_request"),
        ({"visibility": "all"}, "invalid_request"),
    ],
)
def test_a_bad_form_is_refused(
    instance: Instance, client: TestClient, fields: dict[str, str], code: str
) -> None:
    """Fields of a form are held to the same rules, and an unknown one is not swallowed."""
    refused(client.post("/api/uploads", data=fields, files={"file": ("a.mp4", b"x")}), 422, code)
    assert instance.videos() == []


def test_a_form_cut_off_is_refused(instance: Instance, client: TestClient) -> None:
    """A form without its end is not a whole file, though the request ended properly."""
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nhalf of the by'
    response = client.post(
        "/api/uploads", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    refused(response, 422, "form_malformed")
    instance.assert_nothing_uploaded()
    assert [left.name for left in instance.staging.leftovers()] == []


@pytest.mark.parametrize("announced", [True, False])
def test_an_empty_file_is_refused(instance: Instance, client: TestClient, announced: bool) -> None:
    """Nothing is no video, whether it was announced or found out."""
    body: Any = b"" if announced else in_pieces(b"")
    refused(client.post("/api/uploads", params=NAME, content=body), 422, "empty_upload")
    refused(client.post("/api/uploads", files={"file": ("a.mp4", b"")}), 422, "empty_upload")
    instance.assert_nothing_uploaded()
    assert [left.name for left in instance.staging.leftovers()] == []


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_is_refused(instance: Instance, client: TestClient, announced: bool) -> None:
    """One byte too many is refused: before the first byte where the length is announced, else when it comes."""
    for size, accepted in ((8 * MIB, True), (8 * MIB + 1, False)):
        data = content(size)
        body: Any = data if announced else in_pieces(data)
        response = client.post("/api/uploads", params=NAME, content=body)
        if accepted:
            instance.assert_uploaded(response.json()["id"], data)
            client.delete(f"/api/videos/{response.json()['id']}")
        else:
            refused(response, 413, "upload_too_large")
    assert [str(video.state) for video in instance.videos() if video.state != "uploaded"] == (
        [] if announced else ["deleted"]
    )
    assert [left.name for left in instance.staging.leftovers()] == []


def test_a_wrong_digest_is_refused(instance: Instance, client: TestClient) -> None:
    """Bytes other than announced are not kept, and the history says why."""
    params = {**NAME, "sha256": sha256(b"something else")}
    refused(client.post("/api/uploads", params=params, content=b"these bytes"), 422, "wrong_digest")
    instance.assert_nothing_uploaded()
    assert [left.name for left in instance.staging.leftovers()] == []
    (video,) = instance.videos()
    assert instance.history(video.id) == ["created", "upload_abandoned"]


def test_a_full_disk_is_refused_beforehand(instance: Instance) -> None:
    """Without room for the upload and the reserve nothing is begun."""
    free = shutil.disk_usage(instance.sources.root).free
    client = instance.start(free_reserve=free * 2)
    response = client.post("/api/uploads", params=NAME, content=b"x")
    refused(response, 507, "storage_full")
    assert int(response.headers["retry-after"]) > 0
    assert instance.videos() == []


def test_who_may_not_upload(instance: Instance, client: TestClient) -> None:
    """Without a key 401, with a key that lacks the scope 403; a key for uploads alone is enough."""
    client.headers.pop("authorization")
    refused(client.post("/api/uploads", params=NAME, content=b"x"), 401, "unauthenticated")
    bad = {"authorization": "Bearer pst_nonsense"}
    refused(client.post("/api/uploads", params=NAME, content=b"x", headers=bad), 401, "api_key_invalid")
    rita = instance.headers("rita")
    refused(client.post("/api/uploads", params=NAME, content=b"x", headers=rita), 403, "scope_missing")
    assert instance.videos() == []
    ursula = instance.headers("ursula")
    assert client.post("/api/uploads", params=NAME, content=b"x", headers=ursula).status_code == 201


def test_an_encoded_body_is_refused(instance: Instance, client: TestClient) -> None:
    """Compressed on the way would be stored compressed: refused rather than kept wrong."""
    response = client.post("/api/uploads", params=NAME, content=b"x", headers={"content-encoding": "gzip"})
    refused(response, 415, "content_encoding")
    assert instance.videos() == []


def test_the_same_bytes_again_are_the_same_video(instance: Instance, client: TestClient) -> None:
    """The owner's second upload names the first video; the new id says whose duplicate it is and keeps answering."""
    data = content(MIB)
    first = client.post("/api/uploads", params=NAME, content=data).json()
    response = client.post("/api/uploads", params={"filename": "other.mp4"}, content=data)
    assert response.status_code == 200
    again = response.json()
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    upload = instance.upload(again["upload_id"])
    dropped = client.get(f"/api/status/{upload.video_id}").json()
    assert (dropped["state"], dropped["duplicate_of"]) == ("deleted", first["id"])
    assert len(instance.announced) == 1


def test_a_declared_digest_saves_the_transfer(instance: Instance, client: TestClient) -> None:
    """Where the digest is announced, the duplicate is answered whatever the body is: nobody reads it."""
    data = content(MIB)
    first = client.post("/api/uploads", params=NAME, content=data).json()
    response = client.post(
        "/api/uploads", params={**NAME, "sha256": sha256(data)}, content=b"never looked at"
    )
    assert response.status_code == 200
    assert (response.json()["id"], response.json()["duplicate"]) == (first["id"], True)
    assert len(instance.videos()) == 1
    assert [left.name for left in instance.staging.leftovers()] == []


def test_duplicates_where_they_are_wanted(instance: Instance, client: TestClient) -> None:
    """Asked for, the same bytes make another video; another owner's are never looked at."""
    data = content(1000)
    ids = {client.post("/api/uploads", params=NAME, content=data).json()["id"]}
    ids.add(
        client.post("/api/uploads", params={**NAME, "allow_duplicate": "true"}, content=data).json()["id"]
    )
    stan = client.post("/api/uploads", params=NAME, content=data, headers=instance.headers("stan"))
    assert stan.json()["duplicate"] is False
    ids.add(stan.json()["id"])
    assert len(ids) == 3


def test_identical_requests_at_once_make_one_video(instance: Instance, client: TestClient) -> None:
    """However the completions of the same bytes meet, every client is told of the one video that stands."""
    data = content(2 * MIB)

    def send(_: int) -> dict[str, Any]:
        answer: dict[str, Any] = client.post("/api/uploads", params=NAME, content=data).json()
        return answer

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert len({answer["id"] for answer in answers}) == 1
    assert [answer["duplicate"] for answer in answers].count(False) == 1
    states = sorted(str(video.state) for video in instance.videos())
    assert states == ["deleted"] * 5 + ["uploaded"]
    assert len(instance.announced) == 1


def test_a_repeated_key_repeats_the_answer(instance: Instance, client: TestClient) -> None:
    """The same request under the same key gets the stored answer, its body unread; another one is refused."""
    data, key = content(MIB), {"idempotency-key": "first-try"}
    first = client.post("/api/uploads", params=NAME, content=data, headers=key)
    assert "idempotent-replayed" not in first.headers
    again = client.post("/api/uploads", params=NAME, content=b"y" * len(data), headers=key)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert len(instance.videos()) == 1
    other = client.post("/api/uploads", params={"filename": "b.mp4"}, content=data, headers=key)
    refused(other, 422, "idempotency_key_reused")
    stan = client.post("/api/uploads", params=NAME, content=data, headers=key | instance.headers("stan"))
    assert stan.json()["id"] != first.json()["id"]


def test_a_repeated_form_is_the_same_request(client: TestClient) -> None:
    """A form's boundary differs each time; its repetition is recognised nevertheless."""
    key = {"idempotency-key": "a-form"}
    answers = [
        client.post("/api/uploads", files={"file": ("a.mp4", b"bytes")}, headers=key).json() for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_a_failed_request_leaves_its_key_free(instance: Instance, client: TestClient) -> None:
    """A refusal is not an answer to keep: the corrected request may use the key."""
    key = {"idempotency-key": "again"}
    refused(client.post("/api/uploads", params=NAME, content=b"", headers=key), 422, "empty_upload")
    assert client.post("/api/uploads", params=NAME, content=b"x", headers=key).status_code == 201


@pytest.mark.parametrize("key", [b"", b"x" * 256, "ü".encode(), b"two words"])
def test_an_odd_key_is_refused(client: TestClient, key: bytes) -> None:
    """A key is a plain word of bounded length."""
    headers = httpx.Headers([(b"idempotency-key", key)])
    response = client.post("/api/uploads", params=NAME, content=b"x", headers=headers)
    refused(response, 422, "invalid_request")


def test_a_running_request_holds_its_key(
    instance: Instance, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first request runs, its repetition is told so."""
    seen: list[httpx.Response | None] = []
    adopt = FolderStaging.sealed

    def repeat_meanwhile(self: FolderStaging, staged: Staged) -> Any:
        if not seen:
            seen.append(None)
            seen[0] = client.post("/api/uploads", params=NAME, content=b"x", headers=key)
        return adopt(self, staged)

    key = {"idempotency-key": "slow"}
    monkeypatch.setattr(FolderStaging, "sealed", repeat_meanwhile)
    assert client.post("/api/uploads", params=NAME, content=b"x", headers=key).status_code == 201
    assert seen[0] is not None
    refused(seen[0], 409, "request_in_progress")


def test_a_request_that_lost_its_key_does_not_count(instance: Instance, client: TestClient) -> None:
    """Where a repetition took over what seemed dead, what then comes to life leaves nothing."""
    key, data = {"idempotency-key": "silent"}, content(2 * MIB)

    def seems_dead() -> Iterator[bytes]:
        yield data[:MIB]
        with instance.catalog.write() as tx:
            tx.execute(schema.idempotency.update().values(expires_at=0))
            assert idempotency.begin(tx, instance.accounts["olga"], "silent", sha256(b"")).answer is None
        yield data[MIB:]

    first = client.post("/api/uploads", params=NAME, content=seems_dead(), headers=key)
    refused(first, 409, "request_superseded")
    assert {video.state for video in instance.videos()} == {VideoState.DELETED}
    assert instance.announced == []
