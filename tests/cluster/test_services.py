"""Every service as a process of its own: none proxies for another, and each can go while the others do their part."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scripts import playback
from tests.cluster.running import Services

RUNGS = {"240p", "360p", "480p", "720p"}
FRAMES = 132


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """None runs yet."""
    services = Services(tmp_path / "data")
    yield services
    services.close()


def test_four_services_take_a_video_to_playback(services: Services, clips: Path) -> None:
    """Uploaded to one, processed by another, described by a third, played from a fourth, and from another in its place."""
    upload = services.start("upload")
    streaming = services.start("streaming")
    library = services.start("library", LIBRARY_STREAMING_URL=streaming)
    figures = services.start("processing")
    assert len({upload, streaming, library, figures}) == 4
    with services.client(upload) as client:
        uploaded = client.upload(clips / "bigbuckbunny.mp4")
        assert client.wait(uploaded.id).state == "ready"
    with services.client(library) as client:
        video = client.video(uploaded.id)
    assert video.playback is not None
    assert video.playback.hls.startswith(streaming)
    assert playback.hls_frames(video.playback.hls) == dict.fromkeys(RUNGS, FRAMES)
    assert playback.dash_frames(video.playback.dash) == dict.fromkeys(RUNGS, FRAMES)
    for service in ("upload", "library", "processing", "streaming"):
        services.kill(service)
    # Nothing but objects and keys is left: another streaming process plays under the same token, at an address of its own.
    address = video.playback.hls.replace(streaming, services.start("streaming"))
    assert httpx.get(address).status_code == 200
    assert playback.hls_frames(address) == dict.fromkeys(RUNGS, FRAMES)


def test_streaming_does_not_start_without_the_keys_that_others_sign_with(tmp_path: Path) -> None:
    """It would refuse every player; it says what is missing instead, and makes nothing."""
    command = [
        sys.executable,
        "-m",
        "penstock.cli",
        "serve",
        "streaming",
        "--port",
        "0",
        "--data",
        str(tmp_path),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 3
    assert "keyring_missing" in ended.stderr
    assert "PENSTOCK_KEYRING" in ended.stderr
    assert not (tmp_path / "keyring.json").exists()
