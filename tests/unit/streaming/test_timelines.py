"""The newest timeline of a generation, from a real folder store and a clock that the tests turn."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from penstock.storage.local import LocalStore
from penstock.storage.store import ObjectInfo
from penstock.streaming.config import StreamingConfig
from penstock.streaming.problems import VideoDeleted, VideoFailed, VideoNotReady
from penstock.streaming.timelines import Timelines
from penstock.video import keys
from penstock.video.errors import StorageUnavailable
from penstock.video.timeline import Timeline, TimelineMalformed, TimelineState, encode
from tests.unit.manifests import timelines as make

VIDEO, GENERATION = make.VIDEO_ID, make.GENERATION_ID
FINAL = make.timeline([make.video(count=6), make.audio(durations=(188 * 1024,) * 6)])


class Store(LocalStore):
    """A folder store that counts its listings, can hold them up, and can be out of order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listings = 0
        self.broken = False
        self.listed = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    @override
    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        self.listings += 1
        if self.broken:
            raise StorageUnavailable("The store does not answer.")
        found = list(super().list(prefix, start_after=start_after))
        self.listed.set()
        assert self.gate.wait(30)
        return iter(found)

    def publish(self, timeline: Timeline) -> None:
        """Puts a version where readers look for it."""
        self.put(keys.timeline(timeline.video_id, timeline.generation_id, timeline.version), encode(timeline))


class Clock:
    """Seconds, turned by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """The time it is."""
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of its own."""
    return Store(tmp_path / "outputs")


@pytest.fixture
def clock() -> Clock:
    """A clock of its own."""
    return Clock()


@pytest.fixture
def timelines(store: Store, clock: Clock) -> Timelines:
    """The cache under test."""
    return Timelines(store, StreamingConfig(node="n"), clock=clock)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs one scenario in a loop of its own."""
    asyncio.run(scenario())


def test_nothing_published_is_not_ready_and_is_asked_again_within_a_second(
    store: Store, clock: Clock, timelines: Timelines
) -> None:
    """Many early viewers cost one listing a second, and the first version is seen as soon."""

    async def scenario() -> None:
        for _ in range(5):
            with pytest.raises(VideoNotReady) as refusal:
                await timelines.for_manifest(VIDEO, GENERATION)
            assert refusal.value.retry_after == 2
        assert store.listings == 1
        store.publish(make.growth(FINAL, 3)[0])
        clock.now += 1.1
        assert (await timelines.for_manifest(VIDEO, GENERATION)).timeline.version == 1

    run(scenario)


def test_the_highest_version_counts_and_is_found_from_the_known_one(
    store: Store, clock: Clock, timelines: Timelines
) -> None:
    """Versions may be skipped; a growing one is looked after each second, a frozen one each minute."""

    async def scenario() -> None:
        *growing, frozen = make.growth(FINAL, 6)
        for version in growing[:3]:
            store.publish(version)
        assert (await timelines.for_manifest(VIDEO, GENERATION)).timeline == growing[2]
        store.publish(growing[3])
        store.publish(growing[4])
        clock.now += 0.9
        assert (await timelines.for_manifest(VIDEO, GENERATION)).timeline == growing[2]
        clock.now += 0.2
        assert (await timelines.for_manifest(VIDEO, GENERATION)).timeline == growing[4]
        store.publish(frozen)
        clock.now += 1.1
        assert (await timelines.for_manifest(VIDEO, GENERATION)).timeline == frozen
        before = store.listings
        clock.now += 59
        await timelines.for_manifest(VIDEO, GENERATION)
        assert store.listings == before
        clock.now += 2
        await timelines.for_manifest(VIDEO, GENERATION)
        assert store.listings == before + 1

    run(scenario)


def test_a_known_segment_needs_no_look_while_the_timeline_grows(
    store: Store, clock: Clock, timelines: Timelines
) -> None:
    """What is published stays published; only a tombstone matters, and that within a minute."""

    async def scenario() -> None:
        first = make.growth(FINAL, 3)[0]
        store.publish(first)
        await timelines.for_object(VIDEO, GENERATION)
        clock.now += 59
        await timelines.for_object(VIDEO, GENERATION)
        assert store.listings == 1
        store.publish(replace(first, version=9, state=TimelineState.DELETED))
        clock.now += 2
        with pytest.raises(VideoDeleted):
            await timelines.for_object(VIDEO, GENERATION)

    run(scenario)


def test_many_askers_share_one_look(store: Store, timelines: Timelines) -> None:
    """A thousand players that arrive together cost one listing."""

    async def scenario() -> None:
        store.publish(FINAL)
        found = await asyncio.gather(*(timelines.for_manifest(VIDEO, GENERATION) for _ in range(1000)))
        assert store.listings == 1
        assert all(publication is found[0] for publication in found)

    run(scenario)


def test_newest_does_not_trust_a_look_that_began_before(
    store: Store, clock: Clock, timelines: Timelines
) -> None:
    """A look under way may have listed too early; who asks for the newest gets one that began after the question."""

    async def scenario() -> None:
        first, second = make.growth(FINAL, 6)[:2]
        store.publish(first)
        store.gate.clear()
        early = asyncio.create_task(timelines.for_object(VIDEO, GENERATION))
        assert await asyncio.to_thread(store.listed.wait, 30)
        store.publish(second)
        clock.now += 0.1
        newest = asyncio.create_task(timelines.newest(VIDEO, GENERATION))
        await asyncio.sleep(0)
        store.gate.set()
        assert (await early).timeline == first
        assert (await newest).timeline == second
        assert store.listings == 2

    run(scenario)


def test_a_cancelled_asker_does_not_cancel_the_look_of_the_others(store: Store, timelines: Timelines) -> None:
    """A client that goes away leaves the look to those who wait with it."""

    async def scenario() -> None:
        store.publish(FINAL)
        store.gate.clear()
        gone = asyncio.create_task(timelines.for_manifest(VIDEO, GENERATION))
        stays = asyncio.create_task(timelines.for_manifest(VIDEO, GENERATION))
        assert await asyncio.to_thread(store.listed.wait, 30)
        gone.cancel()
        store.gate.set()
        assert (await stays).timeline == FINAL

    run(scenario)


def test_what_is_known_outlives_the_store(store: Store, clock: Clock, timelines: Timelines) -> None:
    """While the store does not answer, viewers of known timelines go on; others are told to come back."""

    async def scenario() -> None:
        store.publish(FINAL)
        await timelines.for_manifest(VIDEO, GENERATION)
        store.broken = True
        clock.now += 100
        assert (await timelines.for_manifest(VIDEO, GENERATION)).timeline == FINAL
        with pytest.raises(StorageUnavailable):
            await timelines.for_manifest(VIDEO, VIDEO)

    run(scenario)


def test_a_version_is_never_unseen(store: Store, clock: Clock, timelines: Timelines) -> None:
    """A store that forgets, or lists late, does not bring an older version back."""

    async def scenario() -> None:
        first, second = make.growth(FINAL, 6)[:2]
        store.publish(first)
        store.publish(second)
        await timelines.newest(VIDEO, GENERATION)
        store.delete([keys.timeline(VIDEO, GENERATION, second.version)])
        clock.now += 5
        assert (await timelines.newest(VIDEO, GENERATION)).timeline == second

    run(scenario)


def test_a_retried_video_is_playable_again(store: Store, clock: Clock, timelines: Timelines) -> None:
    """A failed version is no last word: a retry may publish after it in the same generation."""

    async def scenario() -> None:
        first = make.growth(FINAL, 3)[0]
        store.publish(replace(first, state=TimelineState.FAILED))
        with pytest.raises(VideoFailed):
            await timelines.for_object(VIDEO, GENERATION)
        store.publish(replace(FINAL, version=2))
        clock.now += 1.1
        assert (await timelines.for_object(VIDEO, GENERATION)).timeline.version == 2

    run(scenario)


@pytest.mark.parametrize(
    "content", [b"", b"{}", encode(replace(FINAL, version=2)), encode(replace(FINAL, video_id="x"))]
)
def test_an_object_that_is_not_this_version_is_refused(
    store: Store, timelines: Timelines, content: bytes
) -> None:
    """Damage, or a version under another's key, is an error and nothing to play from."""

    async def scenario() -> None:
        store.put(keys.timeline(VIDEO, GENERATION, 1), content)
        with pytest.raises(TimelineMalformed):
            await timelines.for_manifest(VIDEO, GENERATION)

    run(scenario)


def test_memory_is_bounded_by_segments(store: Store, clock: Clock) -> None:
    """The timeline that nobody asked for longest is forgotten, and read again when somebody does."""

    async def scenario() -> None:
        weight = 1 + sum(len(track.segments) for track in FINAL.tracks)
        timelines = Timelines(store, StreamingConfig(node="n", timeline_memory=2 * weight), clock=clock)
        generations = [GENERATION[:-1] + last for last in "123"]
        for generation in generations:
            store.publish(replace(FINAL, generation_id=generation))
            await timelines.for_manifest(VIDEO, generation)
        assert store.listings == 3
        await timelines.for_manifest(VIDEO, generations[2])
        await timelines.for_manifest(VIDEO, generations[1])
        assert store.listings == 3
        await timelines.for_manifest(VIDEO, generations[0])
        assert store.listings == 4

    run(scenario)
