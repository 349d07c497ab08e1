"""What an account may do at once and keep, what the disk has room for, and what is no video."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from penstock.catalog import accounts, schema, uploads, videos
from penstock.storage.local import LocalStore
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, Instance, content, refused
from tests.contract.upload.test_tus import RESUMABLE, create, opened, send, stands

NAME = {"filename": "clip.mp4"}
WAYS = ["one request", "a form", "put", "direct", "tus"]


def begin(client: TestClient, way: str, size: int, seed: int = 1) -> httpx.Response:
    """The answer to the first request of an upload of ``size`` bytes."""
    answer: httpx.Response
    if way == "one request":
        answer = client.post("/api/uploads", params=NAME, content=content(size, seed))
    elif way == "a form":
        answer = client.post("/api/uploads", files={"file": ("clip.mp4", content(size, seed), "video/mp4")})
    elif way == "tus":
        answer = create(client, size)
    else:
        answer = client.post("/api/uploads/initiate", json={**NAME, "size": size, "transport": way})
    return answer


@pytest.mark.parametrize("way", WAYS)
def test_what_an_account_keeps_is_limited(instance: Instance, way: str) -> None:
    """What is kept and what open uploads declared count together; deleting and cancelling make room again."""
    client = instance.start(account_bytes=3 * MIB)
    kept = client.post("/api/uploads", params=NAME, content=content(MIB))
    assert kept.status_code == 201
    session = begin(client, "put", MIB).json()
    refused(begin(client, way, MIB + 1, seed=2), 413, "quota_exceeded")
    assert begin(client, way, MIB, seed=2).status_code == 201
    refused(begin(client, way, 1, seed=3), 413, "quota_exceeded")
    stan = instance.start(account_bytes=3 * MIB)
    stan.headers.update(instance.headers("stan"))
    assert begin(stan, way, MIB, seed=4).status_code == 201
    assert client.delete(f"/api/uploads/{session['upload_id']}").status_code == 204
    with instance.catalog.write() as tx:
        videos.delete(tx, kept.json()["id"], who="test")
    assert begin(client, way, 2 * MIB, seed=5).status_code == 201
    with instance.catalog.read() as tx:
        assert {upload.state for upload in uploads.for_video(tx, session["video_id"])} == {"cancelled"}


def test_uploads_at_once_do_not_pass_a_quota_together(instance: Instance) -> None:
    """However requests meet, as many are let in as there is room for, and no more."""
    client = instance.start(account_bytes=3 * MIB)
    gate = threading.Barrier(8)

    def attempt(number: int) -> int:
        gate.wait(30)
        return begin(client, WAYS[2 + number % 3], MIB).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [201] * 3 + [413] * 5


@pytest.mark.parametrize("way", ["one request", "a form", "tus"])
def test_uploads_of_unknown_size_do_not_pass_a_quota(instance: Instance, way: str) -> None:
    """Their size counts as soon as it is known, at the latest when they end; what is refused leaves nothing."""
    client = instance.start(account_bytes=MIB)
    if way == "tus":
        url = opened(client, None)
        refused(send(client, url, 0, b"", **{"upload-length": str(MIB + 1)}), 413, "quota_exceeded")
        assert stands(client, url) == 0
        assert client.delete(url, headers=RESUMABLE).status_code == 204
    elif way == "a form":
        refused(begin(client, way, MIB + 1), 413, "quota_exceeded")
    else:
        answer = client.post("/api/uploads", params=NAME, content=iter([content(MIB), b"x"]))
        refused(answer, 413, "quota_exceeded")
    assert {video.state for video in instance.videos()} == {VideoState.DELETED}
    assert instance.announced == []
    assert begin(client, "put", MIB).status_code == 201


def test_open_uploads_are_limited(instance: Instance) -> None:
    """Beyond their number an account is told when to come back; one that ends makes room."""
    client = instance.start(open_per_account=2)
    first = opened(client, 10)
    assert begin(client, "direct", 10).status_code == 201
    for way in WAYS:
        answer = begin(client, way, 10)
        refused(answer, 429, "too_many_uploads")
        assert int(answer.headers["retry-after"]) > 0
    assert send(client, first, 0, content(10)).status_code == 204
    assert begin(client, "put", 10).status_code == 201


def test_the_pace_of_beginnings_is_limited(instance: Instance) -> None:
    """An account that runs wild is told for how long to wait; others are not held up."""
    client = instance.start(opened_per_minute=3)
    for way in WAYS[:3]:
        assert begin(client, way, 10).status_code in {200, 201}
    answer = begin(client, "tus", 10)
    refused(answer, 429, "upload_rate_exceeded")
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    client.headers.update(instance.headers("stan"))
    assert begin(client, "tus", 10).status_code == 201


def own_limits(instance: Instance, name: str, **limits: int | None) -> None:
    """Limits of this account's own."""
    with instance.catalog.write() as tx:
        accounts.set_limits(tx, instance.accounts[name], limits)


@pytest.mark.parametrize("way", WAYS)
def test_an_account_s_own_limits_hold_in_place_of_the_settings(instance: Instance, way: str) -> None:
    """From the next request on: narrower ones and wider ones, for this account alone, until they are taken back."""
    client = instance.start(account_bytes=2 * MIB, open_per_account=2)
    own_limits(instance, "olga", stored_bytes=4 * MIB, upload_size=3 * MIB)
    refused(begin(client, way, 3 * MIB + 1), 413, "upload_too_large")
    first = begin(client, way, 3 * MIB)
    assert first.status_code == 201
    refused(begin(client, way, MIB + 1, seed=2), 413, "quota_exceeded")
    own_limits(instance, "olga", stored_bytes=None)
    refused(begin(client, way, 1, seed=3), 413, "quota_exceeded")
    own_limits(instance, "olga", stored_bytes=8 * MIB, open_uploads=4)
    for seed in range(3):
        assert begin(client, "put", MIB, seed).status_code == 201
    client.headers.update(instance.headers("stan"))
    refused(begin(client, way, 2 * MIB + 1, seed=4), 413, "quota_exceeded")
    assert begin(client, way, 2 * MIB, seed=4).status_code == 201


def test_an_account_s_own_pace_and_number(instance: Instance) -> None:
    """How many it may begin within a minute and have open at once."""
    client = instance.start(opened_per_minute=1, open_per_account=1)
    own_limits(instance, "olga", uploads_per_minute=4, open_uploads=2)
    for _ in range(2):
        assert begin(client, "tus", 10).status_code == 201
    refused(begin(client, "tus", 10), 429, "too_many_uploads")
    own_limits(instance, "olga", open_uploads=None)
    refused(begin(client, "tus", 10), 429, "too_many_uploads")
    refused(begin(client, "tus", 10), 429, "upload_rate_exceeded")
    client.headers.update(instance.headers("stan"))
    assert begin(client, "tus", 10).status_code == 201
    refused(begin(client, "tus", 10), 429, "upload_rate_exceeded")


@pytest.mark.parametrize("way", ["one request", "a form", "tus"])
def test_an_upload_of_unknown_size_keeps_to_the_account_s_own(instance: Instance, way: str) -> None:
    """It is refused as soon as more has come than the account may send, or says that it will."""
    client = instance.start()
    own_limits(instance, "olga", upload_size=MIB)
    too_many = content(MIB + 1)
    if way == "tus":
        url = opened(client, None)
        assert send(client, url, 0, too_many[:1000]).status_code == 204
        refused(send(client, url, 1000, too_many[1000:]), 413, "upload_too_large")
        refused(send(client, url, 1000, b"", **{"upload-length": str(MIB + 1)}), 413, "upload_too_large")
        assert stands(client, url) == 1000
        answer = send(client, url, 1000, too_many[1000:MIB], **{"upload-length": str(MIB)})
        assert answer.status_code == 204
        return
    if way == "a form":
        answer = client.post("/api/uploads", files={"file": ("clip.mp4", too_many, "video/mp4")})
    else:
        answer = client.post("/api/uploads", params=NAME, content=iter([too_many[:MIB], too_many[MIB:]]))
    refused(answer, 413, "upload_too_large")
    instance.assert_nothing_uploaded()


def test_no_account_s_own_limit_passes_the_setting_of_size(instance: Instance) -> None:
    """What is told to every client is true of every account."""
    client = instance.start(max_size=MIB)
    own_limits(instance, "olga", upload_size=2 * MIB)
    for way in WAYS:
        refused(begin(client, way, MIB + 1), 413, "upload_too_large")


def test_uploads_at_once_do_not_fill_the_disk_together(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What open uploads still lack is kept free for them; what has come is not counted twice, nor who is long silent."""
    room = 10 * MIB
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _: room)
    client = instance.start(free_reserve=MIB, account_bytes=None)
    url = opened(client, 6 * MIB)
    for way in WAYS:
        if way != "a form":
            refused(begin(client, way, 4 * MIB), 507, "storage_full")
    assert send(client, url, 0, content(2 * MIB)).status_code == 204
    room -= 2 * MIB
    assert begin(client, "direct", 3 * MIB).status_code == 201
    refused(begin(client, "put", 1), 507, "storage_full")
    with instance.catalog.write() as tx:
        tx.execute(schema.uploads.update().values(updated_at=schema.uploads.c.updated_at - 3_700_000))
    assert begin(client, "put", 5 * MIB).status_code == 201


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", [b"%PDF-1.7 and so on", b"PK\x03\x04" + bytes(9000), b"<!DOCTYPE html>"])
def test_what_is_certainly_no_video_is_refused(
    instance: Instance, client: TestClient, way: str, data: bytes
) -> None:
    """By its first bytes, whatever it is called; nothing of it is kept."""
    if way == "one request":
        answer: Any = client.post("/api/uploads", params=NAME, content=data)
    elif way == "a form":
        answer = client.post("/api/uploads", files={"file": ("clip.mp4", data, "video/mp4")})
    elif way == "tus":
        url = opened(client, len(data))
        answer = send(client, url, 0, data)
        assert stands(client, url) == 0
    else:
        session = begin(client, way, len(data)).json()
        answer = client.put(session["url"] or session["parts"][0]["url"], content=data)
        assert client.get(f"/api/uploads/{session['upload_id']}").json()["received"] == 0
    refused(answer, 415, "not_a_video")
    instance.assert_nothing_uploaded()


def test_a_part_in_the_middle_may_be_anything(instance: Instance, client: TestClient) -> None:
    """Only the first bytes of a file say what it is."""
    data = content(MIB) + b"%PDF-1.7" + content(1000)
    session = begin(client, "direct", len(data)).json()
    for part in session["parts"]:
        piece = data[part["offset"] : part["offset"] + part["size"]]
        assert client.put(part["url"], content=piece).status_code == 200
    url = opened(client, len(data))
    assert send(client, url, 0, data[:MIB]).status_code == 204
    assert send(client, url, MIB, data[MIB:]).status_code == 204
    assert instance.video(instance.upload(url.rpartition("/")[2]).video_id).state is VideoState.UPLOADED
