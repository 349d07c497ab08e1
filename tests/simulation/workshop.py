"""A workshop: records, stores and processing rooms of one machine, in one folder, for tests that want the whole.

A room is one processing process's parts without its threads: the test decides who does what when. ``Workshop.service``
gives the real thing with its threads.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from penstock.catalog import Catalog, accounts, claims, queue, tasks, uploads, videos, workers
from penstock.catalog.claims import Outcome
from penstock.catalog.records import Account, Task, Video
from penstock.catalog.words import Transport, Visibility
from penstock.processing import failures, slots
from penstock.processing.attempt import Parts
from penstock.processing.collector import Collector
from penstock.processing.config import ProcessingConfig
from penstock.processing.dispatch.doorbell import Doorbell
from penstock.processing.lease import Lease
from penstock.processing.liveness import Liveness
from penstock.processing.media import Media
from penstock.processing.publisher import Publisher
from penstock.processing.reaper import Reaper
from penstock.processing.runs import Run, Runs
from penstock.processing.scratch import Scratch
from penstock.processing.service import ProcessingService
from penstock.processing.slots import Lane
from penstock.processing.tooling import Tooling
from penstock.processing.worker import Worker
from penstock.storage.disk_cache import DiskCache
from penstock.storage.local import LocalStore
from penstock.storage.store import ObjectStore
from penstock.video import keys, timeline
from penstock.video.plan import Settings
from penstock.video.timeline import Timeline

HOUR_MS = 3_600_000


class Workshop:
    """Everything of one machine but the processes."""

    def __init__(self, folder: Path, catalog: Catalog, *, config: ProcessingConfig | None = None) -> None:
        self.folder = folder
        self.catalog = catalog
        self.sources: ObjectStore = LocalStore(folder / "sources")
        self.outputs: ObjectStore = LocalStore(folder / "outputs")
        given = config or ProcessingConfig(
            node="node-1", run_folder=folder / "run", scratch_folder=folder / "scratch"
        )
        self.config = replace(given, run_folder=folder / "run", scratch_folder=folder / "scratch")
        self.config.run_folder.mkdir(exist_ok=True)

    def plan_with(self, settings: Settings) -> None:
        """From here on videos are planned so."""
        self.config = replace(self.config, planning=settings)

    def account(self, login: str = "ann") -> Account:
        """An account, made when it is first asked for."""
        with self.catalog.write() as tx:
            return accounts.find_by_login(tx, login) or accounts.create(tx, login=login, name=login)

    def upload(
        self,
        source: bytes | Path,
        *,
        login: str = "ann",
        sha256: str | None = None,
        declared: str | None = None,
    ) -> str:
        """The id of a video whose source is stored and acknowledged. ``declared``: what the client said it would be."""
        account = self.account(login)
        with self.catalog.write() as tx:
            video = videos.create(
                tx, owner_id=account.id, title="t", filename="f.mp4", visibility=Visibility.PUBLIC, who="test"
            )
            upload = uploads.create(tx, video, transport=Transport.PUT, life_ms=HOUR_MS, sha256=declared)
        self.sources.put(upload.source_key, source)
        size = self.sources.head(upload.source_key).size
        with self.catalog.write() as tx:
            uploads.complete(tx, upload.id, size=size, sha256=sha256, who="test")
        return video.id

    def video(self, video_id: str) -> Video:
        """The record."""
        with self.catalog.read() as tx:
            return videos.get(tx, video_id)

    def tasks(self, video_id: str) -> list[Task]:
        """The video's tasks."""
        with self.catalog.read() as tx:
            return tasks.listing(tx, video_id=video_id)

    def versions(self, video_id: str, generation_id: str | None = None) -> list[Timeline]:
        """The timeline versions that a reader finds, lowest first."""
        generation_id = generation_id or self.video(video_id).current_generation_id
        assert generation_id is not None
        found = self.outputs.list(keys.timeline_prefix(video_id, generation_id))
        return [timeline.decode(self.outputs.get(info.key)) for info in found]

    def delete(self, video_id: str) -> None:
        """As the library does it."""
        with self.catalog.write() as tx:
            videos.delete(tx, video_id, who="test")

    def room(
        self,
        media: Media,
        *,
        slot: int = 0,
        outputs: ObjectStore | None = None,
        catalog: Catalog | None = None,
    ) -> "Room":
        """A processing process that has just started in ``slot``."""
        return Room(self, media, slot=slot, outputs=outputs or self.outputs, catalog=catalog or self.catalog)

    def ring(self) -> None:
        """As the web services do it after a commit."""
        Doorbell(self.config.run_folder).ring()

    @contextmanager
    def service(self, media: Media, *, liveness: Liveness | None = None) -> Iterator[ProcessingService]:
        """A processing process with all its threads, running."""
        service = ProcessingService(
            self.config,
            catalog=self.catalog,
            sources=self.sources,
            outputs=self.outputs,
            media=media,
            version="test",
            liveness=liveness,
        )
        service.start()
        try:
            yield service
        finally:
            service.end()


class Room:
    """One processing process, worked by hand: claims and executes in the calling thread."""

    def __init__(
        self, workshop: Workshop, media: Media, *, slot: int, outputs: ObjectStore, catalog: Catalog
    ) -> None:
        config = workshop.config
        self.catalog = catalog
        self.policy = failures.retry_policy(config)
        self.runs = Runs(slots.places(config), slots.memory_budget(config))
        self.publisher = Publisher(catalog, outputs, config)
        self.parts = Parts(
            config=config,
            catalog=catalog,
            sources=workshop.sources,
            outputs=outputs,
            fetched=DiskCache(config.scratch_folder / "sources", workshop.sources, config.source_cache),
            media=media,
            publisher=self.publisher,
            announce=lambda: None,
        )
        self.lease = Lease(
            catalog, config, self.runs, slot=slot, fingerprint=media.fingerprint, version="test"
        )
        self.worker = Worker(
            self.parts, self.runs, Scratch(config.scratch_folder, slot), Tooling(media.trial)
        )
        self.reaper = Reaper(catalog, self.publisher, self.policy, announce=lambda: None)
        self.collector = Collector(catalog, config, sources=workshop.sources, outputs=outputs, staging=None)

    def waiting(self) -> list[Task]:
        """What may be claimed now, in fair order."""
        with self.catalog.read() as tx:
            return queue.announceable(tx, 1000, tool_fingerprint=self.parts.media.fingerprint)

    def claim(self, task: Task) -> Run | None:
        """The task as a run of this process, None where it is not to be had."""
        with self.catalog.write() as tx:
            claim = claims.claim(tx, task.id, self.lease.worker_id, policy=self.policy)
        if claim.outcome is not Outcome.TAKEN or claim.task is None:
            return None
        run = Run(claim.task, Lane.LIGHT)
        self.runs.add(run)
        return run

    def do(self, task: Task) -> bool:
        """Claims and executes it; whether it was to be had."""
        run = self.claim(task)
        if run is not None:
            self.worker.execute(run)
        return run is not None

    def work(self, until: Callable[[Task], bool] = lambda _: False, *, most: int = 1000) -> None:
        """Does what is waiting, again and again, until nothing is, or until a task of the sort is next."""
        for _ in range(most):
            task = next(iter(self.waiting()), None)
            if task is None or until(task):
                return
            self.do(task)
            self.publisher.settle()
        raise AssertionError("the work does not end")


def silence(catalog: Catalog, worker_id: str) -> None:
    """The worker's lease runs out."""
    with catalog.write() as tx:
        workers.renew(tx, worker_id, lease_ms=-1)


def await_that(condition: Callable[[], object], *, what: str, patience: float = 240.0) -> None:
    """Returns once ``condition`` holds; a failure after ``patience`` seconds, which only a hang should take."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        pause.wait(0.01)


def media_processes(ancestor: int) -> set[int]:
    """FFmpeg processes that descend from this process: encoders, whatever wraps them left out."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat=,comm="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
    children: dict[int, list[int]] = {}
    names = {}
    for pid, parent, state, name in rows:
        if not state.startswith("Z"):
            children.setdefault(int(parent), []).append(int(pid))
            names[int(pid)] = name
    found, line = set(), [ancestor]
    while line:
        for child in children.get(line.pop(), []):
            line.append(child)
            if "ffmpeg" in names[child]:
                found.add(child)
    return found
