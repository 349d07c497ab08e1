"""Machines that share a bucket and a database and nothing else: no folder of one is ever seen by the other."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from penstock.client import Client
from scripts import playback
from tests.cluster.running import Platform, eventually
from tests.servers import s3
from tests.servers.databases import postgresql, postgresql_template
from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import KEY, SECRET

__all__ = ["postgresql", "postgresql_template"]

pytestmark = pytest.mark.needs_postgresql

TUS = {"tus-resumable": "1.0.0"}
StartMachine = Callable[[str], Platform]


@pytest.fixture(params=list(s3.KINDS))
def machine(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresServer
) -> Iterator[StartMachine]:
    """Starts machines of one instance; nothing of them outlives the test."""
    started: list[Platform] = []
    with s3.running(request.param) as server:
        access = {"ENDPOINT": server.endpoint, "ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}
        shared = {
            "DATABASE_URL": postgresql.url(postgresql.create()),
            "STORAGE": f"s3://{server.bucket()}/videos",
            "KEYRING": str(tmp_path / "keyring.json"),
            "PLAN_MAX_RUNG": "360",
            **{f"{room}_{name}": value for room in ("SOURCES", "OUTPUTS") for name, value in access.items()},
        }

        def start(name: str) -> Platform:
            (tmp_path / name).mkdir()
            started.append(Platform(tmp_path / name / "data", {"NODE": name, **shared}))
            return started[-1].start()

        yield start
        for platform in started:
            platform.close()


def test_one_machine_ends_what_the_other_began(machine: StartMachine, long_clip: Path) -> None:
    """Both encode one video; one loses its power. The other fetches the source itself, goes on, and plays every frame."""
    amber, basalt = machine("amber"), machine("basalt")
    key = (amber.data / "admin.key").read_text().strip()
    with Client(basalt.url, api_key=key) as client:
        with amber.client() as first:
            video_id = first.upload(long_clip, visibility="public").id
        eventually(lambda: amber.log("chunk_encoded"), "amber has encoded a chunk")
        eventually(lambda: basalt.log("chunk_encoded"), "basalt has encoded a chunk")
        amber.vanish()
        assert client.wait(video_id).state == "ready"
        shown = client.video(video_id).playback
        frames = client.details(video_id)["generation"]["decided"]["grid"]["frames"]
    assert shown is not None
    address = shown.hls.replace(amber.url, basalt.url)
    assert set(playback.hls_frames(address).values()) == {frames}


def test_an_upload_goes_on_at_another_machine(machine: StartMachine, clips: Path) -> None:
    """Half of a file is sent to one machine, which loses its power; the other knows how far it came and takes the rest."""
    amber, basalt = machine("amber"), machine("basalt")
    data = (clips / "bigbuckbunny.mp4").read_bytes()
    key = {"authorization": f"Bearer {(amber.data / 'admin.key').read_text().strip()}"}
    described = {"upload-length": str(len(data)), "upload-metadata": "filename YnVubnkubXA0"}
    made = httpx.post(f"{amber.url}/api/uploads/tus/", headers={**TUS, **key, **described}, timeout=60)
    assert made.status_code == 201, made.text
    path = httpx.URL(made.headers["location"]).raw_path.decode()
    half = len(data) // 2
    assert _send(amber.url + path, data[:half], 0, key) == half
    amber.vanish()
    head = httpx.head(basalt.url + path, headers={**TUS, **key}, timeout=60)
    assert head.headers["upload-offset"] == str(half)
    assert _send(basalt.url + path, data[half:], half, key) == len(data)
    with Client(basalt.url, api_key=key["authorization"].removeprefix("Bearer ")) as client:
        (video,) = client.videos().items
        assert client.wait(video.id).state == "ready"


def _send(url: str, piece: bytes, offset: int, key: dict[str, str]) -> int:
    """One piece; the offset after it. Whoever held the upload may have to be waited for."""
    headers = {
        **TUS,
        **key,
        "upload-offset": str(offset),
        "content-type": "application/offset+octet-stream",
    }
    deadline = time.monotonic() + 120
    while (answer := httpx.patch(url, content=piece, headers=headers, timeout=60)).status_code == 423:
        assert time.monotonic() < deadline, answer.text
    assert answer.status_code == 204, answer.text
    return int(answer.headers["upload-offset"])
