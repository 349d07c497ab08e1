"""Segments on their way from scratch to the outputs store, beside the encode that makes them.

Storing takes two syncs of the disk per segment (or a round trip to an object store), and an encoder whose output is not
taken away stands still. So a thread of its own stores, in order, and removes each file once its object is durable.
"""

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from penstock import faults
from penstock.catalog.records import InitSegment, SegmentRecord
from penstock.faults import Point
from penstock.ffmpeg.outputs import EncodedInit, EncodedSegment
from penstock.processing import metrics
from penstock.processing.attempt import Attempt
from penstock.video import keys

_BACKLOG = (
    64  # segments waiting; beyond it the encoder waits, so that a slow store cannot fill the scratch space
)


class Storing:
    """Takes files in the encode's thread; whatever went wrong with an earlier one is raised at the next."""

    def __init__(self, attempt: Attempt, *, stored: Callable[[SegmentRecord], None] | None = None) -> None:
        """``stored`` is called in the storing thread after each segment is durable."""
        self._attempt = attempt
        self._prefix = attempt.task.prefix
        self._stored = stored
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storing")
        self._context = contextvars.copy_context()  # what the thread logs belongs to the same task
        self._waiting: list[Future[None]] = []
        self.inits: dict[str, InitSegment] = {}
        self.segments: list[SegmentRecord] = []  # durable ones, in order of arrival

    def init(self, made: EncodedInit) -> None:
        """An initialisation segment; small, so it is stored at once."""
        self._put(keys.init_segment(self._prefix, made.track), made.path, made.size)
        self.inits[made.track] = InitSegment(
            codecs=made.codecs,
            key=keys.init_segment(self._prefix, made.track),
            size=made.size,
            sha256=made.sha256,
        )

    def segment(self, made: EncodedSegment) -> None:
        """A media segment; stored in its turn."""
        self._settle(_BACKLOG)
        self._waiting.append(self._thread.submit(self._context.run, self._store, made))

    def finish(self) -> None:
        """Returns when everything is durable."""
        self._settle(0)

    def close(self) -> None:
        """Drops what is not stored yet; the object being written is finished first."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _settle(self, most: int) -> None:
        while self._waiting and (len(self._waiting) > most or self._waiting[0].done()):
            self._waiting.pop(0).result()

    def _store(self, made: EncodedSegment) -> None:
        self._put(keys.media_segment(self._prefix, made.track, made.number), made.path, made.size)
        record = SegmentRecord(
            track=made.track,
            number=made.number,
            start=made.start,
            duration=made.duration,
            frames=made.frames,
            size=made.size,
            sha256=made.sha256,
            prefix=self._prefix,
            keyframes=tuple((frame.offset, frame.length, frame.duration) for frame in made.keyframes),
        )
        self.segments.append(record)
        if self._stored is not None:
            self._stored(record)

    def _put(self, key: str, path: Path, size: int) -> None:
        self._attempt.parts.outputs.put(key, path)
        faults.reach(Point.ENCODE_STORED)
        path.unlink()
        metrics.bytes_stored.labels(self._attempt.task.kind).inc(size)


@contextmanager
def storing(attempt: Attempt, *, stored: Callable[[SegmentRecord], None] | None = None) -> Iterator[Storing]:
    """A :class:`Storing` that is closed at the end."""
    thread = Storing(attempt, stored=stored)
    try:
        yield thread
    finally:
        thread.close()
