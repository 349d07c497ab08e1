"""Processes killed at the worst moment, as a user's machine would: what goes on, what is done again, what is not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from penstock.client import Client
from scripts import playback
from tests.cluster.conftest import Starter
from tests.cluster.running import Platform, descendants, eventually, running

FRAMES = 1250  # of the long clip: 100 s at 12.5
SMALL = {"PLAN_MAX_RUNG": "360"}  # two rungs, so that a test takes seconds


def chunks(client: Client, video_id: str) -> dict[int, dict[str, Any]]:
    """Its encodes by number, as the status tells an administrator."""
    generation = client.details(video_id)["generation"]
    return (
        {task["index"]: task for task in generation["tasks"] if task["kind"] == "transcode"}
        if generation
        else {}
    )


def under_way(client: Client, video_id: str) -> tuple[set[int], set[int]]:
    """Finished and running chunks."""
    tasks = chunks(client, video_id)
    done = {index for index, task in tasks.items() if task["state"] == "done"}
    busy = {index for index, task in tasks.items() if task["state"] == "claimed"}
    return done, busy


def test_a_killed_worker_loses_only_what_it_was_doing(start: Starter, long_clip: Path) -> None:
    """After kill -9 in mid-encode the successor takes over at once; what was finished is not encoded again."""
    platform = start(SMALL)
    with platform.client() as client:
        video_id = client.upload(long_clip).id
        eventually(lambda: all(under_way(client, video_id)), "some chunks are finished and others running")
        os.kill(platform.pids("processing")[-1], signal.SIGSTOP)  # or it would begin another after the look
        done, busy = under_way(client, video_id)
        killed = platform.kill("processing")
        assert client.wait(video_id).state == "ready"
        attempts = {index: task["attempt"] for index, task in chunks(client, video_id).items()}
        video = client.video(video_id)
    assert {index for index, attempt in attempts.items() if attempt > 1} <= busy
    assert all(attempts[index] == 1 for index in done)
    assert platform.pids("processing")[-1] != killed
    assert video.playback is not None
    assert playback.hls_frames(video.playback.hls) == {"240p": FRAMES, "360p": FRAMES}
    assert platform.command("verify", video_id).returncode == 0


def test_media_processes_die_with_their_worker(start: Starter, long_clip: Path) -> None:
    """Nothing goes on encoding for a worker that is gone."""
    platform = start(SMALL)
    with platform.client() as client:
        video_id = client.upload(long_clip).id
        eventually(lambda: all(under_way(client, video_id)), "an encode is running")
        worker = platform.pids("processing")[-1]
        tools = eventually(lambda: [pid for pid, _ in descendants(worker)], "a media process is running")
        platform.kill("processing")
        eventually(lambda: not any(map(running, tools)), "its media processes are gone")


def test_a_killed_web_process_comes_back_for_everybody(start: Starter, long_clip: Path) -> None:
    """A client that follows goes on, requests in between wait instead of failing, and processing never notices."""
    platform = start(SMALL)
    with platform.client() as client:
        video_id = client.upload(long_clip).id
        statuses = client.follow(video_id)
        next(status for status in statuses if status.playable)
        platform.kill("web")
        assert platform.get("/health").status_code == 200
        assert [status.state for status in statuses][-1] == "ready"
    assert len(platform.pids("processing")) == 1


def test_playback_needs_neither_database_nor_workers(start: Starter, clips: Path) -> None:
    """With the records gone and nothing else running, the streaming service alone plays what was published."""
    platform = start(SMALL)
    with platform.client() as client:
        video = client.video(client.wait(client.upload(clips / "bigbuckbunny.mp4").id).id)
    assert video.playback is not None
    platform.stop()
    for file in platform.data.glob("penstock.db*"):
        file.unlink()
    port = platform.url.rpartition(":")[2]
    streaming = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "serve", "streaming", "--port", port], env=platform.environment
    )
    try:
        eventually(lambda: answers(f"{platform.url}/health"), "the streaming service serves")
        assert playback.hls_frames(video.playback.hls) == {"240p": 132, "360p": 132}
        assert not list(platform.data.glob("penstock.db*"))
    finally:
        streaming.send_signal(signal.SIGTERM)
        assert streaming.wait(60) == 0


def answers(url: str) -> bool:
    """Whether anything does there."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def test_an_orderly_stop_leaves_nothing_running_and_nothing_lost(start: Starter, long_clip: Path) -> None:
    """Stopped in mid-encode it ends with status 0 and no process behind it; the next start goes on where it was."""
    platform = start(SMALL)
    with platform.client() as client:
        video_id = client.upload(long_clip).id
        eventually(lambda: all(under_way(client, video_id)), "some chunks are finished and others running")
        done, _ = under_way(client, video_id)
    assert platform.process is not None
    below = [pid for pid, _ in descendants(platform.process.pid)]
    assert platform.stop() == 0
    assert not any(map(running, below))
    platform.start()
    with platform.client() as client:
        assert client.wait(video_id).state == "ready"
        tasks = chunks(client, video_id)
    assert all(tasks[index]["attempt"] == 1 for index in done)
    assert not any(task["losses"] or task["failures"] for task in tasks.values())


def test_a_killed_supervisor_takes_everything_with_it(start: Starter) -> None:
    """After kill -9 of the parent its children end, and the folder can be used again without any repair."""
    platform = start()
    children = platform.pids("web") + platform.pids("processing")
    assert platform.process is not None
    platform.process.kill()
    platform.process.wait()
    eventually(lambda: not any(map(running, children)), "the children ended by themselves")
    assert platform.process.stdout is not None
    platform.process.stdout.close()
    platform.start()
    assert platform.get("/health").status_code == 200


def test_a_second_start_on_the_same_data_is_told_of_the_first(start: Starter) -> None:
    """Nothing is started; the text names the process and its address."""
    platform = start()
    second = platform.command("up", "--port", "0")
    assert platform.process is not None
    assert (second.returncode, second.stdout) == (3, "")
    assert "already_running" in second.stderr
    assert f"process {platform.process.pid}, at {platform.url}" in second.stderr
    assert platform.get("/health").status_code == 200


def test_a_busy_port_names_the_remedy(start: Starter, tmp_path: Path) -> None:
    """Nothing is started; the text says which option to use."""
    platform = start()
    other = Platform(tmp_path / "other")
    refused = other.command("up", "--port", platform.url.rpartition(":")[2])
    assert refused.returncode == 3
    assert "port_busy" in refused.stderr
    assert "--port" in refused.stderr


def test_deleting_a_video_ends_its_work_at_once(start: Starter, long_clip: Path) -> None:
    """The encodes are killed, nothing of it stays queued, and the worker goes on with others."""
    platform = start(SMALL)
    with platform.client() as client:
        video_id = client.upload(long_clip).id
        eventually(lambda: all(under_way(client, video_id)), "an encode is running")
        worker = platform.pids("processing")[-1]
        client.delete(video_id)
        eventually(lambda: not list(descendants(worker)), "its media processes are gone")
        states = {task["state"] for task in chunks(client, video_id).values()}
    assert "claimed" not in states
    assert "queued" not in states


def test_an_interrupted_command_ends_quietly(start: Starter, long_clip: Path) -> None:
    """Ctrl-C while waiting: status 130, no stack trace, and the server goes on with the video."""
    platform = start(SMALL)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "upload", str(long_clip), "--wait"],
        env=platform.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    eventually(lambda: platform.log("source_inspected"), "the video is being processed")
    waiting.send_signal(signal.SIGINT)
    said, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert "Traceback" not in said
    encoded = len(platform.log("chunk_encoded"))
    with platform.client() as client:
        (video,) = client.videos().items
        eventually(
            lambda: (
                len(platform.log("chunk_encoded")) > encoded or client.details(video.id)["state"] == "ready"
            ),
            "the next chunk is encoded",
        )


def test_an_idle_platform_is_small(start: Starter) -> None:
    """All of its processes together stay below 300 MB of memory."""
    platform = start()
    assert platform.process is not None
    pids = [platform.process.pid, *(pid for pid, _ in descendants(platform.process.pid))]
    assert len(pids) == 3
    occupied = sum(int(line.split()[1]) for pid in pids for line in _memory(pid) if line.startswith("Pss:"))
    assert 0 < occupied < 300_000  # kB


def _memory(pid: int) -> list[str]:
    """A process's memory as the kernel adds it up; what several share counts in equal shares (PSS)."""
    return Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()


def test_the_command_line_says_what_is_wrong_here(start: Starter, tmp_path: Path) -> None:
    """The doctor finds the running server, and a folder that cannot be written is a fault with a remedy."""
    platform = start()
    environment = {**platform.environment, "PENSTOCK_PORT": platform.url.rpartition(":")[2]}
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    findings = {item["subject"]: item for item in json.loads(done.stdout)}
    assert done.returncode == 0
    assert "Penstock is running there" in findings["port"]["detail"]
    assert findings["media tools"]["verdict"] == "ok"
    file = tmp_path / "not-a-folder"
    file.touch()
    broken = platform.command("doctor", "--storage", f"file://{file}")
    assert broken.returncode == 1
    assert os.linesep in broken.stdout
