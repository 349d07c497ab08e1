"""A stage to play from: a store with published objects, a key ring, nodes that serve them, and what they logged."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from penstock.access.keyring import Keyring
from penstock.access.playback import PlaybackGrant, mint
from penstock.storage.local import LocalStore
from penstock.video import keys
from penstock.video.identity import new_id
from penstock.video.timeline import Artefact, Segment, Timeline, Track, encode
from tests.unit.manifests import timelines as make

PATIENCE = 30.0  # seconds until something that must happen is given up on
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Node:
    """A running streaming node."""

    base: str
    log: Path

    def lines(self, event: str, *, session: str | None = None, count: int = 0) -> list[dict[str, Any]]:
        """What it logged under this name (of one session), in order.

        An answer is logged when it is sent, so its client may have it first: ``count`` lines are waited for.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            found = [json.loads(line) for line in self.log.read_text().splitlines()]
            told = [
                line for line in found if line["event"] == event and session in {None, line.get("session_id")}
            ]
            if len(told) >= count:
                return told
            assert time.monotonic() < deadline, f"{len(told)} lines of {event}, {count} awaited"


class Stage:
    """A folder with objects and keys. Nothing in it is a database."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outputs = LocalStore(root / "outputs")
        self.keyring = Keyring(root / "keys.json")

    def publish(self, timeline: Timeline) -> None:
        """Puts a version where readers look for it."""
        key = keys.timeline(timeline.video_id, timeline.generation_id, timeline.version)
        self.outputs.put(key, encode(timeline))

    def token(self, timeline: Timeline, *, expires: float | None = None, **limits: Any) -> str:
        """A token for a timeline's generation, for one hour unless it is said otherwise."""
        return mint(
            self.keyring,
            PlaybackGrant(
                video_id=timeline.video_id,
                generation_id=timeline.generation_id,
                session_id=limits.pop("session_id", None) or new_id(),
                expires=int(expires if expires is not None else time.time() + 3600),
                **limits,
            ),
        )

    def path(self, timeline: Timeline, name: str, **limits: Any) -> str:
        """A playback path with a token of its own."""
        return f"/stream/{self.token(timeline, **limits)}/{timeline.video_id}/{timeline.generation_id}/{name}"

    @contextmanager
    def node(self, name: str = "north", **options: Any) -> Iterator[Node]:
        """A node that serves this stage, until the end of the block."""
        arguments = json.dumps({"root": str(self.root), "node": name, **options})
        command = [sys.executable, "-m", "tests.contract.streaming.node", arguments]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                port = process.stdout.readline().strip()
                assert port, "the node did not start"
                yield Node(f"http://127.0.0.1:{port}", self.root / f"{name}.log")
            finally:
                process.terminate()


def filled(stage: Stage, tracks: Sequence[Track], *, files: Sequence[str] = ()) -> Timeline:
    """A frozen timeline of a new video whose every object is in the store, with bytes that say which they are."""
    video_id, generation_id = new_id(), new_id()
    prefix = keys.attempt_prefix(video_id, new_id(), 1)

    def stored(key: str, size: int) -> str:
        data = (key.encode() * (size // len(key) + 1))[:size]
        stage.outputs.put(key, data)
        return sha256(data).hexdigest()[:32]

    def segment(track: Track, item: Segment) -> Segment:
        etag = stored(keys.media_segment(prefix, track.name, item.number), item.size)
        return replace(item, prefix=prefix, etag=etag)

    whole = []
    for track in tracks:
        key = keys.init_segment(prefix, track.name)
        init = replace(track.init, key=key, etag=stored(key, track.init.size))
        whole.append(
            replace(track, init=init, segments=tuple(segment(track, item) for item in track.segments))
        )
    artefacts = []
    for name in files:
        key = keys.artefact(prefix, name)
        artefacts.append(Artefact(name, key, 3000, stored(key, 3000), "image/jpeg"))
    timeline = make.timeline(whole)
    return replace(timeline, video_id=video_id, generation_id=generation_id, artefacts=tuple(artefacts))


def content(stage: Stage, timeline: Timeline, track: str, number: int) -> bytes:
    """The bytes of a published segment, from the store itself."""
    found = timeline.track(track)
    assert found is not None
    item = found.segment(number)
    assert item is not None
    return stage.outputs.get(found.key(item))


def until(answer: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """Asks again until the answer has this status, and gives up after :data:`PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while (response := answer()).status_code != status:
        assert time.monotonic() < deadline, f"still {response.status_code}: {response.text}"
    return response
