"""A seeded run of several processing rooms that get in each other's way, die, wake up as zombies and start again.

One thread, so a seed repeats exactly. Rooms reach a *step* at every fault point of the product, so around every object and
every transaction, and with every segment they encode; at a step the room may die, an error may come from outside, or others may act first: take any
task in any order, claim what is not to be had, reap, publish, collect, delete, retry, look at the timelines.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, update

from penstock import faults
from penstock.catalog import Catalog, CatalogConfig, generations, schema, videos
from penstock.catalog.database import open_engine
from penstock.catalog.words import TaskState
from penstock.processing.config import ProcessingConfig
from penstock.video.errors import PenstockError, StorageUnavailable, ToolFailed
from penstock.video.lifecycle import FINAL_GENERATION_STATES, GenerationState, VideoState
from tests.simulation import invariants
from tests.simulation.invariants import Reader
from tests.simulation.scripted import Script, ScriptedMedia
from tests.simulation.workshop import Room, Workshop, silence

_ROOMS = 3
_DEPTH = 3  # actions within actions
_DEATH, _FAULT, _OTHERS = 0.004, 0.004, 0.12  # chances per step


class Death(BaseException):
    """The process of a room ends here, as by ``kill -9``: nothing of it is caught or cleaned up by design."""


def repeatable(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Ids of the seed's own, and no thread beside this one."""
    source = random.Random(f"ids {seed}")
    numbers = itertools.count(1)
    monkeypatch.setattr("penstock.video.identity.secrets", SimpleNamespace(randbits=source.getrandbits))
    monkeypatch.setattr(
        "penstock.video.identity.time", SimpleNamespace(time_ns=lambda: next(numbers) * 1_000_000)
    )
    monkeypatch.setattr("penstock.processing.tasks.storing.ThreadPoolExecutor", InlineExecutor)


def hurried(folder: Path) -> Catalog:
    """The catalog of a folder, on a database that does not wait for the disk: processes are broken here, not machines."""
    engine = open_engine(CatalogConfig(f"sqlite:///{folder}/catalog.db"))

    @event.listens_for(engine, "connect")
    def _hurry(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    return Catalog(engine)


class InlineExecutor:
    """In place of a thread: what is submitted is done at once."""

    def __init__(self, **_: Any) -> None:
        pass

    def submit(self, function: Callable[..., None], *args: Any) -> Future[None]:
        """Runs it; an error waits in the future, a death does not."""
        future: Future[None] = Future()
        try:
            function(*args)
            future.set_result(None)
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future

    def shutdown(self, **_: Any) -> None:
        """Nothing is left to do."""


class Simulation:
    """One run. ``play`` as long as wanted, then ``heal`` and ``check``."""

    def __init__(self, seed: int, folder: Path, catalog: Catalog) -> None:
        self.random = random.Random(seed)
        config = ProcessingConfig(
            node="node-1",
            run_folder=folder,
            scratch_folder=folder,
            lease=3600.0,  # nobody dies of slowness; leases end by `silence`
            retry_base=0.0,
            publish_interval=0.0,
            losses_dead=1000,
            losses_alone=1000,
            delete_grace=0.0,
        )
        self.workshop = Workshop(folder, catalog, config=config)
        self._media = ScriptedMedia(step=self._step)
        faults.arm(lambda point: self._step(alone=point in faults.WITHIN_TRANSACTIONS))
        self._calm = True  # steps do nothing
        self._acting: list[Room] = []
        self.rooms: dict[int, Room] = {}
        self.scripts: dict[str, Script] = {}
        self._readers: dict[str, Reader] = {}
        self.deaths = 0
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (2, self._begin_video),
            (40, self._take_any),
            (6, self._claim_anything),
            (6, self._reap),
            (10, self._publish),
            (4, self._collect),
            (1, self._delete),
            (6, self._retry),
            (1, self._plan_anew),
            (2, self._fall_silent),
            (4, self._beat),
            (10, self._read),
        ]

    def play(self, actions: int) -> None:
        """So many random actions, with all that happens within them."""
        for _ in range(actions):
            self._act()

    def heal(self) -> None:
        """Nothing goes wrong any more; what is left is finished by one new room."""
        self._calm = True
        with self.workshop.catalog.write() as tx:  # the living and those that died and never came back
            tx.execute(update(schema.workers).values(lease_until=0))
        room = self.workshop.room(self._media, slot=_ROOMS)
        for _ in range(3):
            room.reaper.sweep()
            room.work()
            room.publisher.sweep()
            room.publisher.settle()
            for video_id in list(self.scripts):
                if (
                    self.workshop.video(video_id).state is VideoState.FAILED
                    and not self.scripts[video_id].refused
                ):
                    self._retry_one(video_id)
        self._read_all()
        with self.workshop.catalog.write() as tx:
            # As if every token had expired: entries are due, and tombstones stood as long as a token lives.
            tx.execute(update(schema.garbage).values(not_before=0))
            tx.execute(update(schema.generations).values(updated_at=0))
        while room.collector.sweep():
            pass
        self._read_all(living=True)

    def check(self) -> None:
        """Every invariant over all that happened."""
        for video_id, script in self.scripts.items():
            tasks = self.workshop.tasks(video_id)
            assert all(task.state in {TaskState.DONE, TaskState.DEAD} for task in tasks), tasks
            state = self.workshop.video(video_id).state
            if script.refused and state is not VideoState.DELETED:
                assert state is VideoState.FAILED
                assert self.workshop.video(video_id).error_code == script.refused
            elif state is not VideoState.DELETED:
                invariants.check_ready(self.workshop, video_id)
                assert self.workshop.video(video_id).truncated == (script.frames < script.header_frames)
            unfinished = [
                task
                for task in self.workshop.tasks(video_id)
                if task.state in {TaskState.QUEUED, TaskState.CLAIMED}
            ]
            assert not unfinished
        invariants.check_collected(self.workshop)

    def _act(self) -> None:
        weights = [weight for weight, _ in self._actions]
        _, action = self.random.choices(self._actions, weights)[0]
        calm, self._calm = self._calm, True  # what a test does itself is no step
        try:
            action()
        finally:
            self._calm = calm

    def _step(self, *, alone: bool = False) -> None:
        """``alone``: nobody else can do anything here, as the records are locked."""
        if self._calm or not self._acting:
            return
        chance = self.random.random()
        if chance < _DEATH:
            self.deaths += 1
            raise Death
        if chance < _DEATH + _FAULT:
            raise self.random.choice([StorageUnavailable("No answer."), ToolFailed("It broke.")])
        if chance < _DEATH + _FAULT + _OTHERS and len(self._acting) < _DEPTH and not alone:
            self._act()

    @contextmanager
    def _as(self, room: Room) -> Iterator[None]:
        """The block is the room's doing: it may die of it, and then starts again."""
        self._acting.append(room)
        calm, self._calm = self._calm, False
        try:
            yield
        except Death:
            self.rooms = {slot: each for slot, each in self.rooms.items() if each is not room}
        except PenstockError:
            pass  # a loop of the service would log it and go on
        finally:
            self._calm = calm
            self._acting.pop()

    def _room(self) -> Room | None:
        """A room that is not in the middle of something, started if it is down; None where all are busy."""
        slot = self.random.randrange(_ROOMS)
        if slot not in self.rooms:
            self.rooms[slot] = self.workshop.room(self._media, slot=slot)
        room = self.rooms[slot]
        return None if room in self._acting else room

    def _begin_video(self) -> None:
        if len(self.scripts) >= 6:
            return
        frames = self.random.choice([30, 99, 100, 101, 250, 480, 700])
        header = frames + self.random.choice([0, 0, 0, 120])
        script = Script(
            name=f"video {len(self.scripts)}",
            frames=frames,
            header_frames=header,
            audio=self.random.choice([0, 1, 2]),
            subtitles=self.random.choice([0, 1]),
            refused=self.random.choice(["", "", "", "", "media_unreadable"]),
        )
        video_id = self.workshop.upload(script.to_bytes(), login=self.random.choice("ab"))
        self.scripts[video_id] = script

    def _take_any(self) -> None:
        room = self._room()
        if room is None:
            return
        waiting = room.waiting()
        if waiting:
            # Announcements come in any order. The fair one depends on seconds served, which no seed repeats.
            task = self.random.choice(sorted(waiting, key=lambda task: task.id))
            with self._as(room):
                room.do(task)

    def _claim_anything(self) -> None:
        """A repeated or outdated announcement: of a task that is done, dead, running elsewhere or waiting."""
        room = self._room()
        every = [task for video_id in self.scripts for task in self.workshop.tasks(video_id)]
        if room is not None and every:
            with self._as(room):
                room.do(self.random.choice(every))

    def _reap(self) -> None:
        room = self._room()
        if room is not None:
            with self._as(room):
                room.reaper.sweep()

    def _publish(self) -> None:
        room = self._room()
        if room is not None:
            with self._as(room):
                room.publisher.sweep()
                room.publisher.settle()

    def _collect(self) -> None:
        room = self._room()
        if room is not None:
            with self._as(room):
                room.collector.sweep()

    def _beat(self) -> None:
        room = self._room()
        if room is not None:
            with self._as(room):
                room.lease.beat()

    def _fall_silent(self) -> None:
        """A process that is stopped or cut off for a while: others may take its work over while it goes on."""
        if self.rooms:
            room = self.random.choice(list(self.rooms.values()))
            silence(self.workshop.catalog, room.lease.worker_id)

    def _delete(self) -> None:
        if self.scripts and self.random.random() < 0.5:
            self.workshop.delete(self.random.choice(list(self.scripts)))

    def _retry(self) -> None:
        failed = [each for each in self.scripts if self.workshop.video(each).state is VideoState.FAILED]
        if failed:
            self._retry_one(self.random.choice(failed))

    def _plan_anew(self) -> None:
        """The tools of a plan are gone from every node: its generation ends and another begins."""
        if not self.scripts or self.random.random() < 0.5:
            return
        generation_id = self.workshop.video(self.random.choice(list(self.scripts))).current_generation_id
        assert generation_id is not None
        with self.workshop.catalog.write() as tx:
            if generations.get(tx, generation_id).state is GenerationState.ENCODING:
                generations.replan(tx, generation_id, who="test", why="no node has the tools")

    def _retry_one(self, video_id: str) -> None:
        with self.workshop.catalog.write() as tx:
            videos.retry(tx, video_id, who="test")

    def _read(self) -> None:
        if self.scripts:
            self._read_one(self.random.choice(list(self.scripts)))

    def _read_all(self, *, living: bool = False) -> None:
        for video_id in self.scripts:
            self._read_one(video_id, living=living)

    def _read_one(self, video_id: str, *, living: bool = False) -> None:
        with self.workshop.catalog.read() as tx:
            known = generations.listing(tx, video_id)
        for generation in known:
            if living and generation.state in FINAL_GENERATION_STATES:
                continue
            reader = self._readers.setdefault(generation.id, Reader(self.workshop, video_id, generation.id))
            reader.look()
