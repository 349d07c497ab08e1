"""A real clip through every stage with nothing in a folder: sources and outputs lie in buckets of a real S3 server."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from bench.processes import Peak, memory
from penstock.client.models import Status, Video
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from scripts import playback
from tests.cluster.running import PATIENCE, Platform, eventually
from tests.servers import proxy, s3
from tests.servers.s3 import KEY, SECRET, S3Server

pytestmark = pytest.mark.xdist_group("buckets")

FRAMES = 132
RUNGS = {"240p", "360p"}  # whatever else is encoded lies in a bucket just so
SMALL = {"PLAN_MAX_RUNG": "360"}


@pytest.fixture(scope="module", params=list(s3.KINDS))
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """Each of the servers in turn."""
    with s3.running(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def storage(server: S3Server) -> str:
    """Where objects are kept."""
    return f"s3://{server.bucket()}/videos"


@pytest.fixture(scope="module")
def platform(server: S3Server, storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """``penstock up`` with its objects in the bucket."""
    access = {
        f"{room}_{name}": value
        for room in ("SOURCES", "OUTPUTS")
        for name, value in {
            "ENDPOINT": server.endpoint,
            "ACCESS_KEY_ID": KEY,
            "SECRET_ACCESS_KEY": SECRET,
        }.items()
    }
    platform = Platform(tmp_path_factory.mktemp("platform") / "data", {"STORAGE": storage, **SMALL, **access})
    try:
        yield platform.start()
    finally:
        platform.close()


@pytest.fixture(scope="module")
def followed(platform: Platform, clips: Path) -> list[Status]:
    """The clip uploaded by the client's own way, and every status until it was ready."""
    with platform.client() as client:
        uploaded = client.upload(clips / "bigbuckbunny.mp4", title="A clip", visibility="public")
        return list(client.follow(uploaded.id))


@pytest.fixture
def video(platform: Platform, followed: list[Status]) -> Video:
    """The finished video, with fresh playback addresses."""
    with platform.client() as client:
        return client.video(followed[-1].id)


def test_it_becomes_ready_and_lies_in_the_bucket(
    platform: Platform, followed: list[Status], server: S3Server, storage: str, clips: Path
) -> None:
    """The source is there byte by byte, every output is, and the data folder has none of them."""
    assert (followed[-1].state, followed[-1].progress) == ("ready", 1.0)
    sources = S3Store(server.config(f"{storage}/sources"), Pace.WORK)
    (source,) = [info.key for info in sources.list("")]
    assert sources.get(source) == (clips / "bigbuckbunny.mp4").read_bytes()
    outputs = S3Store(server.config(f"{storage}/outputs"), Pace.WORK)
    assert sum(info.key.endswith(".m4s") for info in outputs.list(f"{followed[-1].id}/")) >= len(RUNGS)
    assert not (platform.data / "sources").exists()
    assert not (platform.data / "outputs").exists()


def test_every_frame_of_every_rung_is_played(platform: Platform, video: Video) -> None:
    """FFmpeg decodes both manifests whole; what it asked for twice was fetched from the bucket once."""
    assert video.playback is not None
    assert playback.hls_frames(video.playback.hls) == dict.fromkeys(RUNGS, FRAMES)
    assert playback.dash_frames(video.playback.dash) == dict.fromkeys(RUNGS, FRAMES)
    assert any(not path.suffix for path in (platform.data / "cache").iterdir())


def test_the_command_line_verifies_it(platform: Platform, video: Video) -> None:
    """Digests, joins and frames of everything that is played, against the source in its bucket."""
    result = platform.command("verify", video.id)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_source_was_fetched_once(platform: Platform, followed: list[Status]) -> None:
    """All tasks of the video worked on one copy of the machine's."""
    copies = [path for path in (platform.data / "scratch" / "sources").iterdir() if not path.suffix]
    assert len(copies) == 1


def test_no_secret_is_logged(platform: Platform, followed: list[Status]) -> None:
    """What opens the bucket stands in no line of the log."""
    assert SECRET not in platform.log_file.read_text()


def test_doctor_tries_the_bucket_out(platform: Platform, storage: str) -> None:
    """Each step is told; a bucket that is not there is a fault with a remedy."""
    good = platform.command("doctor", "--storage", f"{storage}/tried")
    assert good.returncode == 0, good.stdout
    assert "storage: parts" in good.stdout
    bad = platform.command("doctor", "--storage", "s3://no-such-bucket-here/x")
    assert bad.returncode == 1
    assert "bucket_missing" in bad.stdout
    assert "Make the bucket" in bad.stdout


def test_a_wiped_cache_changes_nothing(platform: Platform, video: Video) -> None:
    """The cache is a copy: without it everything still plays."""
    assert video.playback is not None
    assert playback.hls_frames(video.playback.hls) == dict.fromkeys(RUNGS, FRAMES)
    for path in (platform.data / "cache").iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    assert playback.hls_frames(video.playback.hls) == dict.fromkeys(RUNGS, FRAMES)


def test_aws_names_are_understood(server: S3Server, storage: str, tmp_path: Path) -> None:
    """Endpoint and keys under the names that all tools of S3 know."""
    platform = Platform(tmp_path / "data")
    platform.environment |= {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    result = platform.command("doctor", "--storage", f"{storage}/tried")
    assert result.returncode == 0, result.stdout


def test_a_wrong_digest_of_a_direct_upload_fails_the_video(platform: Platform, clips: Path) -> None:
    """Nobody sees all bytes of a direct upload before the scan, which reads them and finds the lie."""
    data = (clips / "car-detection.mp4").read_bytes()
    with platform.client() as client:
        body = {"filename": "x.mp4", "size": len(data), "transport": "direct", "sha256": "0" * 64}
        session = client.connection.json("POST", "/api/uploads/initiate", body=body)
        for part in session["parts"]:
            piece = data[part["offset"] :][: part["size"]]
            assert httpx.put(part["url"], content=piece, timeout=60).status_code == 200
        client.connection.json("POST", "/api/uploads/complete", body={"upload_id": session["upload_id"]})
        last = list(client.follow(session["video_id"]))[-1]
    assert last.state == "failed"
    assert last.error is not None
    assert last.error.code == "digest_mismatch"


def test_an_outage_of_the_store_is_survived(server: S3Server, tmp_path: Path, clips: Path) -> None:
    """While a clip is processed the store is away for some seconds: work waits and goes on, and every frame is there."""
    with proxy.running(server.endpoint) as between:
        access = {"ENDPOINT": between.endpoint, "ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}
        settings = {
            f"{room}_{name}": value for room in ("SOURCES", "OUTPUTS") for name, value in access.items()
        }
        # What an outage broke is tried again after half a second instead of two.
        settings |= {"STORAGE": f"s3://{server.bucket()}", "PROCESSING_RETRY_BASE": "0.5", **SMALL}
        platform = Platform(tmp_path / "data", settings)
        try:
            platform.start()
            with platform.client() as client:
                uploaded = client.upload(clips / "bigbuckbunny.mp4", visibility="public")
                eventually(lambda: platform.log("source_inspected"), "the work has begun")
                between.down = True
                assert httpx.get(f"{platform.url}/status", timeout=60).status_code == 503
                between.down = False
                last = list(client.follow(uploaded.id))[-1]
                assert last.state == "ready"
                shown = client.video(uploaded.id).playback
            assert shown is not None
            assert playback.hls_frames(shown.hls) == dict.fromkeys(RUNGS, FRAMES)
        finally:
            platform.close()


def test_eight_uploads_at_once_take_little_memory(platform: Platform) -> None:
    """A part of each and a few on their way, below 200 MB in all, code included; and what they took is given back."""
    starts = len(platform.pids("web"))
    platform.kill("web")  # its successor has served nothing yet
    platform.wait_restarted("web", starts + 1)
    web, data = platform.pids("web")[-1], bytes(12 * 1024 * 1024)
    key = (platform.data / "admin.key").read_text().strip()
    headers = {"Authorization": f"Bearer {key}", "Tus-Resumable": "1.0.0"}
    bytes_follow = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}

    with httpx.Client(base_url=platform.url, headers=headers, timeout=PATIENCE) as client:

        def send() -> str:
            described = {"Upload-Length": str(2 * len(data)), "Upload-Metadata": "filename eC5tcDQ="}
            url = client.post("/api/uploads/tus/", headers=described).headers["Location"]
            assert client.patch(url, content=data, headers=bytes_follow).status_code == 204
            return str(url)

        client.get("/status")
        before = memory(web)
        with Peak([web], pace=0.02) as peak, ThreadPoolExecutor(8) as threads:
            urls = [upload.result() for upload in [threads.submit(send) for _ in range(8)]]
        assert peak.bytes < 200_000_000
        eventually(lambda: memory(web) < before + 45_000_000, "it gave back what the uploads took")
        for url in urls:
            assert client.delete(url).status_code == 204
