"""What a client learns after its upload: status, history, and the live stream of both."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from penstock.access.keyring import Keyring
from penstock.access.principals import Scope
from penstock.catalog import Catalog, CatalogConfig, claims, generations, schema, tasks, videos, workers
from penstock.catalog.records import NewTask
from penstock.catalog.words import Role, TaskKind
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.upload.following import Watched
from penstock.upload.status import marker
from penstock.video import documents
from penstock.video import plan as planning
from penstock.video.media import Colour, Scan
from tests.contract.upload.conftest import SMALL, Instance, refused
from tests.contract.upload.server import Server, database_url, until
from tests.unit.video.sources import picture, sound, source

NAME = {"filename": "clip.mp4"}


def uploaded(client: TestClient | httpx.Client, **params: str) -> str:
    """A fresh video's id."""
    response = client.post("/api/uploads", params={**NAME, **params, "allow_duplicate": "true"}, content=b"x")
    assert response.status_code == 201, response.text
    video_id: str = response.json()["id"]
    return video_id


def fail(instance: Instance, video_id: str) -> None:
    """Ends a video as processing would."""
    generation_id = instance.video(video_id).current_generation_id
    assert generation_id is not None
    with instance.catalog.write() as tx:
        generations.fail(tx, generation_id, code="media_invalid", message="It is no video.", who="worker:w")


def test_status_follows_the_record(instance: Instance, client: TestClient) -> None:
    """State, progress, timings and, once it failed, the reason."""
    video_id = uploaded(client)
    status = client.get(f"/api/status/{video_id}").json()
    assert (status["id"], status["state"], status["playable"], status["progress"]) == (
        video_id,
        "uploaded",
        False,
        0,
    )
    assert status["error"] is status["duplicate_of"] is status["generation"] is None
    assert status["timings"]["upload"] >= 0
    fail(instance, video_id)
    status = client.get(f"/api/status/{video_id}").json()
    assert status["state"] == "failed"
    assert status["error"] == {"code": "media_invalid", "message": "It is no video."}


def test_who_sees_what(instance: Instance, client: TestClient) -> None:
    """A public video's state is public, its failure and history are the owner's, its tasks the administrator's."""
    public, private = uploaded(client, visibility="public"), uploaded(client)
    for video_id in (public, private):
        fail(instance, video_id)
    stan, adam = instance.headers("stan"), instance.headers("adam")
    seen = client.get(f"/api/status/{public}", headers=stan).json()
    assert (seen["state"], seen["error"]) == ("failed", None)
    refused(client.get(f"/api/status/{private}", headers=stan), 404, "video_not_found")
    refused(client.get(f"/api/status/{public}/events", headers=stan), 403, "not_owner")
    refused(client.get(f"/api/status/{private}/events", headers=stan), 404, "video_not_found")
    refused(client.get(f"/api/status/{public}", headers=instance.headers("ursula")), 403, "scope_missing")
    for video_id in (public, private):
        generation = client.get(f"/api/status/{video_id}", headers=adam).json()["generation"]
        assert generation["state"] == "failed"
        assert [task["kind"] for task in generation["tasks"]] == ["inspect"]
    del client.headers["authorization"]
    assert client.get(f"/api/status/{public}").json()["state"] == "failed"
    refused(client.get(f"/api/status/{private}"), 404, "video_not_found")
    refused(client.get(f"/api/status/{public}/events"), 401, "unauthenticated")


def test_an_administrator_sees_where_it_runs(instance: Instance, client: TestClient) -> None:
    """Attempts, counters and the node of a running task."""
    video_id = uploaded(client)
    with instance.catalog.write() as tx:
        worker = workers.register(tx, node_id="turbine", slot=0, capacity=1, version="1.0")
        (task,) = tasks.listing(tx, video_id=video_id)
        assert claims.claim(tx, task.id, worker.id) is not None
    status = client.get(f"/api/status/{video_id}", headers=instance.headers("adam")).json()
    (shown,) = status["generation"]["tasks"]
    assert (shown["state"], shown["node"], shown["attempt"], shown["losses"]) == ("claimed", "turbine", 1, 0)


def test_the_node_of_a_task_outlives_its_worker(instance: Instance, client: TestClient) -> None:
    """Who looks at a video days later still sees where it was made, though the worker's row is gone."""
    video_id = uploaded(client)
    with instance.catalog.write() as tx:
        worker = workers.register(tx, node_id="turbine", slot=0, capacity=1, version="1.0")
        (task,) = tasks.listing(tx, video_id=video_id)
        claims.claim(tx, task.id, worker.id)
        tasks.enqueue(tx, task.generation_id, [NewTask(TaskKind.SCAN)])
        claims.commit(tx, task.id, worker.id, 1)
        tx.execute(schema.workers.delete())
    status = client.get(f"/api/status/{video_id}", headers=instance.headers("adam")).json()
    assert [each["node"] for each in status["generation"]["tasks"] if each["kind"] == "inspect"] == [
        "turbine"
    ]


def test_an_administrator_sees_what_was_found_and_decided(instance: Instance, client: TestClient) -> None:
    """What is in the source, and what becomes of it, as the stored facts and the stored plan say."""
    turned = picture(
        width=1920, height=1080, rotation=90, scan=Scan.TOP_FIRST, colour=Colour(transfer="smpte2084")
    )
    media = source(video=(turned,), audio=(sound(language="deu"),))
    plan = planning.plan(media, planning.Settings())
    video_id = uploaded(client)
    generation_id = instance.video(video_id).current_generation_id
    assert generation_id is not None
    adam = instance.headers("adam")
    before = client.get(f"/api/status/{video_id}", headers=adam).json()["generation"]
    assert before["found"] is before["decided"] is None
    with instance.catalog.write() as tx:
        worker = workers.register(tx, node_id="turbine", slot=0, capacity=1, version="1.0")
        (task,) = tasks.listing(tx, video_id=video_id)
        claims.claim(tx, task.id, worker.id)
        generations.begin(
            tx,
            generation_id,
            plan=plan.to_json(),
            plan_digest=plan.digest(),
            tool_fingerprint=None,
            tracks=(),
            work_total=1.0,
            who="worker:w",
        )
        claims.commit(tx, task.id, worker.id, 1, result={"media": documents.to_document(media)})
    shown = client.get(f"/api/status/{video_id}", headers=adam).json()["generation"]
    (seen,) = shown["found"]["video"]
    assert (seen["width"], seen["height"], seen["rotation"], seen["frame_rate"]) == (1920, 1080, 90, 25)
    assert (seen["hdr"], seen["scan"]) == ("pq", "top_first")
    assert [each["language"] for each in shown["found"]["audio"]] == ["deu"]
    decided = shown["decided"]
    assert decided["treatment"] == {"rotate": 90, "deinterlace": True, "tonemap": True}
    assert [(each["name"], each["max_bitrate"]) for each in decided["rungs"]] == [
        (rung.name, rung.maxrate) for rung in plan.rungs
    ]
    assert decided["grid"]["chunks"] is None
    assert [each["name"] for each in decided["audio"]] == ["audio-0"]
    with instance.catalog.write() as tx:
        generations.record_scan(tx, generation_id, scan="{}", frames_total=100, work_total=1.0)
        tasks.enqueue(tx, generation_id, [NewTask(TaskKind.TRANSCODE, index) for index in range(3)])
    grid = client.get(f"/api/status/{video_id}", headers=adam).json()["generation"]["decided"]["grid"]
    assert (grid["frames"], grid["chunks"]) == (100, 3)
    assert client.get(f"/api/status/{video_id}").json()["generation"] is None


@pytest.mark.parametrize("video_id", ["01kq3v5d2m8r1x9c7b4n6t0hsz", "nothing", "a%00b"])
def test_unknown_videos(client: TestClient, video_id: str) -> None:
    """What never was is not found."""
    refused(client.get(f"/api/status/{video_id}"), 404, "video_not_found")
    refused(client.get(f"/api/status/{video_id}/events"), 404, "video_not_found")


def test_history_in_pages(instance: Instance, client: TestClient) -> None:
    """Every line once, in order, whatever the size of the pages."""
    video_id = uploaded(client)
    fail(instance, video_id)
    whole = client.get(f"/api/status/{video_id}/events").json()
    assert whole["next_cursor"] is None
    names = [line["event"] for line in whole["items"]]
    assert names[:2] == ["created", "upload_completed"]
    assert [line["number"] for line in whole["items"]] == list(range(1, len(names) + 1))
    assert whole["items"][1]["who"] == f"account:{instance.accounts['olga']}"
    assert (whole["items"][1]["from_state"], whole["items"][1]["to_state"]) == ("pending", "uploaded")
    lines: list[Any] = []
    params: dict[str, Any] = {"limit": 1}
    while len(lines) == 0 or params["cursor"] is not None:
        page = client.get(f"/api/status/{video_id}/events", params=params).json()
        lines += page["items"]
        params["cursor"] = page["next_cursor"]
    assert lines == whole["items"]
    refused(
        client.get(f"/api/status/{video_id}/events", params={"cursor": "nonsense"}), 422, "cursor_invalid"
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Instance, Server]]:
    """The service in a process of its own, quick to look."""
    catalog = Catalog.open(CatalogConfig(url=database_url(tmp_path)))
    catalog.migrate()
    sources = LocalStore(tmp_path / "sources")
    instance = Instance(catalog, sources, FolderStaging(sources), Keyring(tmp_path / "keyring.json"), SMALL)
    instance.add("olga")
    instance.add("adam", Role.ADMIN, frozenset(Scope))
    with Server(instance, tmp_path, follow_interval_s=0.05, follow_heartbeat_s=0.2) as server:
        yield instance, server
    instance.close()
    catalog.close()


class Stream:
    """A client that follows a video."""

    def __init__(self, server: Server, video_id: str, **headers: str) -> None:
        self._manager = server.client.stream(
            "GET", f"/api/status/{video_id}/events", headers={"accept": "text/event-stream", **headers}
        )
        self.response = self._manager.__enter__()
        self._lines = self.response.iter_lines()

    def close(self) -> None:
        """Goes away."""
        self._manager.__exit__(None, None, None)

    def next(self, kind: str) -> dict[str, Any]:
        """The next event of a kind, as its fields; ``comment`` for a heartbeat."""
        fields: dict[str, Any] = {}
        for line in self._lines:
            if line.startswith(":") and kind == "comment":
                return {}
            if not line:
                if fields.get("event") == kind:
                    fields["data"] = json.loads(fields["data"])
                    return fields
                fields = {}
            else:
                name, _, value = line.partition(": ")
                fields[name] = value
        raise AssertionError("the stream ended")

    def run_out(self) -> None:
        """Returns when the server has ended the stream."""
        for _ in self._lines:
            pass


def test_following_live(served: tuple[Instance, Server]) -> None:
    """History from the start, then each line and each change of status as it happens, to the deletion that ends it."""
    instance, server = served
    video_id = uploaded(server.client)
    stream = Stream(server, video_id)
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert [stream.next("history")["data"]["event"] for _ in range(2)] == ["created", "upload_completed"]
    assert stream.next("status")["data"]["state"] == "uploaded"
    stream.next("comment")
    fail(instance, video_id)
    assert stream.next("history")["id"] == "3"
    assert stream.next("status")["data"]["state"] == "failed"
    with instance.catalog.write() as tx:
        videos.delete(tx, video_id, who="test")
    assert stream.next("status")["data"]["state"] == "deleted"
    stream.run_out()
    stream.close()


def test_following_on_from_where_one_was(served: tuple[Instance, Server]) -> None:
    """With Last-Event-ID nothing is told twice and nothing is left out, another process of the server included."""
    instance, server = served
    video_id = uploaded(server.client)
    stream = Stream(server, video_id)
    last = stream.next("history")["id"]
    stream.close()
    fail(instance, video_id)
    stream = Stream(server, video_id, **{"last-event-id": last})
    assert [stream.next("history")["id"] for _ in range(2)] == ["2", "3"]
    stream.close()
    bad = server.client.get(
        f"/api/status/{video_id}/events", headers={"accept": "text/event-stream", "last-event-id": "x"}
    )
    refused(bad, 422, "cursor_invalid")


def test_a_follower_that_leaves_is_noticed(served: tuple[Instance, Server]) -> None:
    """A closed connection ends its stream at the server."""
    _, server = served
    video_id = uploaded(server.client)
    streams = [Stream(server, video_id) for _ in range(3)]
    for stream in streams:
        stream.next("status")
    assert server.metric("penstock_upload_followers") == 3
    for stream in streams:
        stream.close()
    until(lambda: server.metric("penstock_upload_followers") == 0)


def test_more_followers_than_places(tmp_path: Path, served: tuple[Instance, Server]) -> None:
    """An account that follows too much is told when to come back, and others are served; who leaves makes room."""
    instance, _ = served
    with Server(instance, tmp_path, followers_per_account=2) as server:
        video_id = uploaded(server.client)
        streams = [Stream(server, video_id) for _ in range(2)]
        wanted = {"accept": "text/event-stream"}
        answer = server.client.get(f"/api/status/{video_id}/events", headers=wanted)
        refused(answer, 429, "too_many_followers")
        assert int(answer.headers["retry-after"]) > 0
        Stream(server, video_id, **instance.headers("adam")).close()
        for stream in streams:
            stream.next("status")
            stream.close()
        until(lambda: server.metric("penstock_upload_followers") == 0)
        Stream(server, video_id).close()


def test_the_cost_of_followers_does_not_rise_with_their_number(
    instance: Instance, client: TestClient
) -> None:
    """One or two statements tell of any number of videos whether anything changed, and of what they told it is true."""
    ids = [uploaded(client) for _ in range(5)]
    watched = [Watched(video_id, with_tasks=tasks) for video_id in ids for tasks in (False, True)]
    ask = marker(instance.catalog)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(instance.catalog.engine, "before_cursor_execute", note)
    before = ask(watched)
    event.remove(instance.catalog.engine, "before_cursor_execute", note)
    assert len(statements) == 2
    assert ask(watched) == before
    with instance.catalog.write() as tx:
        worker = workers.register(tx, node_id="turbine", slot=0, capacity=1, version="1.0")
        claims.claim(tx, tasks.listing(tx, video_id=ids[0])[0].id, worker.id)
        videos.describe(tx, ids[1], title="Another")
    fail(instance, ids[2])
    changed = {each for each, mark in ask(watched).items() if mark != before[each]}
    assert {Watched(ids[0], with_tasks=True), *watched[2:6]} <= changed
    assert not changed & set(watched[6:])
    assert Watched("01kq3v5d2m8r1x9c7b4n6t0hsz", with_tasks=False) not in ask(watched)
