"""tus under its real server: broken and silent connections, two processes, two clients, crashes at every step."""

import hashlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.utils import floatToGoString
from sqlalchemy import select

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig, idempotency, schema
from penstock.faults import Point
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from tests.contract.upload.conftest import MIB, SMALL, Instance, content
from tests.contract.upload.server import Server, database_url, until
from tests.contract.upload.test_tus import BYTES, RESUMABLE, opened, send, stands


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


def begin(instance: Instance, server: Server, url: str, offset: int, length: int) -> socket.socket:
    """A connection on which a PATCH has begun; the body is the caller's."""
    connection = server.connect()
    headers = {
        **BYTES,
        "host": "x",
        "upload-offset": str(offset),
        "content-length": str(length),
        **instance.headers("olga"),
    }
    lines = [f"PATCH {url} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def arrived(instance: Instance, url: str) -> int:
    """Bytes that lie in the staged file, counted or not."""
    upload_id = url.rpartition("/")[2]
    size: int = instance.staging._folder(upload_id).joinpath("data").stat().st_size
    return size


def finish(instance: Instance, server: Server, url: str, data: bytes) -> None:
    """Goes on from where the server says it stands, and checks that every byte is as it was sent."""
    offset = stands(server.client, url)
    upload = instance.upload(url.rpartition("/")[2])
    if offset < len(data):
        assert instance.staging._folder(upload.id).joinpath("data").read_bytes()[:offset] == data[:offset]
    assert send(server.client, url, offset, data[offset:]).status_code == 204
    video = instance.video(upload.video_id)
    assert video.source_key is not None
    assert hashlib.sha256(instance.sources.get(video.source_key)).digest() == hashlib.sha256(data).digest()
    assert (video.state, instance.history(video.id)) == ("uploaded", ["created", "upload_completed"])
    assert list(instance.staging.leftovers()) == []


def test_what_came_before_a_broken_connection_is_kept(instance: Instance, tmp_path: Path) -> None:
    """Every byte that reached the server counts, though its request never ended."""
    data = content(3 * MIB)
    with Server(instance, tmp_path) as server:
        url = opened(server.client, len(data))
        with begin(instance, server, url, 0, len(data)) as connection:
            connection.sendall(data[: 2 * MIB + 77])
            until(lambda: arrived(instance, url) >= MIB)
        until(lambda: instance.upload(url.rpartition("/")[2]).writer is None)
        assert stands(server.client, url) == 2 * MIB + 77
        finish(instance, server, url, data)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
@pytest.mark.parametrize("asks", ["HEAD", "PATCH"])
def test_who_comes_back_need_not_wait_for_the_dead(
    instance: Instance, tmp_path: Path, asks: str, *, elsewhere: bool
) -> None:
    """A request that hangs on a connection without a sign is made to let go, with all that it had received."""
    data = content(3 * MIB)
    with Server(instance, tmp_path) as server, Server(instance, tmp_path) as other:
        second = other if elsewhere else server
        url = opened(server.client, len(data))
        with begin(instance, server, url, 0, len(data)) as silent:
            silent.sendall(data[: MIB + 5])
            counted = f'penstock_upload_received_bytes_total{{transport="tus"}} {floatToGoString(MIB + 5)}'  # type: ignore[no-untyped-call]
            until(lambda: counted in server.client.get("/metrics").text)
            if asks == "PATCH":
                assert send(second.client, url, 0, data).status_code == 409  # it stands elsewhere by now
            assert stands(second.client, url) == MIB + 5
            assert b"423" in silent.recv(64)
            finish(instance, second, url, data)


def test_a_body_that_stalls_ends_with_all_that_came(instance: Instance, tmp_path: Path) -> None:
    """Where no byte comes for too long the request is given up, and what came counts."""
    data = content(2 * MIB)
    with Server(instance, tmp_path, idle_timeout_s=0.3) as server:
        url = opened(server.client, len(data))
        with begin(instance, server, url, 0, len(data)) as silent:
            silent.sendall(data[: MIB + 5])
            assert b"408" in silent.recv(64)
        assert stands(server.client, url) == MIB + 5
        finish(instance, server, url, data)


def test_two_clients_on_one_upload(instance: Instance, tmp_path: Path) -> None:
    """Each takes it from the other again and again; whatever they answer, every byte is as it was sent."""
    data = content(6 * MIB)
    with Server(instance, tmp_path) as server, Server(instance, tmp_path) as other:
        url = opened(server.client, len(data))

        def client(which: Server) -> None:
            with httpx.Client(
                base_url=str(which.client.base_url), headers=which.client.headers, timeout=60
            ) as mine:
                for _ in range(200):
                    answer = mine.head(url, headers=RESUMABLE)
                    if answer.status_code == 423:
                        continue
                    offset = int(answer.headers["upload-offset"])
                    if offset == len(data):
                        return
                    piece = data[offset : offset + 300_000]
                    assert send(mine, url, offset, piece).status_code in {204, 409, 423}
            raise AssertionError("it never ended")

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(client, each) for each in (server, other)]:
                done.result()
        finish(instance, server, url, data)


_STEPS = (
    Point.UPLOAD_WRITTEN,
    Point.UPLOAD_SYNCED,
    Point.RECORD_WRITTEN,
    Point.RECORD_COMMITTED,
    Point.UPLOAD_PART_RECORDED,
    Point.UPLOAD_ADOPTED,
    Point.UPLOAD_COMPLETING,
    Point.UPLOAD_ACKNOWLEDGED,
    Point.UPLOAD_RUNG,
    Point.UPLOAD_TIDIED,
)


@pytest.mark.parametrize(
    ("step", "last"), [*((step, False) for step in _STEPS[:5]), *((step, True) for step in _STEPS)]
)
def test_killed_at_any_step(instance: Instance, tmp_path: Path, step: Point, *, last: bool) -> None:
    """After it the offset is true, every byte below it is as it was sent, and the upload goes on to one video."""
    data = content(2 * MIB)
    some = data if last else data[: MIB + 7]
    with Server(instance, tmp_path) as server:
        url = opened(server.client, len(data))
        assert send(server.client, url, 0, data[:1000]).status_code == 204
        (tmp_path / "faults" / step).write_text("kill 0\n")
        with pytest.raises(httpx.HTTPError):
            send(server.client, url, 1000, some[1000:])
        server.wait_dead()
    with Server(instance, tmp_path) as server:
        assert stands(server.client, url) in {1000, len(some)}
        finish(instance, server, url, data)


def test_memory_stays_flat_with_eight_at_once(instance: Instance, tmp_path: Path) -> None:
    """Eight uploads of 100 MB at once raise the server's peak memory by little more than their buffers."""
    size = 100 * MIB
    with Server(instance, tmp_path, max_size=size) as server:
        assert send(server.client, opened(server.client, 2 * MIB), 0, content(2 * MIB)).status_code == 204
        before = server.peak_memory()
        block = content(MIB)

        def one(seed: int) -> int:
            url = opened(server.client, size)
            return send(server.client, url, 0, (block[seed:] + block[:seed] for _ in range(100))).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(one, range(8))) == {204}
        assert server.peak_memory() - before < 8 * 12 * MIB


def test_fifty_uploads_at_once_lose_nothing(instance: Instance, tmp_path: Path) -> None:
    """All of them become videos with their own bytes."""
    with Server(instance, tmp_path) as server:
        gate = threading.Barrier(50)

        def one(seed: int) -> tuple[str, bytes]:
            data = content(300_000 + seed, seed)
            with httpx.Client(
                base_url=str(server.client.base_url), headers=server.client.headers, timeout=120
            ) as mine:
                url = opened(mine, len(data))
                gate.wait(60)
                assert send(mine, url, 0, data[:100_000]).status_code == 204
                answer = send(mine, url, 100_000, data[100_000:])
            assert answer.status_code == 204
            return answer.headers["penstock-video-id"], data

        with ThreadPoolExecutor(50) as pool:
            for video_id, data in pool.map(one, range(50)):
                key = instance.video(video_id).source_key
                assert key is not None
                assert instance.sources.get(key) == data
        assert list(instance.staging.leftovers()) == []


def test_a_killed_request_gives_way_to_its_repetition(instance: Instance, tmp_path: Path) -> None:
    """Its key is free as soon as it has not been heard of for some seconds; a running one keeps it for longer than that."""
    data, params, key = content(2 * MIB), {"filename": "clip.mp4"}, {"idempotency-key": "once"}
    url = "/api/uploads"

    def repeat(server: Server) -> httpx.Response:
        return server.client.post(url, params=params, content=iter([data]), headers=key)

    with Server(instance, tmp_path) as server:
        running, ending = threading.Event(), threading.Event()

        def slowly() -> Iterator[bytes]:
            yield data[:MIB]
            running.set()
            ending.wait(60)
            yield data[MIB:]

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(server.client.post, url, params=params, content=slowly(), headers=key)
            running.wait(60)
            until(lambda: instance.videos() != [])
            expiry = key_expiry(instance)
            until(lambda: key_expiry(instance) > expiry + 2 * idempotency.RUNNING_LIFE_MS // 5)
            assert repeat(server).json()["code"] == "request_in_progress"
            os.kill(server.pid, signal.SIGKILL)
            server.wait_dead()
            ending.set()
            assert isinstance(first.exception(), httpx.HTTPError)
    with Server(instance, tmp_path) as server:
        until(lambda: repeat(server).status_code == 201)
        states = sorted(str(video.state) for video in instance.videos())
        assert states in (["pending", "uploaded"], ["deleted", "uploaded"])


def key_expiry(instance: Instance) -> int:
    """When the one key that there is would be free."""
    with instance.catalog.read() as tx:
        return int(tx.execute(select(schema.idempotency.c.expires_at)).scalar_one())
