"""One real clip through every stage, over HTTP alone, with the processes that a user starts."""

import json
from pathlib import Path

import httpx
import pytest

from penstock.client.models import Status, Video
from scripts import playback
from tests.cluster.running import Platform, eventually

pytestmark = pytest.mark.xdist_group("one-video")  # one platform serves all tests of this file

FRAMES = 132  # of the clip, 25 in a second
RUNGS = {"240p", "360p", "480p", "720p"}


@pytest.fixture(scope="module")
def followed(platform: Platform, clips: Path) -> list[Status]:
    """The clip uploaded, and every status until it was ready, as a client that follows is told them."""
    with platform.client() as client:
        uploaded = client.upload(clips / "bigbuckbunny.mp4", title="A clip", visibility="public")
        return list(client.follow(uploaded.id))


@pytest.fixture
def video(platform: Platform, followed: list[Status]) -> Video:
    """The finished video, with fresh playback addresses."""
    with platform.client() as client:
        return client.video(followed[-1].id)


def test_a_follower_sees_it_become_ready(followed: list[Status]) -> None:
    """States come in their order, progress never goes back, and what is ready is playable."""
    states = list(dict.fromkeys(status.state for status in followed))
    assert states[-2:] == ["processing", "ready"]
    assert [status.progress for status in followed] == sorted(status.progress for status in followed)
    assert (followed[-1].playable, followed[-1].progress) == (True, 1.0)


def test_the_library_describes_it(video: Video) -> None:
    """Owner's facts, source's facts, and each rendition with its size and codec."""
    assert (video.title, video.filename, video.visibility) == ("A clip", "bigbuckbunny.mp4", "public")
    assert (video.width, video.height) == (1280, 720)
    assert video.duration == pytest.approx(FRAMES / 25, abs=0.1)
    assert {item.name for item in video.renditions if item.kind == "video"} == RUNGS
    assert all(item.complete and item.size and item.codecs for item in video.renditions)


def test_hls_has_every_frame_of_every_rung(video: Video) -> None:
    """FFmpeg decodes each variant whole, without a complaint."""
    assert video.playback is not None
    assert playback.hls_frames(video.playback.hls) == dict.fromkeys(RUNGS, FRAMES)


def test_dash_has_every_frame_of_every_rung(video: Video) -> None:
    """FFmpeg decodes each representation whole, without a complaint."""
    assert video.playback is not None
    assert playback.dash_frames(video.playback.dash) == dict.fromkeys(RUNGS, FRAMES)


def test_the_command_line_verifies_it(platform: Platform, video: Video) -> None:
    """Digests, joins and frames of everything that is played, against the source."""
    result = platform.command("verify", video.id, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    findings = json.loads(result.stdout)
    assert {item["subject"] for item in findings} >= {
        "timeline",
        "digests",
        "source",
        "720p: decoded",
        "audio-0: joins",
    }


def test_a_damaged_segment_is_found(platform: Platform, video: Video) -> None:
    """One flipped bit in one stored object: the digest tells, and the exit status says so."""
    segment = next(
        path for path in sorted((platform.data / "outputs" / video.id).rglob("*.m4s")) if "240p" in str(path)
    )
    content = segment.read_bytes()
    segment.chmod(0o600)
    try:
        segment.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        result = platform.command("verify", video.id)
    finally:
        segment.write_bytes(content)
    assert result.returncode == 1
    assert "has other bytes" in result.stdout


def test_the_command_line_shows_it(platform: Platform, video: Video) -> None:
    """What a person asks for first: state, ladder, tasks, history, an address."""
    shown = platform.command("show", video.id)
    assert shown.returncode == 0, shown.stderr
    words = ("ready", "720p", "1280x720", "transcode 0", "publish 0", "upload_completed")
    found = ("FOUND", "h264 1280x720, 25 frames/s", "DECIDED", "132 frames", "CRF 23")
    for word in (*words, *found):
        assert word in shown.stdout
    assert video.id in platform.command("videos").stdout
    address = platform.command("play-url", video.id).stdout.strip()
    assert httpx.get(address).status_code == 200


def test_the_same_bytes_again_are_the_same_video(platform: Platform, video: Video, clips: Path) -> None:
    """Nothing is sent or processed a second time."""
    with platform.client() as client:
        again = client.upload(clips / "bigbuckbunny.mp4")
    assert (again.id, again.duplicate) == (video.id, True)


def test_a_file_that_is_no_video_fails_with_a_reason(platform: Platform, tmp_path: Path) -> None:
    """The uploader is told by a stable code; the exit status says so to a script."""
    file = tmp_path / "letter.mp4"
    file.write_text("Dear video,\n" * 1000)
    result = platform.command("upload", str(file), "--wait", "--json")
    assert result.returncode == 1
    (video,) = json.loads(result.stdout)
    assert (video["state"], video["error"]["code"]) == ("failed", "media_not_recognised")


def test_the_log_alone_tells_its_story(platform: Platform, video: Video) -> None:
    """From the first byte to the last one played, each fact under its own name and with the video's id."""
    assert video.playback is not None
    assert playback.frames(playback.hls_variants(video.playback.hls)["240p"]) == FRAMES
    # A served segment's line waits for others a moment.
    eventually(lambda: platform.log("segment_served", video_id=video.id), "what was served is told")
    told = [line["event"] for line in platform.log(video_id=video.id)]
    chapters = [
        "video_created", "video_upload_completed", "source_inspected", "plan_decided", "source_scanned", "chunk_encoded",
        "timeline_published", "video_frozen", "segment_served",
    ]  # fmt: skip
    positions = [told.index(chapter) for chapter in chapters]
    assert positions == sorted(positions)


def test_every_service_tells_its_figures(platform: Platform, video: Video) -> None:
    """Requests where they are answered; stages, speed and waiting work where videos are processed."""
    web = platform.get("/metrics").text
    assert "penstock_http_request_seconds_bucket" in web
    assert 'penstock_build_info{node="' in web
    port = platform.log("service_ready", service="processing")[-1]["port"]
    figures = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    for name in (
        "stage_seconds",
        "tasks",
        "work_waiting_seconds",
        "encode_speed",
        "processing_bytes_stored_total",
    ):
        assert f"\npenstock_{name}" in figures


def test_deleting_it_ends_playback(platform: Platform, video: Video) -> None:
    """The library forgets it at once; players are told within the time that a timeline may be remembered."""
    with platform.client() as client:
        assert video.playback is not None
        assert httpx.get(video.playback.hls).status_code == 200
        assert playback.hls_frames(video.playback.hls) == dict.fromkeys(RUNGS, FRAMES)
        client.delete(video.id)
        assert client.status(video.id).state == "deleted"
        assert client.video(video.id).playback is None
        assert video.id not in {item.id for item in client.videos().items}
    for address in (video.playback.hls, video.playback.dash):
        eventually(lambda url=address: httpx.get(url).status_code == 404, "players are told")  # type: ignore[misc]
        refusal = httpx.get(address).json()
        assert (refusal["status"], refusal["code"]) == (404, "video_deleted")
