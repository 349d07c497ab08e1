"""A data folder on a disk that fills up, while uploading, encoding, recording: it is said, nothing is lost, and it goes on by itself."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typing_extensions import override

from scripts import playback
from tests.cluster.running import Platform, eventually

pytestmark = pytest.mark.needs_namespaces

_SIZE = 96 << 20  # bytes of the disk
# Reserves out of the way: what is looked at is the moment when they did not help.
_SETTINGS = {
    "PLAN_MAX_RUNG": "360",
    "UPLOAD_FREE_RESERVE": "0",
    "PROCESSING_DISK_RESERVE": "1",
    "PROCESSING_RETRY_LONGEST": "2",
}


class SmallDisk(Platform):
    """A platform whose data folder is a file system of its own, in a mount namespace of its own."""

    @override
    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        self.data.mkdir(exist_ok=True)
        mounted = f'mount -t tmpfs -o size={_SIZE} none "{self.data}" && chmod 700 "{self.data}" && exec "$@"'
        process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", mounted, "sh", sys.executable, "-m", "penstock.cli", "up", *arguments],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        # From here on the folder is seen as the platform sees it.
        self.data = Path(f"/proc/{process.pid}/root{self.data}")
        return process

    @override
    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """In the platform's name space: paths are those of its settings."""
        assert self.process is not None
        inside = [
            "nsenter",
            "-m",
            "-t",
            str(self.process.pid),
            sys.executable,
            "-m",
            "penstock.cli",
            *arguments,
        ]
        return subprocess.run(
            inside, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )

    def fill(self, left: int) -> None:
        """All of the disk but ``left`` bytes is taken by something else."""
        filler = self.data / "filler"
        filler.unlink(missing_ok=True)
        with filler.open("wb") as file:

            def taken() -> bool:
                disk = os.statvfs(self.data)
                try:
                    os.posix_fallocate(file.fileno(), 0, max(disk.f_bavail * disk.f_frsize - left, 1))
                except OSError:  # the platform took some of it in between
                    return False
                return True

            eventually(taken, "the disk is full")

    def make_room(self) -> None:
        """What else took the disk is gone."""
        (self.data / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A running platform on a small disk; whatever was full, records and objects agree afterwards."""
    platform = SmallDisk(tmp_path / "data", _SETTINGS)
    try:
        yield platform.start()  # type: ignore[misc]
        checked = platform.command("fsck", "--deep")
        assert checked.returncode == 0, checked.stdout + checked.stderr
    finally:
        platform.close()


def headers(platform: Platform) -> dict[str, str]:
    """The administrator's key."""
    return {"authorization": f"Bearer {(platform.data / 'admin.key').read_text().strip()}"}


def test_an_upload_finds_the_disk_full(disk: SmallDisk, clips: Path) -> None:
    """By its announced size before it begins, else in its middle: 507 with when to come back, and not a byte stays."""
    data = (clips / "car-detection.mp4").read_bytes()
    address = f"{disk.url}/api/uploads?filename=car.mp4"
    disk.fill(left=1_500_000)

    def dripping() -> Iterator[bytes]:
        yield from (data[at : at + 100_000] for at in range(0, len(data), 100_000))

    for content in (data, dripping()):
        refused = httpx.post(address, headers=headers(disk), content=content, timeout=60)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full"), refused.text
        assert int(refused.headers["retry-after"]) > 0
    eventually(
        lambda: (
            not any(path.is_file() and path.stat().st_size for path in (disk.data / "sources").rglob("*"))
        ),
        "what had arrived is gone",
    )
    assert httpx.get(f"{disk.url}/api/videos", headers=headers(disk)).json()["items"] == []
    disk.make_room()
    with disk.client() as client:
        assert client.wait(client.upload(clips / "car-detection.mp4").id).state == "ready"


@pytest.mark.parametrize("left", [0, 700_000])
def test_processing_finds_the_disk_full(disk: SmallDisk, clips: Path, left: int) -> None:
    """Scratch, outputs, records, timelines: whatever it hits, the video waits, and becomes ready when there is room again."""
    with disk.client() as client:
        video_id = client.upload(clips / "car-detection.mp4").id
        disk.fill(left)
        eventually(
            lambda: any(map(disk.log, ("storage_fault", "task_failed", "queue_paused"))),
            "something found no room",
        )
        end = time.monotonic() + 5  # of trying in vain; every task comes by
        while time.monotonic() < end:
            state = httpx.get(f"{disk.url}/api/status/{video_id}", headers=headers(disk), timeout=60)
            assert state.status_code in {200, 503, 507}, state.text
            if state.status_code == 200:
                assert state.json()["state"] in {"uploaded", "processing"}
            time.sleep(0.2)
        disk.make_room()
        assert client.wait(video_id).state == "ready"
        video = client.video(video_id)
        assert video.playback is not None
        assert set(playback.hls_frames(video.playback.hls).values()) == {377}
    assert not disk.log("process_crashed")
    assert not [line for line in disk.log("task_failed") if line.get("code") == "internal_error"]


def test_records_find_the_disk_full(disk: SmallDisk, clips: Path) -> None:
    """What cannot be recorded is refused and can be asked again; what is recorded can be read, and plays, all the while."""
    with disk.client() as client:
        video_id = client.wait(client.upload(clips / "sample_fragmented.mp4").id).id
        video = client.video(video_id)
        assert video.playback is not None
        disk.fill(left=0)
        refused = 0
        for number in range(300):
            title = f"{number} " + "x" * 150
            answer = httpx.patch(
                f"{disk.url}/api/videos/{video_id}", headers=headers(disk), json={"title": title}, timeout=60
            )
            assert answer.status_code in {200, 507}, answer.text
            if answer.status_code == 507:
                assert answer.json()["code"] == "storage_full"
                refused += 1
            if refused > 3:
                break
        assert refused
        assert httpx.get(video.playback.hls, timeout=60).status_code == 200
        disk.make_room()
        client.connection.json("PATCH", f"/api/videos/{video_id}", body={"title": "After"})
        assert client.video(video_id).title == "After"
