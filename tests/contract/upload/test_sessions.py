"""Uploads in several requests: ``initiate``, the signed URLs, ``parts``, ``complete``, cancelling, expiry."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection

from penstock.access import signed_urls
from penstock.access.keyring import Keyring
from penstock.catalog import schema, uploads, videos
from penstock.catalog.words import UploadState
from penstock.storage.folder_staging import SealedFile
from penstock.upload.config import PART_ENTRY_BYTES, UploadConfig
from penstock.upload.urls import part_path
from penstock.video import identity
from penstock.video.errors import CatalogUnavailable
from tests.contract.upload.conftest import MIB, Instance, content, refused, sha256
from tests.contract.upload.server import until


def initiate(client: TestClient, data: bytes, transport: str, **more: Any) -> dict[str, Any]:
    """An open session for ``data``."""
    body = {"filename": "clip.mp4", "size": len(data), "transport": transport, **more}
    response = client.post("/api/uploads/initiate", json=body)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def put_parts(client: TestClient, session: dict[str, Any], data: bytes) -> list[dict[str, Any]]:
    """Sends every part that the session lists, the last first; what each answered."""
    answers = []
    for part in reversed(session["parts"]):
        piece = data[part["offset"] : part["offset"] + part["size"]]
        response = client.put(part["url"], content=piece)
        assert response.status_code == 200, response.text
        assert response.headers["etag"] == f'"{sha256(piece)[:32]}"'
        answers.append(response.json())
    return answers


def complete(client: TestClient, session: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The video that a whole session becomes."""
    response = client.post("/api/uploads/complete", json={"upload_id": session["upload_id"], **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("transport", ["put", "direct"])
@pytest.mark.parametrize("size", [1, MIB, 3 * MIB + 17])
def test_a_session_becomes_a_video(instance: Instance, client: TestClient, transport: str, size: int) -> None:
    """Opened, sent, completed: pending until the last step, then acknowledged as one request would be."""
    data = content(size)
    more = {"title": "Trip", "visibility": "public", "sha256": sha256(data), "content_type": "video/mp4"}
    session = initiate(client, data, transport, **more)
    assert client.get(f"/api/status/{session['video_id']}").json()["state"] == "pending"
    del client.headers["authorization"]  # the address is the permission
    if transport == "put":
        answer = client.put(session["url"], content=data)
        assert answer.status_code == 200
        assert answer.json() == {"number": 1, "size": size, "etag": sha256(data)[:32]}
    else:
        assert sum(part["size"] for part in session["parts"]) == size
        put_parts(client, session, data)
    client.headers.update(instance.headers("olga"))
    stands = client.get(f"/api/uploads/{session['upload_id']}").json()
    assert (stands["state"], stands["received"], stands["size"]) == ("open", size, size)
    instance.assert_nothing_uploaded()
    video = complete(client, session)
    assert video["id"] == session["video_id"]
    assert (video["title"], video["visibility"]) == ("Trip", "public")
    instance.assert_uploaded(video["id"], data)
    assert client.get(f"/api/uploads/{session['upload_id']}").json()["state"] == "completed"


def test_completing_again_gives_the_same_answer(instance: Instance, client: TestClient) -> None:
    """Twice, later, and at once: one video, one task, one answer."""
    data = content(2 * MIB)
    session = initiate(client, data, "direct")
    put_parts(client, session, data)

    def attempt(_: int) -> Any:
        body = {"upload_id": session["upload_id"]}
        response = client.post("/api/uploads/complete", json=body)
        while response.status_code == 409 and response.json()["code"] == "upload_busy":
            response = client.post("/api/uploads/complete", json=body)
        return response.json()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(attempt, range(4)))
    answers.append(complete(client, session))
    assert all(answer == answers[0] for answer in answers)
    instance.assert_uploaded(session["video_id"], data)
    assert len(instance.announced) == 1


def test_parts_that_are_missing(instance: Instance, client: TestClient) -> None:
    """Completion names what is not there; fresh addresses for exactly those can be had."""
    data = content(4 * MIB + 1)
    session = initiate(client, data, "direct")
    whole = {**session, "parts": [part for part in session["parts"] if part["number"] in {1, 4}]}
    put_parts(client, whole, data)
    problem = refused(
        client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]}), 409, "parts_missing"
    )
    assert [item["pointer"] for item in problem["errors"]] == ["/parts/2", "/parts/3", "/parts/5"]
    instance.assert_nothing_uploaded()
    stands = client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()
    assert [part["number"] for part in stands["received"]] == [1, 4]
    assert [part["number"] for part in stands["missing"]] == [2, 3, 5]
    put_parts(client, {**session, "parts": stands["missing"]}, data)
    assert complete(client, session)["sha256"] == sha256(data)


def test_parts_are_compared_with_what_the_client_sent(instance: Instance, client: TestClient) -> None:
    """A list of ETags that does not match refuses the completion and keeps the session."""
    data = content(2 * MIB)
    session = initiate(client, data, "direct")
    sent = [{"number": part["number"], "etag": part["etag"]} for part in put_parts(client, session, data)]
    for wrong in ([{"number": 1, "etag": "0" * 32}], [{"number": 9, "etag": sent[0]["etag"]}]):
        body = {"upload_id": session["upload_id"], "parts": wrong}
        refused(client.post("/api/uploads/complete", json=body), 409, "parts_differ")
    twice = {"upload_id": session["upload_id"], "parts": [sent[0], sent[0]]}
    refused(client.post("/api/uploads/complete", json=twice), 422, "parts_invalid")
    instance.assert_nothing_uploaded()
    complete(client, session, parts=sent)


def test_a_completion_may_list_as_many_parts_as_there_can_be(instance: Instance, client: TestClient) -> None:
    """The longest list that is legal fits the limit of bodies: it is compared, not refused for its size."""
    session = initiate(client, content(2 * MIB), "direct")
    listed = [
        {"number": 10_000 + number, "etag": '"' + "f" * 126 + '"'}
        for number in range(UploadConfig().most_parts)
    ]
    text = json.dumps({"upload_id": session["upload_id"], "parts": listed}, indent=1)
    assert len(text) <= UploadConfig().most_parts * PART_ENTRY_BYTES
    headers = {"content-type": "application/json"}
    refused(client.post("/api/uploads/complete", content=text, headers=headers), 409, "parts_missing")


def test_a_part_sent_again_replaces_it(instance: Instance, client: TestClient) -> None:
    """The last bytes that were sent whole are the part; a repetition that broke off leaves the part missing."""
    data = content(2 * MIB)
    session = initiate(client, data, "direct")
    put_parts(client, session, content(2 * MIB, seed=2))
    put_parts(client, session, data)
    first = session["parts"][0]
    refused(client.put(first["url"], content=data[: MIB - 1]), 422, "wrong_size")

    def short() -> Any:
        yield b"x" * 1000

    refused(client.put(first["url"], content=short()), 422, "wrong_size")
    body = {"upload_id": session["upload_id"]}
    refused(client.post("/api/uploads/complete", json=body), 409, "parts_missing")
    put_parts(client, {**session, "parts": [first]}, data)
    assert complete(client, session)["sha256"] == sha256(data)


@pytest.mark.parametrize("transport", ["put", "direct"])
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_part_of_the_wrong_size(
    instance: Instance, client: TestClient, transport: str, announced: bool, change: int
) -> None:
    """One byte less or more is refused, announced or not, and does not count as there."""
    data = content(MIB)
    session = initiate(client, data, transport)
    url = session["url"] or session["parts"][0]["url"]
    wrong = content(MIB + change)
    body: Any = wrong if announced else (wrong[i : i + 99_999] for i in range(0, len(wrong), 99_999))
    refused(client.put(url, content=body), 422, "wrong_size")
    refused(client.put(url, content=b""), 422, "empty_upload")
    stands = client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()
    assert stands["received"] == []
    instance.assert_nothing_uploaded()


@pytest.mark.parametrize("transport", ["put", "direct"])
def test_a_wrong_digest_keeps_the_session(instance: Instance, client: TestClient, transport: str) -> None:
    """Bytes other than announced are not made a video; sent again rightly, they are."""
    data = content(2 * MIB)
    session = initiate(client, data, transport, sha256=sha256(data))
    for attempt in (content(2 * MIB, seed=3), data):
        if transport == "put":
            client.put(session["url"], content=attempt)
        else:
            put_parts(client, session, attempt)
        if attempt is not data:
            response = client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]})
            refused(response, 422, "wrong_digest")
            instance.assert_nothing_uploaded()
    complete(client, session)
    instance.assert_uploaded(session["video_id"], data)


def test_a_digest_may_be_told_at_the_end(instance: Instance, client: TestClient) -> None:
    """By who learns it while sending: other bytes are refused, and so is another digest than was told before."""
    data = content(2 * MIB)
    session = initiate(client, data, "direct")
    put_parts(client, session, content(2 * MIB, seed=3))
    body = {"upload_id": session["upload_id"], "sha256": sha256(data)}
    refused(client.post("/api/uploads/complete", json=body), 422, "wrong_digest")
    instance.assert_nothing_uploaded()
    put_parts(client, session, data)
    other = {**body, "sha256": sha256(b"another")}
    refused(client.post("/api/uploads/complete", json=other), 422, "wrong_digest")
    assert client.post("/api/uploads/complete", json=body).json()["sha256"] == sha256(data)
    instance.assert_uploaded(session["video_id"], data)


def test_signatures(instance: Instance, client: TestClient) -> None:
    """An address opens exactly what it was made for, until it expires; without a signature nothing opens."""
    data = content(2 * MIB)
    session, other = initiate(client, data, "direct"), initiate(client, data, "direct")
    url = session["parts"][0]["url"]
    path, _, signature = url.partition("?signature=")
    expired = signed_urls.sign(
        instance.keyring, purpose="upload", method="PUT", resource=path, expires=int(time.time()) - 1
    )
    foreign = signed_urls.sign(
        Keyring(instance.sources.root.parent / "other-ring.json"),
        purpose="upload",
        method="PUT",
        resource=path,
        expires=2**31,
    )
    for address, code in (
        (path, "signature_invalid"),
        (f"{path}?signature=", "signature_invalid"),
        (f"{path}?signature={signature[:-1]}", "signature_invalid"),
        (f"{path}?signature={foreign}", "signature_invalid"),
        (f"{path}?signature={expired}", "signature_expired"),
        (f"{session['parts'][1]['url'].partition('?')[0]}?signature={signature}", "signature_invalid"),
        (f"{other['parts'][0]['url'].partition('?')[0]}?signature={signature}", "signature_invalid"),
        (f"/api/uploads/{session['upload_id']}/content?signature={signature}", "signature_invalid"),
    ):
        refused(client.put(address, content=data[:MIB]), 403, code)
    beyond = instance_url(instance, session["upload_id"], 3)
    refused(client.put(beyond, content=b"x"), 404, "part_unknown")
    assert (
        client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()["received"] == []
    )


def instance_url(instance: Instance, upload_id: str, number: int) -> str:
    """A validly signed address for any part."""
    path = part_path(upload_id, number)
    signature = signed_urls.sign(
        instance.keyring, purpose="upload", method="PUT", resource=path, expires=int(time.time()) + 60
    )
    return f"{path}?signature={signature}"


def test_addresses_expire_and_are_renewed(instance: Instance) -> None:
    """An address whose time is over is refused by name; a fresh one goes on with the same session."""
    client = instance.start(url_life_s=0)
    data = content(MIB)
    session = initiate(client, data, "put")
    refused(client.put(session["url"], content=data), 403, "signature_expired")
    client = instance.start(url_life_s=60)
    (fresh,) = client.post("/api/uploads/parts", json={"upload_id": session["upload_id"]}).json()["missing"]
    assert client.put(fresh["url"], content=data).status_code == 200
    complete(client, session)


def test_public_addresses(instance: Instance) -> None:
    """With a public address, URLs are absolute; without, they are relative to the one that was called."""
    absolute = instance.start(public_url="https://video.example.org")
    assert initiate(absolute, b"x", "put")["url"].startswith("https://video.example.org/api/uploads/")
    assert initiate(instance.start(public_url=""), b"x", "put")["url"].startswith("/api/uploads/")


@pytest.mark.parametrize("uploaded", ["nothing", "all"])
def test_cancelling(instance: Instance, client: TestClient, uploaded: str) -> None:
    """A cancelled upload is gone: bytes, addresses and video; cancelling again changes nothing."""
    data = content(2 * MIB)
    session = initiate(client, data, "direct")
    if uploaded == "all":
        put_parts(client, session, data)
    path = f"/api/uploads/{session['upload_id']}"
    assert client.delete(path).status_code == client.delete(path).status_code == 204
    assert [left.name for left in instance.staging.leftovers()] == []
    instance.assert_nothing_uploaded()
    assert instance.video(session["video_id"]).state == "deleted"
    assert client.get(path).json()["state"] == "cancelled"
    body = {"upload_id": session["upload_id"]}
    refused(client.post("/api/uploads/complete", json=body), 410, "upload_cancelled")
    refused(client.post("/api/uploads/parts", json=body), 410, "upload_cancelled")
    refused(client.put(session["parts"][0]["url"], content=data[:MIB]), 410, "upload_cancelled")


def test_what_is_complete_cannot_be_cancelled(instance: Instance, client: TestClient) -> None:
    """Deleting a video is another endpoint's work; an acknowledged source stays. Its addresses are closed."""
    data = content(MIB)
    session = initiate(client, data, "put")
    client.put(session["url"], content=data)
    complete(client, session)
    refused(client.delete(f"/api/uploads/{session['upload_id']}"), 409, "upload_completed")
    refused(client.put(session["url"], content=data), 409, "upload_completed")
    instance.assert_uploaded(session["video_id"], data)


def expire(instance: Instance, upload_id: str) -> None:
    """Lets a session's time run out."""
    with instance.catalog.write() as tx:
        tx.execute(schema.uploads.update().where(schema.uploads.c.id == upload_id).values(expires_at=1))


def test_expiry(instance: Instance, client: TestClient) -> None:
    """A silent session is gone from its last moment on, collected or not; the collector's steps leave nothing of it."""
    data = content(MIB)
    session = initiate(client, data, "put")
    client.put(session["url"], content=data)
    expire(instance, session["upload_id"])
    body = {"upload_id": session["upload_id"]}

    def gone() -> None:
        refused(client.post("/api/uploads/complete", json=body), 410, "upload_expired")
        refused(client.post("/api/uploads/parts", json=body), 410, "upload_expired")
        refused(client.put(session["url"], content=data), 410, "upload_expired")

    gone()
    with instance.catalog.write() as tx:
        for upload in uploads.expired(tx):
            uploads.end(tx, upload.id, UploadState.EXPIRED, who="collector")
    assert [left.name for left in instance.staging.leftovers()] == [session["upload_id"]]
    instance.start()  # a start sweeps what ended sessions left
    until(lambda: not [left.name for left in instance.staging.leftovers()])
    gone()
    instance.assert_nothing_uploaded()
    assert instance.history(session["video_id"]) == ["created", "upload_abandoned"]


def test_a_start_sweeps_only_what_is_nobody_s(instance: Instance, client: TestClient) -> None:
    """Staged files of open sessions stay, and so does one that is too young to be sure of."""
    session = initiate(client, b"x", "put")
    old, young = identity.encode(1_600_000_000_000, 7), identity.new_id()
    for name in (old, young):
        instance.staging.create(name)
    instance.start()
    until(lambda: old not in [left.name for left in instance.staging.leftovers()])
    assert sorted(left.name for left in instance.staging.leftovers()) == sorted([session["upload_id"], young])


def test_every_part_prolongs_a_session(instance: Instance, client: TestClient) -> None:
    """A session lives as long as parts arrive."""
    data = content(MIB)
    session = initiate(client, data, "put")
    with instance.catalog.write() as tx:
        soon = instance.upload(session["upload_id"]).expires_at - 80_000_000
        tx.execute(schema.uploads.update().values(expires_at=soon))
    client.put(session["url"], content=data)
    assert instance.upload(session["upload_id"]).expires_at > soon + 60_000_000


@pytest.mark.parametrize("upload_id", ["01kq3v5d2n4h7e9w2f5g8j1a3k", "nothing", "x" * 64, "a%00b", "%2e%2e"])
def test_unknown_uploads(instance: Instance, client: TestClient, upload_id: str) -> None:
    """What never was is not found, however its id is spelled."""
    refused(client.get(f"/api/uploads/{upload_id}"), 404, "upload_not_found")
    refused(client.delete(f"/api/uploads/{upload_id}"), 404, "upload_not_found")
    for path in ("complete", "parts"):
        refused(
            client.post(f"/api/uploads/{path}", json={"upload_id": "01kq3v5d2n4h7e9w2f5g8j1a3k"}),
            404,
            "upload_not_found",
        )
        refused(client.post(f"/api/uploads/{path}", json={"upload_id": "a\0b"}), 404, "upload_not_found")
    refused(
        client.put(instance_url(instance, "01kq3v5d2n4h7e9w2f5g8j1a3k", 1), content=b"x"),
        404,
        "upload_not_found",
    )


@pytest.mark.parametrize("visibility", ["private", "public"])
def test_other_people_s_uploads(instance: Instance, client: TestClient, visibility: str) -> None:
    """Another user's session cannot be told from none; an administrator may end it; without a key 401."""
    session = initiate(client, b"x", "put", visibility=visibility)
    path, body = f"/api/uploads/{session['upload_id']}", {"upload_id": session["upload_id"]}
    stan = instance.headers("stan")
    refused(client.get(path, headers=stan), 404, "upload_not_found")
    refused(client.delete(path, headers=stan), 404, "upload_not_found")
    refused(client.post("/api/uploads/complete", json=body, headers=stan), 404, "upload_not_found")
    refused(client.post("/api/uploads/parts", json=body, headers=stan), 404, "upload_not_found")
    refused(client.get(path, headers=instance.headers("rita")), 403, "scope_missing")
    assert client.delete(path, headers=instance.headers("adam")).status_code == 204
    del client.headers["authorization"]
    refused(client.get(path), 401, "unauthenticated")
    refused(client.post("/api/uploads/complete", json=body), 401, "unauthenticated")
    refused(client.post("/api/uploads/initiate", json={}), 401, "unauthenticated")


def test_a_key_for_uploads_alone_suffices(instance: Instance, client: TestClient) -> None:
    """A machine that only uploads needs no more rights, to complete a duplicate twice neither."""
    client.headers.update(instance.headers("ursula"))
    data = content(1000)
    answers = []
    for _ in range(2):
        session = initiate(client, data, "put")
        client.put(session["url"], content=data)
        answers += [complete(client, session), complete(client, session)]
    assert len({answer["id"] for answer in answers}) == 1
    assert [answer["duplicate"] for answer in answers] == [False, False, True, True]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"size": 0}, 422, "empty_upload"),
        ({"size": 8 * MIB + 1}, 413, "upload_too_large"),
        ({"size": 10**30}, 413, "upload_too_large"),
        ({"size": -1}, 422, "invalid_request"),
        ({"size": "big"}, 422, "invalid_request"),
        ({"transport": "pigeon"}, 422, "invalid_request"),
        ({"filename": ""}, 422, "invalid_request"),
        ({"filename": 7}, 422, "invalid_request"),
        ({"content_type": "video"}, 422, "invalid_request"),
        ({"colour": "red"}, 422, "invalid_request"),
    ],
)
def test_initiate_refuses(
    instance: Instance, client: TestClient, change: dict[str, Any], status: int, code: str
) -> None:
    """What cannot become an upload is refused at once, and nothing was made."""
    body = {"filename": "clip.mp4", "size": 1000, "transport": "direct", **change}
    refused(client.post("/api/uploads/initiate", json=body), status, code)
    assert instance.videos() == []
    assert [left.name for left in instance.staging.leftovers()] == []


def test_initiate_knows_a_declared_duplicate(instance: Instance, client: TestClient) -> None:
    """The owner's own bytes need not be sent again."""
    data = content(1000)
    video = client.post("/api/uploads", params={"filename": "a.mp4"}, content=data).json()
    body = {"filename": "b.mp4", "size": 1000, "transport": "put", "sha256": sha256(data)}
    response = client.post("/api/uploads/initiate", json=body)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["video_id"], answer["upload_id"], answer["duplicate"]) == (video["id"], None, True)
    assert client.post("/api/uploads/initiate", json={**body, "allow_duplicate": True}).status_code == 201
    assert (
        client.post("/api/uploads/initiate", json=body, headers=instance.headers("stan")).status_code == 201
    )


def test_initiate_once_per_key(instance: Instance, client: TestClient) -> None:
    """A repeated request gets the session that it opened; another request under the key is refused."""
    body = {"filename": "clip.mp4", "size": 3 * MIB, "transport": "direct"}
    key = {"idempotency-key": "one"}
    first = client.post("/api/uploads/initiate", json=body, headers=key)
    again = client.post("/api/uploads/initiate", json=body, headers=key)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert len(instance.videos()) == 1
    other = client.post("/api/uploads/initiate", json={**body, "size": 5}, headers=key)
    refused(other, 422, "idempotency_key_reused")


def test_no_room_for_a_part(instance: Instance) -> None:
    """A disk that filled up since the session was opened refuses the part; the session waits for better times."""
    client = instance.start()
    data = content(MIB)
    session = initiate(client, data, "put")
    full = instance.start(free_reserve=1 << 60)
    refused(full.put(session["url"], content=data), 507, "storage_full")
    client = instance.start(free_reserve=0)
    client.put(session["url"], content=data)
    complete(client, session)


@pytest.mark.parametrize("transport", ["put", "direct"])
def test_a_commit_that_fails_loses_nothing(
    instance: Instance, client: TestClient, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the source adopted and its record refused, completing again finds the bytes and acknowledges them."""
    data = content(2 * MIB)
    session = initiate(client, data, transport)
    if transport == "put":
        client.put(session["url"], content=data)
    else:
        put_parts(client, session, data)
    real = uploads.complete

    def away(*_: Any, **__: Any) -> Any:
        raise CatalogUnavailable("The database does not answer; try again.")

    monkeypatch.setattr(uploads, "complete", away)
    body = {"upload_id": session["upload_id"]}
    refused(client.post("/api/uploads/complete", json=body), 503, "catalog_unavailable")
    assert instance.video(session["video_id"]).state == "pending"
    monkeypatch.setattr(uploads, "complete", real)
    complete(client, session)
    instance.assert_uploaded(session["video_id"], data)


def test_cancelled_while_completing(
    instance: Instance, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation that wins against a completion under way leaves no object behind."""
    data = content(MIB)
    session = initiate(client, data, "put")
    client.put(session["url"], content=data)
    real = SealedFile.adopt

    def adopt(self: SealedFile) -> None:
        real(self)
        assert client.delete(f"/api/uploads/{session['upload_id']}").status_code == 204

    monkeypatch.setattr(SealedFile, "adopt", adopt)
    body = {"upload_id": session["upload_id"]}
    refused(client.post("/api/uploads/complete", json=body), 410, "upload_cancelled")
    instance.assert_nothing_uploaded()
    assert [left.name for left in instance.staging.leftovers()] == []


def test_deleting_the_video_ends_its_upload(instance: Instance, client: TestClient) -> None:
    """A video deleted in the library takes its open session along."""
    data = content(MIB)
    session = initiate(client, data, "put")
    client.put(session["url"], content=data)

    def delete(tx: Connection) -> None:
        videos.delete(tx, session["video_id"], who="test")

    with instance.catalog.write() as tx:
        delete(tx)
    refused(
        client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]}),
        410,
        "upload_cancelled",
    )
    instance.assert_nothing_uploaded()


def test_no_answer_shows_where_things_lie(instance: Instance, client: TestClient) -> None:
    """Neither paths of the machine nor object keys appear in what clients are told."""
    session = initiate(client, content(MIB), "direct")
    texts = [str(session), client.get(f"/api/uploads/{session['upload_id']}").text]
    texts.append(client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]}).text)
    for text in texts:
        assert str(instance.sources.root) not in text
        assert not re.search(r"source\.|staging", text)
