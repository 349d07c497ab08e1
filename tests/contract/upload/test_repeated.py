"""The same request at the same moment, by every way in: one upload, one video."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi.testclient import TestClient

from penstock.catalog import idempotency
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, Instance, content
from tests.contract.upload.test_tus import create, opened, send

NAME = {"filename": "clip.mp4"}


@pytest.mark.parametrize("way", ["one request", "put", "direct", "tus"])
def test_one_key_at_once_is_one_upload(
    instance: Instance, client: TestClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """However many come together, one does the work; the others are told to wait, or what it answered."""
    count = 6
    gate, begin = threading.Barrier(count), idempotency.begin

    def together(*given: object, **named: object) -> object:
        gate.wait(60)
        return begin(*given, **named)  # type: ignore[arg-type]

    def attempt(_: int) -> httpx.Response:
        key, answer = {"idempotency-key": "once"}, None
        if way == "one request":
            answer = client.post("/api/uploads", params=NAME, content=content(MIB), headers=key)
        elif way == "tus":
            answer = create(client, MIB, **key)
        else:
            body = {**NAME, "size": MIB, "transport": way}
            answer = client.post("/api/uploads/initiate", json=body, headers=key)
        return answer

    if not instance.catalog.is_sqlite:  # SQLite has one writer: who waits within a transaction waits for ever
        monkeypatch.setattr(idempotency, "begin", together)
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(attempt, range(count)))
    monkeypatch.setattr(idempotency, "begin", begin)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert [answer.json()["code"] for answer in answers if answer.status_code == 409] in (
        [["request_in_progress"] * number for number in range(count)]
    )
    assert len(instance.videos()) == 1
    first = next(answer for answer in answers if answer.status_code == 201)
    again = attempt(0)
    assert again.status_code == 201
    assert again.headers.get("location") == first.headers.get("location")
    assert way == "tus" or again.json() == first.json()
    assert len(instance.videos()) == 1


def test_the_same_bytes_at_once_by_tus_are_one_video(instance: Instance, client: TestClient) -> None:
    """However the last bytes of equal uploads meet, every client is told of the one video that stands."""
    data, count = content(MIB), 5
    urls = [opened(client, len(data)) for _ in range(count)]
    for url in urls:
        assert send(client, url, 0, data[:-1]).status_code == 204
    gate = threading.Barrier(count)

    def last(url: str) -> httpx.Response:
        gate.wait(60)
        return send(client, url, len(data) - 1, data[-1:])

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(last, urls))
    assert {answer.status_code for answer in answers} == {204}
    assert len({answer.headers["penstock-video-id"] for answer in answers}) == 1
    assert [answer.headers.get("penstock-duplicate") for answer in answers].count(None) == 1
    states = [video.state for video in instance.videos()]
    assert (states.count(VideoState.UPLOADED), states.count(VideoState.DELETED)) == (1, count - 1)
