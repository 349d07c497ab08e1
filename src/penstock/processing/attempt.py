"""One attempt at a task, as the task's own code sees it: its inputs, where its outputs go, and how it commits.

Every commit goes through the claim's fence, and objects are durable before the record that names them. It knows nothing
of threads, places or retries.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection

from penstock import faults
from penstock.catalog import Catalog, claims, generations, videos
from penstock.catalog.records import ArtefactRecord, Generation, Task
from penstock.faults import Point
from penstock.processing import follow_ups, metrics
from penstock.processing.config import ProcessingConfig
from penstock.processing.media import Media
from penstock.processing.publisher import Publisher
from penstock.processing.runs import Run
from penstock.storage.disk_cache import DiskCache
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.video import keys
from penstock.video.errors import Cancelled, MediaError, PermanentError
from penstock.video.plan import Plan


@dataclass(frozen=True, slots=True)
class Parts:
    """What tasks work with; made once per process."""

    config: ProcessingConfig
    catalog: Catalog
    sources: ObjectStore
    outputs: ObjectStore
    fetched: DiskCache  # sources that lie elsewhere
    media: Media
    publisher: Publisher
    announce: Callable[[], None]  # rings at every processing process of the machine


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> Plan:
    """The chunks of a video follow each other, and each asks for the same plan."""
    return Plan.from_json(text)


class Attempt:
    """One attempt. Its scratch folder is removed when it ends."""

    def __init__(self, parts: Parts, run: Run, scratch: Path) -> None:
        assert run.task.worker_id is not None
        self.parts = parts
        self.run = run
        self.task: Task = run.task
        self.scratch = scratch
        self.log = structlog.get_logger()
        self.worker_id = run.task.worker_id
        self._held = ExitStack()
        self._source: Path | None = None

    def close(self) -> None:
        """Lets go of the source."""
        self._held.close()

    @property
    def who(self) -> str:
        """Whom the history names."""
        return f"worker:{self.worker_id}"

    def progressed(self, share: float) -> None:
        """Notes how far (0..1) it has come; the records learn of it at the next heartbeat."""
        self.run.progress = share

    def check_cancelled(self) -> None:
        """Raises ``Cancelled`` once the run was called off."""
        if self.run.cancel.is_set():
            raise Cancelled("The work was called off.")

    def plan(self) -> Plan:
        """The generation's plan."""
        with self.parts.catalog.read() as tx:
            text = generations.plan(tx, self.task.generation_id)
        if text is None:
            raise PermanentError("The generation has no plan.", code="plan_missing")
        return _parsed(text)

    def source(self) -> Path:
        """The source as a file of this machine, to be read only: the stored file itself, else the machine's one copy of it."""
        if self._source is not None:
            return self._source
        with self.parts.catalog.read() as tx:
            key = videos.get(tx, self.task.video_id).source_key
        try:
            self._source = self._fetched(key)
        except ObjectMissing:
            raise MediaError(
                "The source of the video is not there any more.", code="source_missing"
            ) from None
        return self._source

    def _fetched(self, key: str | None) -> Path:
        if key is None:
            raise ObjectMissing("There never was one.")
        path = self.parts.sources.local_path(key)
        if path is not None:
            self.parts.sources.head(key)  # so that a missing one is told apart from one that cannot be read
            return path
        return self._held.enter_context(self.parts.fetched.held(key, self.check_cancelled))

    def put(self, name: str, data: bytes | Path, *, size: int) -> str:
        """Stores an artefact of this attempt durably and returns its key."""
        key = keys.artefact(self.task.prefix, name)
        self.parts.outputs.put(key, data)
        metrics.bytes_stored.labels(self.task.kind).inc(size)
        return key

    def put_bytes(self, name: str, data: bytes) -> tuple[str, int, str]:
        """As :meth:`put` for what is in memory: key, size and SHA-256."""
        return self.put(name, data, size=len(data)), len(data), hashlib.sha256(data).hexdigest()

    @contextmanager
    def holding(self) -> Iterator[tuple[Connection, Generation]]:
        """A transaction under the generation's lock, in which the claim is in force. Raises ``StaleClaim``.

        It ends with the ring that tells everybody to look at what it left.
        """
        with self.parts.catalog.write() as tx:
            _, generation = claims.hold(tx, self.task.id, self.worker_id, self.task.attempt)
            yield tx, generation
            faults.reach(Point.COMMIT_HOLDING)
        faults.reach(Point.COMMIT_DONE)
        self.parts.publisher.request(generation.id)
        faults.reach(Point.COMMIT_REQUESTED)
        self.parts.announce()
        faults.reach(Point.COMMIT_RUNG)

    @contextmanager
    def committing(
        self, *, result: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[Connection, Generation]]:
        """As :meth:`holding`, and the task is done at its end, with all that follows from it."""
        with self.holding() as (tx, generation):
            yield tx, generation
            claims.commit(tx, self.task.id, self.worker_id, self.task.attempt, result=result)
            follow_ups.derive(tx, generation.id)

    def artefact(
        self,
        generation_id: str,
        name: str,
        kind: str,
        key: str,
        *,
        size: int,
        sha256: str,
        media_type: str,
        **more: Any,
    ) -> ArtefactRecord:
        """The record of an object that :meth:`put` stored."""
        return ArtefactRecord(
            generation_id=generation_id,
            name=name,
            kind=kind,
            key=key,
            size=size,
            sha256=sha256,
            media_type=media_type,
            **more,
        )
