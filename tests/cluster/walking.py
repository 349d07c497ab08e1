"""A platform that is killed at named points while a story is told on it: what people ask for, as their programs ask for it.

A request whose answer never came is sent again, as every client does; what was asked for must then be so, once.
"""

import json
import os
import signal
import sqlite3
import struct
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg

from penstock.faults import Point
from tests.cluster.reader import Reader
from tests.cluster.running import Platform, eventually

QUICK: Mapping[str, str] = {
    "PLAN_MAX_RUNG": "240",
    "PLAN_GOP_SECONDS": "1",
    "PLAN_SEGMENT_GOPS": "1",
    "PROCESSING_HEARTBEAT": "0.5",
    "PROCESSING_SWEEP": "0.5",
    "PROCESSING_COLLECT": "0.3",
    "PROCESSING_RETRY_BASE": "0.1",
    "PROCESSING_PUBLISH_INTERVAL": "0.2",
    "PROCESSING_LOSSES_ALONE": "1000",
    "PROCESSING_LOSSES_DEAD": "1000",
    "STREAMING_GROWING_RECHECK": "0.2",
    "STREAMING_SETTLED_RECHECK": "1",
}


def make_clip(path: Path) -> None:
    """Three seconds of pictures and sound, as small as they may be: a first chunk and another."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error"]
    command += ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=3"]
    command += ["-f", "lavfi", "-i", "sine=frequency=440:duration=3"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True)


class Walk:
    """One platform, and the orders that are given to its processes."""

    def __init__(self, folder: Path, clip: bytes, settings: Mapping[str, str] | None = None) -> None:
        self.orders = folder / "orders"
        self.orders.mkdir()
        self._clip = clip
        self.platform = Platform(folder / "data", {**QUICK, **(settings or {}), "FAULTS": str(self.orders)})
        self._key = ""

    def start(self) -> None:
        """The platform serves; what was killed before starts again."""
        self.platform.start()
        self._key = (self.platform.data / "admin.key").read_text().strip()

    # -- orders

    def order_kill(self, point: Point, *, everything: bool = False) -> None:
        """Whoever comes to the point next is killed there, alone or with everything of this machine."""
        pids = [0]
        if everything:
            process = self.platform.process
            assert process is not None
            pids = [process.pid, self.platform.pids("web")[-1], self.platform.pids("processing")[-1]]
        order = self.orders / f"{point}.new"
        order.write_text("".join(f"kill {pid}\n" for pid in pids))
        order.rename(self.orders / point)

    def order_hold(self, point: Point) -> None:
        """Who comes to the point next waits there until it is let go."""
        order = self.orders / f"{point}.new"
        order.write_text("hold\n")
        order.rename(self.orders / point)

    def put_to_sleep(self, pid: int) -> None:
        """Stops a process, as SIGSTOP does, while it holds no lock of the records: nobody could go on then."""

        def stopped() -> bool:
            os.kill(pid, signal.SIGSTOP)
            with closing(sqlite3.connect(self.platform.data / "penstock.db", timeout=1)) as records:
                try:
                    records.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    os.kill(pid, signal.SIGCONT)
                    return False
                return True

        eventually(stopped, "it sleeps without a lock")

    def wake(self, pid: int, point: Point) -> None:
        """Lets a sleeper go on, from the point where it was held."""
        os.kill(pid, signal.SIGCONT)
        self.orders.joinpath(f"{point}.taken-by-{pid}").unlink()

    def taken_by(self, point: Point) -> int | None:
        """The process that came by and carried the order out."""
        return next(
            (int(each.name.rpartition("-")[2]) for each in self.orders.glob(f"{point}.taken-by-*")), None
        )

    def carried_out(self, point: Point) -> bool:
        """Whether somebody came by and was killed."""
        return self.taken_by(point) is not None

    def passed(self) -> set[Point]:
        """Points that any process of it has come to, killed or not."""
        return {Point(each.name) for each in (self.orders / "passed").iterdir()}

    def ended(self) -> bool:
        """Whether the whole platform is gone."""
        return self.platform.process is not None and self.platform.process.poll() is not None

    def start_again(self) -> None:
        """After everything was killed."""
        assert self.platform.process is not None
        assert self.platform.process.stdout is not None
        self.platform.process.stdout.close()
        self.start()

    # -- what people ask for

    def ask(self, method: str, path: str, *expect: int, **request: Any) -> Any:
        """Asks again and again until there is an answer, whoever was killed meanwhile."""
        got = eventually(lambda: self.try_once(method, path, **request), f"{method} {path} is answered")
        assert got.status_code in expect, (got.status_code, got.text)
        return got.json() if got.content else None

    def try_once(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """One request with the administrator's key; None where nobody could answer it just now."""
        if self.ended():
            self.start_again()
        headers = {"authorization": f"Bearer {self._key}", **request.pop("headers", {})}
        try:
            got = httpx.request(method, self.platform.url + path, headers=headers, timeout=60, **request)
        except httpx.TransportError:
            return None
        return None if got.status_code == 503 else got

    def upload(self, content: bytes | None = None) -> str:
        """The id of the video that was acknowledged: a session, its one part, its completion."""
        if content is None:
            content = self.another_clip()
        session = self.ask(
            "POST",
            "/api/uploads/initiate",
            201,
            json={"filename": "clip.mp4", "size": len(content), "transport": "put", "visibility": "public"},
        )
        path = session["url"].removeprefix(self.platform.url)
        self.ask("PUT", path[path.index("/api") :], 200, content=content)
        video_id: str = self.ask(
            "POST", "/api/uploads/complete", 200, json={"upload_id": session["upload_id"]}
        )["id"]
        return video_id

    def another_clip(self, more: int = 16) -> bytes:
        """The same clip, and no duplicate: a box of ``more`` bytes that says nothing."""
        return self._clip + struct.pack(">I4s", 8 + more, b"free") + os.urandom(more)

    def await_state(self, video_id: str, state: str) -> None:
        """Until the video says so."""
        eventually(
            lambda: self.ask("GET", f"/api/videos/{video_id}", 200)["state"] == state,
            f"the video is {state}",
        )

    def reader(self, video_id: str) -> Reader:
        """A player of this video, at work."""
        return Reader(lambda: self.platform.url, video_id).start()

    def faults(self) -> list[dict[str, Any]]:
        """What ``penstock fsck --deep`` finds."""
        done = self.platform.command("fsck", "--deep", "--json")
        assert done.returncode in {0, 1}, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["faults"]
        return found


# -- the stories, each of which comes by some of the points


def arrive(walk: Walk, kill: Callable[[], None]) -> None:
    """A video is uploaded and becomes ready."""
    kill()
    video_id = walk.upload()
    reader = walk.reader(video_id)
    walk.await_state(video_id, "ready")
    reader.stop()
    assert reader.wrong == []
    assert reader.versions > 0


def fail(walk: Walk, kill: Callable[[], None]) -> None:
    """What is no video is refused, and told."""
    kill()
    walk.await_state(walk.upload(os.urandom(500)), "failed")


def retry(walk: Walk, kill: Callable[[], None]) -> None:
    """A failed video is tried again, once for each time it was asked for when it had failed."""
    video_id = walk.upload(os.urandom(500))
    walk.await_state(video_id, "failed")
    kill()
    walk.ask(
        "POST", f"/api/videos/{video_id}/retry", 202, 409
    )  # 409: recorded before, and the answer was lost
    walk.await_state(video_id, "failed")
    history = walk.ask("GET", f"/api/status/{video_id}/events", 200)["items"]
    steps = [line["event"] for line in history if not line["event"].startswith(("generation", "task"))]
    # Asked again because the answer was lost, it may have failed for the second time by then.
    again = (len(steps) - 3) // 2
    assert again in {1, 2}
    assert steps == ["created", "upload_completed", "failed", *["retried", "failed"] * again]


def delete(walk: Walk, kill: Callable[[], None]) -> None:
    """A ready video is deleted: players are told, its source goes."""
    video_id = walk.upload()
    walk.await_state(video_id, "ready")
    reader = walk.reader(video_id)
    eventually(lambda: reader.versions, "somebody plays it")
    reader.expect_end()
    kill()
    walk.ask("DELETE", f"/api/videos/{video_id}", 204)
    walk.await_state(video_id, "deleted")
    reader.stop()
    assert reader.wrong == []
    sources = walk.platform.data / "sources" / video_id

    def collected() -> bool:
        walk.ask(
            "GET", "/api/videos", 200
        )  # if all was killed since it answered, nobody else starts it again
        return not sources.exists()

    eventually(collected, "its source is collected")


def take_over(walk: Walk, kill: Callable[[], None]) -> None:
    """A worker dies in the middle of a chunk, and so does the one that takes its work over."""
    walk.order_kill(Point.ENCODE_BEGUN)
    arrive(walk, kill)


STORIES: Mapping[str, Callable[[Walk, Callable[[], None]], None]] = {
    "failure": fail,
    "retry": retry,
    "delete": delete,
    "entomb": delete,
    "collect": delete,
    "takeover": take_over,
}


def story(point: Point) -> Callable[[Walk, Callable[[], None]], None]:
    """What comes by a point."""
    return STORIES.get(point.partition(".")[0], arrive)
