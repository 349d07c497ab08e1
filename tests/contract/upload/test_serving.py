"""The service under its real server: memory, clients that vanish or stall, crashes at every step, the order of syncs."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig, schema
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, SMALL, Instance, content, refused, sha256
from tests.contract.upload.server import Server, database_url, until

NAME = {"filename": "clip.mp4"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """What the server's process stands on, as this process sees it."""
    catalog = Catalog.open(CatalogConfig(url=database_url(tmp_path)))
    catalog.migrate()
    sources = LocalStore(tmp_path / "sources")
    made = Instance(catalog, sources, FolderStaging(sources), Keyring(tmp_path / "keyring.json"), SMALL)
    made.add("olga")
    yield made
    made.close()
    catalog.close()


def staged(instance: Instance) -> list[str]:
    """Names of what is staged."""
    return [left.name for left in instance.staging.leftovers()]


def problem_on(connection: socket.socket) -> bytes:
    """A whole answer that is a problem, head and body, without waiting for the connection's end."""
    answer = b""
    while not answer.endswith(b"}"):
        received = connection.recv(65536)
        assert received, answer
        answer += received
    return answer


def test_memory_stays_flat(instance: Instance, tmp_path: Path) -> None:
    """300 MB by each way in raise the server's peak memory by little more than its buffers."""
    size = 300 * MIB
    with Server(instance, tmp_path, max_size=size, part_size=size) as server:
        warm = server.client.post("/api/uploads", params=NAME, content=content(2 * MIB))
        assert warm.status_code == 201
        before = server.peak_memory()

        def generated(seed: int) -> Iterator[bytes]:
            block = content(MIB, seed)
            yield from (block for _ in range(300))

        raw = server.client.post("/api/uploads", params=NAME, content=generated(2))
        assert raw.json()["size"] == size
        boundary = {"content-type": "multipart/form-data; boundary=b"}
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'

        def form() -> Iterator[bytes]:
            yield head
            yield from generated(3)
            yield b"\r\n--b--\r\n"

        formed = server.client.post("/api/uploads", content=form(), headers=boundary)
        assert formed.json()["size"] == size
        body = {"filename": "a.mp4", "size": size, "transport": "direct"}
        session = server.client.post("/api/uploads/initiate", json=body).json()
        server.client.put(session["parts"][0]["url"], content=generated(4))
        done = server.client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]})
        assert done.json()["size"] == size
        assert server.peak_memory() - before < 24 * MIB


@pytest.mark.parametrize("framing", ["content-length: 3000000", "transfer-encoding: chunked"])
def test_a_client_that_vanishes(instance: Instance, tmp_path: Path, framing: str) -> None:
    """A body that breaks off is no upload: its bytes go, its video is deleted, and the history says why."""
    with Server(instance, tmp_path) as server:
        with server.connect() as connection:
            request = f"POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nhost: x\r\n{framing}\r\n"
            request += f"authorization: {instance.headers('olga')['authorization']}\r\n\r\n"
            half = content(2 * MIB)
            chunked = f"{len(half):x}\r\n".encode() if "chunked" in framing else b""
            connection.sendall(request.encode() + chunked + half)
            until(lambda: staged(instance))
        until(lambda: not staged(instance))
        until(lambda: {video.state for video in instance.videos()} == {VideoState.DELETED})
        (video,) = instance.videos()
        with instance.catalog.read() as tx:
            why = [row.why for row in tx.execute(schema.events.select()) if row.event == "upload_abandoned"]
        assert why == ["client_gone"]
        assert instance.history(video.id) == ["created", "upload_abandoned"]
        instance.assert_nothing_uploaded()


@pytest.mark.parametrize("path", ["/api/uploads?filename=a.mp4", "/api/uploads/initiate"])
def test_a_body_that_is_not_framed_as_http_has_it(instance: Instance, tmp_path: Path, path: str) -> None:
    """A chunk without a length is the client's fault and is answered so; nothing is left of the upload."""
    with Server(instance, tmp_path) as server, server.connect() as connection:
        request = f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        request += f"authorization: {instance.headers('olga')['authorization']}\r\n\r\nno length\r\nabc\r\n"
        connection.sendall(request.encode())
        answer = problem_on(connection)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"body_incomplete" in answer
        assert not staged(instance)
        instance.assert_nothing_uploaded()


def test_a_part_broken_off_is_sent_again(instance: Instance, tmp_path: Path) -> None:
    """A part whose client vanished is not there; its lock is free at once for the same part again."""
    data = content(MIB)
    with Server(instance, tmp_path) as server:
        body = {"filename": "a.mp4", "size": MIB, "transport": "direct"}
        session = server.client.post("/api/uploads/initiate", json=body).json()
        url = session["parts"][0]["url"]
        with server.connect() as connection:
            connection.sendall(f"PUT {url} HTTP/1.1\r\nhost: x\r\ncontent-length: {MIB}\r\n\r\n".encode())
            connection.sendall(b"x" * 500_000)
            until(lambda: server.metric("penstock_upload_transfers") == 1)
            refused(server.client.put(url, content=data), 409, "upload_busy")
            refused(
                server.client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]}),
                409,
                "upload_busy",
            )
        until(lambda: server.metric("penstock_upload_transfers") == 0)
        until(lambda: server.client.put(url, content=data).status_code == 200)
        server.client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]})
    assert instance.video(session["video_id"]).source_sha256 == sha256(data)


def test_a_client_that_stalls(instance: Instance, tmp_path: Path) -> None:
    """A silent client is told so after a while, and what it held is free."""
    with Server(instance, tmp_path, idle_timeout_s=0.5) as server, server.connect() as connection:
        request = "POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
        request += f"authorization: {instance.headers('olga')['authorization']}\r\n\r\nhalf"
        connection.sendall(request.encode())
        answer = problem_on(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code": "body_stalled"' in answer
        until(lambda: not staged(instance))
        instance.assert_nothing_uploaded()


def test_a_refusal_does_not_wait_for_the_body(instance: Instance, tmp_path: Path) -> None:
    """What its head already rules out is answered before the client has sent the rest."""
    with Server(instance, tmp_path) as server, server.connect() as connection:
        request = "POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n"
        request += f"authorization: {instance.headers('olga')['authorization']}\r\n\r\nx"
        connection.sendall(request.encode())
        answer = problem_on(connection)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"upload_too_large" in answer


def test_a_refusal_is_heard_by_a_client_that_sends_first(instance: Instance, tmp_path: Path) -> None:
    """Most clients send everything before they read: they learn the reason, not that the connection was reset."""
    data = content(20 * MIB)
    with Server(instance, tmp_path) as server:
        for _ in range(3):
            refused(server.client.post("/api/uploads", params=NAME, content=data), 413, "upload_too_large")
            refused(server.client.put("/api/uploads/x/content", content=data), 403, "signature_invalid")
            stranger = {"authorization": "Bearer pst_no"}
            response = server.client.post("/api/uploads", params=NAME, content=data, headers=stranger)
            refused(response, 401, "api_key_invalid")
            assert response.headers["connection"] == "close"
        with server.connect() as connection:
            request = "POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
            connection.sendall(f"{request}expect: 100-continue\r\n\r\n".encode())
            answer = problem_on(connection)
            assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_running_upload_stays_alive_and_dies_when_cancelled(instance: Instance, tmp_path: Path) -> None:
    """A slow upload leaves signs of life; ended by its owner meanwhile, its request is refused at the next of them."""
    with Server(instance, tmp_path, sign_of_life_s=0.05, one_request_life_s=3600) as server:
        go_on = threading.Event()

        def slow() -> Iterator[bytes]:
            yield content(MIB)
            go_on.wait(30)
            for _ in range(100):
                yield b"x" * 10_000
                time.sleep(0.02)

        answers: list[httpx.Response] = []
        sending = threading.Thread(
            target=lambda: answers.append(server.client.post("/api/uploads", params=NAME, content=slow()))
        )
        sending.start()
        until(instance.videos)
        (upload_id,) = staged(instance)
        before = instance.upload(upload_id).expires_at
        go_on.set()
        until(lambda: instance.upload(upload_id).expires_at > before)
        with httpx.Client(base_url=server.client.base_url, headers=server.client.headers) as other:
            assert other.delete(f"/api/uploads/{upload_id}").status_code == 204
        sending.join(30)
        refused(answers[0], 410, "upload_cancelled")
        instance.assert_nothing_uploaded()
        assert staged(instance) == []


def test_a_stopping_server_ends_what_cannot_be_resumed(instance: Instance, tmp_path: Path) -> None:
    """An upload in one request that outlasts the server's patience is ended in order, its bytes removed."""
    with Server(instance, tmp_path) as server, server.connect() as connection:
        request = "POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n"
        request += f"authorization: {instance.headers('olga')['authorization']}\r\n\r\n"
        connection.sendall(request.encode() + content(2 * MIB))
        until(lambda: server.metric("penstock_upload_transfers") == 1)
        assert server.stop() == 0
        assert [str(video.state) for video in instance.videos()] == ["deleted"]
        assert staged(instance) == []
        instance.assert_nothing_uploaded()


@pytest.mark.needs_curl
def test_the_documented_commands(instance: Instance, tmp_path: Path) -> None:
    """What the documentation tells a newcomer to type works as it stands there."""
    (tmp_path / "holiday.mp4").write_bytes(content(3 * MIB))
    text = Path("docs/uploads.md").read_text(encoding="utf-8")
    commands = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    one, put = commands[0], commands[1]
    with Server(instance, tmp_path, max_size=1 << 40) as server:
        environment = {
            **os.environ,
            "KEY": instance.headers("olga")["authorization"].removeprefix("Bearer "),
            "PENSTOCK": str(server.client.base_url).rstrip("/"),
        }

        def answers(script: str) -> list[dict[str, Any]]:
            shell = ["bash", "-euc", script.replace("curl ", "curl -sS -w '\\n' ")]
            ran = subprocess.run(
                shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
            )
            return [json.loads(line) for line in ran.stdout.splitlines()]

        raw, form = answers(one)
        assert (raw["state"], raw["visibility"], raw["title"]) == ("uploaded", "unlisted", "Holiday")
        assert (form["id"], form["duplicate"]) == (raw["id"], True)
        (tmp_path / "holiday.mp4").write_bytes(content(3 * MIB, seed=2))
        opening, sending, ending = (command for command in put.split("\n\n"))
        (session,) = answers(opening.replace("734003200", str(3 * MIB)))
        (part,) = answers(re.sub(r"/api/uploads/01kq[^\"]*", session["url"], sending))
        assert part["size"] == 3 * MIB
        (video,) = answers(ending.replace("01kq…", session["upload_id"]))
        assert (video["id"], video["state"]) == (session["video_id"], "uploaded")


KILL_POINTS = ["fsync", "fdatasync", "?rename,?renameat,?renameat2", "?unlink,?unlinkat", "?rmdir"]


@pytest.mark.needs_strace
@pytest.mark.parametrize("call", KILL_POINTS, ids=["fsync", "fdatasync", "rename", "unlink", "rmdir"])
def test_killed_at_any_step_of_completing(instance: Instance, tmp_path: Path, call: str) -> None:
    """A ``kill -9`` on entering any step: what was acknowledged is there, and what was not can be completed again."""
    for step in range(1, 20):
        data = content(MIB + 5, seed=step)
        with Server(instance, tmp_path) as server:
            body = {"filename": "a.mp4", "size": len(data), "transport": "put"}
            session = server.client.post("/api/uploads/initiate", json=body).json()
            assert server.client.put(session["url"], content=data).status_code == 200
            complete = {"upload_id": session["upload_id"]}
            try:
                with server.traced(tmp_path / "trace", "-e", f"inject={call}:signal=KILL:when={step}"):
                    answered = server.client.post("/api/uploads/complete", json=complete).status_code == 200
            except httpx.HTTPError:
                answered = False
            if not answered:
                server.wait_dead()
        if answered:
            instance.assert_sound(swept=False)
        again = instance.start().post("/api/uploads/complete", json=complete)
        assert again.status_code == 200, again.text
        assert instance.video(again.json()["id"]).source_sha256 == sha256(data)
        instance.assert_sound()
        assert staged(instance) == []
        if answered:
            return
    pytest.fail("it never came to its end")


@pytest.mark.needs_strace
@pytest.mark.parametrize(
    "call", [*KILL_POINTS[:3], "?mkdir,?mkdirat"], ids=["fsync", "fdatasync", "rename", "mkdir"]
)
def test_killed_at_any_step_of_one_request(instance: Instance, tmp_path: Path, call: str) -> None:
    """A ``kill -9`` on entering any step: nothing is acknowledged that is not there, and nothing blocks what comes after."""
    for step in range(1, 40):
        data = content(2 * MIB + 5, seed=step)
        with Server(instance, tmp_path) as server:
            try:
                with server.traced(tmp_path / "trace", "-e", f"inject={call}:signal=KILL:when={step}"):
                    answer = server.client.post("/api/uploads", params=NAME, content=data)
            except httpx.HTTPError:
                answer = None
            if answer is None:
                server.wait_dead()
        instance.assert_sound(swept=False)
        if answer is not None:
            assert answer.status_code == 201
            instance.start()
            assert instance.video(answer.json()["id"]).source_sha256 == sha256(data)
            return
    pytest.fail("it never came to its end")


@pytest.mark.needs_strace
@pytest.mark.parametrize(
    ("call", "fault", "status", "code"),
    [
        ("write", "ENOSPC", 507, "storage_full"),
        ("write", "EDQUOT", 507, "storage_full"),
        ("write", "EIO", 503, "storage_unavailable"),
        ("fsync", "ENOSPC", 507, "storage_full"),
        ("fsync", "EIO", 503, "storage_unavailable"),
    ],
)
def test_a_disk_that_fails_on_the_way(
    instance: Instance, tmp_path: Path, call: str, fault: str, status: int, code: str
) -> None:
    """A part that cannot be written or synced is refused and does not count; later it can be sent again."""
    data = content(3 * MIB)
    with Server(instance, tmp_path) as server:
        body = {"filename": "a.mp4", "size": len(data), "transport": "put"}
        session = server.client.post("/api/uploads/initiate", json=body).json()
        file = tmp_path / "sources" / ".staging" / session["upload_id"] / "data"
        with server.traced(tmp_path / "trace", "-P", str(file), "-e", f"inject={call}:error={fault}"):
            refused(server.client.put(session["url"], content=data), status, code)
        stands = server.client.get(f"/api/uploads/{session['upload_id']}").json()
        assert (stands["state"], stands["received"]) == ("open", 0)
        complete = {"upload_id": session["upload_id"]}
        refused(server.client.post("/api/uploads/complete", json=complete), 409, "parts_missing")
        assert server.client.put(session["url"], content=data).status_code == 200
        assert server.client.post("/api/uploads/complete", json=complete).json()["sha256"] == sha256(data)


@pytest.mark.needs_strace
@pytest.mark.parametrize("way", ["one_request", "put", "direct"])
def test_the_answer_comes_last(instance: Instance, tmp_path: Path, way: str) -> None:
    """On the wire: source synced, renamed, folders synced, record synced, and only then the acknowledgement is sent."""
    data = content(2 * MIB)
    log = tmp_path / "trace"
    calls = "fsync,fdatasync,?rename,?renameat,?renameat2,write,writev,sendto,sendmsg"
    with Server(instance, tmp_path) as server:
        session = {}
        if way != "one_request":
            body = {"filename": "a.mp4", "size": len(data), "transport": way}
            session = server.client.post("/api/uploads/initiate", json=body).json()
            for part in session["parts"] or [{"url": session["url"], "offset": 0, "size": len(data)}]:
                piece = data[part["offset"] : part["offset"] + part["size"]]
                server.client.put(part["url"], content=piece)
        with server.traced(log, "-e", f"trace={calls}"):
            if way == "one_request":
                answer = server.client.post("/api/uploads", params=NAME, content=data)
            else:
                answer = server.client.post("/api/uploads/complete", json={"upload_id": session["upload_id"]})
    assert answer.json()["sha256"] == sha256(data)
    lines = [re.sub(r"^\d+\s+", "", line) for line in log.read_text().splitlines()]
    root = re.escape(str(tmp_path / "sources"))

    def first(pattern: str, after: int = -1) -> int:
        return next(i for i, line in enumerate(lines) if i > after and re.search(pattern, line))

    synced = first(rf"fsync\(\d+<{root}/\.staging/[^>]*/data>")
    renamed = first(rf"rename.*{root}/[^.\"]*/source\.", synced)
    folder = first(rf"fsync\(\d+<{root}/[0-9a-z]{{26}}>", renamed)
    recorded = first(r"fdatasync\(\d+<[^>]*records\.sqlite-wal>", folder)
    answered = first(r"HTTP/1\.1 20[01]", recorded)
    assert synced < renamed < folder < recorded < answered
    assert not any(re.search(r"HTTP/1\.1 20[01]", line) for line in lines[:recorded])
    assert json.loads(answer.text)["state"] == "uploaded"
