"""`make demo`: one real clip all the way, with a worker killed on the way, and the result checked by FFmpeg.

Ends with an address to watch it at and stays up until Ctrl-C; with DEMO_EXIT=1 it ends with its verdict. Everything it makes lies
in one temporary folder. It talks to Penstock as any client does: the command that starts it, and HTTP.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from penstock.client import Client, ClientError  # noqa: E402 - found by the line above, wherever this is started from
from scripts import playback  # noqa: E402

CLIP = ROOT / "tests" / "media" / "bigbuckbunny.mp4"
SECONDS = 120
RATE = 25  # of the clip, frames/s
PATIENCE = 1800.0  # seconds; two minutes of video take about one on two free cores
LOOK = 0.3  # seconds between two looks at the status


class DemoFailed(Exception):
    """Something is not as promised; the message says what."""


@dataclass
class Story:
    """What happened, in seconds after the upload was acknowledged."""

    acknowledged: float = 0.0
    playable: float | None = None
    ready: float | None = None
    killed: float | None = None
    finished_before: set[int] = field(default_factory=set)
    running_then: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=dict)

    def now(self) -> float:
        """Seconds since the acknowledgement."""
        return time.monotonic() - self.acknowledged


class Instance:
    """`penstock up` in a folder, as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "penstock.log"
        environment = {
            # A user's own settings are for the user's own instance.
            **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
            "PENSTOCK_DATA": str(folder / "data"),
            "PENSTOCK_LOG_FILE": str(self.log),
            "PENSTOCK_PORT": os.environ.get("PENSTOCK_PORT", "0"),
        }
        command = [sys.executable, "-m", "penstock.cli", "up"]
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if not first.startswith("Penstock is up at "):
            self._process.wait()
            raise DemoFailed(f"Penstock did not start: {first.strip()} (log: {self.log})")
        self.url = first.split()[-1]

    def client(self) -> Client:
        """With the administrator's key."""
        return Client(self.url, api_key=(self.folder / "data" / "admin.key").read_text().strip())

    def worker(self) -> int:
        """The pid of the processing process."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return int(
            [
                line["pid"]
                for line in lines
                if line["event"] == "process_started" and line["process"] == "processing"
            ][-1]
        )

    def complaints(self) -> list[str]:
        """The last warnings and errors of its log."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if json.loads(line)["level"] in {"warning", "error"}][-10:]

    def stop(self) -> None:
        """Ends it as Ctrl-C does."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def say(text: str = "") -> None:
    """One line, at once."""
    print(text, flush=True)


def main() -> int:
    """The verdict: 0 where everything is as promised."""
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # ends it as Ctrl-C does, with everything it started
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as name:
        folder = Path(name)
        say(f"looping {CLIP.name} to {SECONDS} s ...")
        source = make_source(folder)
        began = time.monotonic()
        instance = Instance(folder)
        try:
            say(
                f"Penstock is up at {instance.url} after {time.monotonic() - began:.1f} s, its data in {folder}"
            )
            try:
                watch = run(instance, source)
            except (ClientError, DemoFailed, playback.PlaybackWrong) as error:
                say(f"\nDEMO FAILED: {error}")
                say("\n".join(instance.complaints()))
                return 1
            say(f"\nEverything is as promised. Watch it: {watch}")
            if not os.environ.get("DEMO_EXIT"):
                say("Ctrl-C ends it and removes its data.")
                signal.pause()
        except KeyboardInterrupt:
            say()
        finally:
            instance.stop()
    return 0


def make_source(folder: Path) -> Path:
    """The clip again and again: a real picture and real sound, long enough for chunks to run in parallel."""
    path = folder / "demo.mp4"
    command = [
        *(playback.FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "error"),
        *("-stream_loop", "-1", "-i", str(CLIP), "-t", str(SECONDS), "-map", "0:v:0", "-map", "0:a:0"),
        # Encoded, not copied: the clip's sound is longer than its picture, and copies would join with a stumble.
        *("-r", str(RATE), "-c:v", "libx264", "-preset", "superfast", "-crf", "24"),
        *("-c:a", "aac", "-b:a", "192k", "-ac", "2", str(path)),
    ]
    subprocess.run(command, check=True)
    return path


def run(instance: Instance, source: Path) -> str:
    """Upload, kill, ready, check. Returns the address to watch it at."""
    with instance.client() as client:
        began = time.monotonic()
        uploaded = client.upload(source, title="Penstock demo", visibility="unlisted")
        size = source.stat().st_size / 1e6
        say(f"\nuploaded {size:.0f} MB in {time.monotonic() - began:.1f} s: video {uploaded.id}")
        story = Story(acknowledged=time.monotonic())
        watch_over(client, uploaded.id, instance, story)
        video = client.video(uploaded.id)
        assert video.playback is not None
        say(
            f"\nstage timings: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in video.timings.items())}"
        )
        report_kill(story)
        check(source, video.playback.hls, video.playback.dash)
        return video.watch_url or instance.url


def watch_over(client: Client, video_id: str, instance: Instance, story: Story) -> None:
    """Looks until the video is ready, and kills the worker once when some chunks are done and others under way."""
    while story.now() < PATIENCE:
        details = client.details(video_id)
        chunks = {
            task["index"]: task
            for task in (details.get("generation") or {}).get("tasks", ())
            if task["kind"] == "transcode"
        }
        if details["playable"] and story.playable is None:
            story.playable = story.now()
            say(f"{story.now():6.1f} s  playable, {details['progress']:.0%} done")
        if story.killed is None:
            kill_worker(chunks, instance, story)
        if details["state"] == "failed":
            raise DemoFailed(f"the video failed: {details['error']}")
        if details["state"] == "ready":
            story.ready = story.now()
            story.attempts = {index: task["attempt"] for index, task in chunks.items()}
            say(f"{story.ready:6.1f} s  ready")
            return
        time.sleep(LOOK)
    raise DemoFailed(f"not ready after {PATIENCE:.0f} s")


def kill_worker(chunks: Mapping[int, Mapping[str, Any]], instance: Instance, story: Story) -> None:
    """End it as kill -9 does, once at least two chunks are finished and one is well under way."""
    done = {index for index, task in chunks.items() if task["state"] == "done"}
    running = {index for index, task in chunks.items() if task["state"] == "claimed"}
    if len(done) < 2 or not any(chunks[index]["progress"] > 0.2 for index in running):
        return
    story.finished_before, story.running_then, story.killed = done, running, story.now()
    pid = instance.worker()
    os.kill(pid, signal.SIGKILL)
    say(
        f"{story.killed:6.1f} s  killed the worker (kill -9 {pid}): chunks {listed(done)} were finished, "
        f"{listed(running)} under way"
    )


def report_kill(story: Story) -> None:
    """What was done again: only what was under way."""
    if story.killed is None:
        raise DemoFailed("the video was ready before the worker could be killed; is this machine that fast?")
    again = {index for index, attempt in story.attempts.items() if attempt > 1}
    say(f"done again after the kill: {listed(again)}; each other chunk was encoded once")
    if again & story.finished_before:
        raise DemoFailed(f"finished chunks were encoded again: {listed(again & story.finished_before)}")
    if not again:
        raise DemoFailed("nothing was done again, so the kill hit no running chunk")


def check(source: Path, hls: str, dash: str) -> None:
    """Decodes both manifests whole with FFmpeg: frames of every rung, and picture and sound against the source."""
    expected = SECONDS * RATE
    say(f"\ndecoding everything with FFmpeg; each rung must have {expected} frames")
    for name, counts in (("HLS", playback.hls_frames(hls)), ("DASH", playback.dash_frames(dash))):
        say(f"  {name:<5} {', '.join(f'{rung} {count}' for rung, count in counts.items())}")
        if not counts or set(counts.values()) != {expected}:
            raise DemoFailed(f"{name} does not have {expected} frames in every rung")
    frame = 1 / RATE
    for name, url in (("HLS", hls), ("DASH", dash)):
        offsets = playback.offsets(str(source), url, str(RATE))
        apart = offsets.sound - offsets.picture
        ends = ending(url)
        say(
            f"  {name:<5} sound is {apart * 1000:+.1f} ms from the picture (a frame lasts {frame * 1000:.0f} ms); "
            f"picture ends at {ends[0]:.3f} s, sound at {ends[1]:.3f} s"
        )
        if abs(apart) > frame or abs(offsets.picture) > frame:
            raise DemoFailed(f"{name}: picture or sound is more than a frame off")
        if abs(ends[0] - SECONDS) > frame or not -frame <= ends[1] - SECONDS <= 2 * 1024 / 48000 + frame:
            raise DemoFailed(f"{name}: picture or sound does not end where the source does")


def ending(url: str) -> tuple[float, float]:
    """When the decoded picture and the decoded sound end, in seconds."""
    pictures = re.findall(r"pts_time:\s*([0-9.]+)", decoded(url, "-map", "0:v:0", "-vf", "showinfo"))
    sounds = re.findall(
        r"pts_time:\s*([0-9.]+).*?rate:(\d+) nb_samples:(\d+)",
        decoded(url, "-map", "0:a:0", "-af", "ashowinfo"),
    )
    return (
        max(float(at) for at in pictures) + 1 / RATE,
        max(float(at) + int(samples) / int(rate) for at, rate, samples in sounds),
    )


def decoded(url: str, *arguments: str) -> str:
    """What FFmpeg says while it decodes one stream whole."""
    command = [
        playback.FFMPEG,
        "-hide_banner",
        "-nostdin",
        "-copyts",
        "-i",
        url,
        *arguments,
        "-f",
        "null",
        "-",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def listed(numbers: set[int]) -> str:
    """``0, 1 and 4``."""
    words = [str(number) for number in sorted(numbers)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "none"


if __name__ == "__main__":
    sys.exit(main())
