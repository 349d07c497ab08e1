"""The parts of one upload on their way: several at once, each repeated alone, from where the server says it is.

It knows an open upload and a source; how uploads begin and end is not its matter.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Event, Lock, Thread
from urllib.parse import urljoin

from penstock.client.connection import Connection
from penstock.client.errors import ClientError
from penstock.client.models import Parts, PartUrl, read
from penstock.client.sources import Source

_FAREWELL_S = 2.0  # that an interrupt waits for parts whose last byte is sent

Progress = Callable[[str, int], None]  # (stage ``hash`` or ``send``, bytes done so far)


class _Stopped(Exception):
    """Another part has failed, or the user has had enough."""


class Sending:
    """One open upload. ``tags`` are the entity tags of the parts that are there, by number."""

    def __init__(
        self, connection: Connection, source: Source, upload_id: str, progress: Progress, *, parallel: int
    ) -> None:
        """``progress`` may be called from several threads, never twice at once."""
        self._connection = connection
        self._source = source
        self._upload_id = upload_id
        self._progress = progress
        self._parallel = parallel
        self._lock = Lock()
        self._sent = 0
        self.tags: dict[int, str] = {}

    def ask(self) -> Parts:
        """What the server has and lacks. Raises :class:`ClientError` where the upload has ended."""
        answer = self._connection.json(
            "POST", "/api/uploads/parts", body={"upload_id": self._upload_id}, repeatable=True
        )
        found = read(Parts, answer)
        self.tags = {part.number: part.etag for part in found.received}
        return found

    def send(self, missing: tuple[PartUrl, ...]) -> None:
        """Returns when every part is there. Raises :class:`ClientError` for what does not pass by itself."""
        trouble, renewed = 0, False
        while missing:
            self._begin_round(missing)
            before = len(self.tags)
            failure = self._round(missing)
            if failure is None:
                return
            if len(self.tags) > before:
                trouble, renewed = 0, False
            if _address_refused(failure) and not renewed:
                renewed = True
            elif failure.passing:
                trouble += 1
                self._connection.pause(trouble, failure)
            else:
                raise failure
            missing = self.ask().missing

    def send_in_order(self, found: Parts) -> str:
        """The same for a source that is read only once, from its first byte to its last; its SHA-256."""
        digest, number, offset = hashlib.sha256(), 0, 0
        waiting = {part.number: part for part in found.missing}
        self._begin_round(found.missing)
        while offset < self._source.size:
            number += 1
            size = min(found.part_size, self._source.size - offset)
            if number in waiting:
                digest = self._send_one(waiting[number], digest)
            else:
                for piece in self._source.pieces(offset, size):
                    digest.update(piece)
            offset += size
        return digest.hexdigest()

    # -- several at once

    def _round(self, missing: tuple[PartUrl, ...]) -> ClientError | None:
        """Sends until all are there or one fails: then the others are given up, and its failure is the answer."""
        todo, stop, failures = deque(missing), Event(), list[BaseException]()

        def work() -> None:
            while not stop.is_set():
                try:
                    part = todo.popleft()
                except IndexError:
                    return
                try:
                    self._put(part, stop=stop)
                except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for this one
                    failures.append(error)
                    stop.set()

        # Daemons: an interrupted program ends at once, though a part may wait for an answer that never comes.
        workers = [
            Thread(target=work, daemon=True, name=f"upload-{n}")
            for n in range(min(self._parallel, len(missing)))
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except BaseException:
            stop.set()
            deadline = time.monotonic() + _FAREWELL_S
            for worker in workers:
                worker.join(max(0.0, deadline - time.monotonic()))
            raise
        return _worst(failures)

    # -- one after another

    def _send_one(self, part: PartUrl, digest: "hashlib._Hash") -> "hashlib._Hash":
        trouble, renewed = 0, False
        while True:
            running = digest.copy()
            try:
                self._put(part, each=running.update)
            except ClientError as failure:
                if _address_refused(failure) and not renewed:
                    renewed = True
                elif failure.passing:
                    trouble += 1
                    self._connection.pause(trouble, failure)
                else:
                    raise
                fresh = {again.number: again for again in self.ask().missing}
                # A part whose answer was lost may be there; it is sent again all the same, for its digest.
                part = fresh.get(part.number, part)
            else:
                return running

    # -- one part

    def _put(
        self,
        part: PartUrl,
        *,
        stop: Event | None = None,
        each: Callable[[bytes], None] = lambda _piece: None,
    ) -> None:
        counted = 0

        def content() -> Iterator[bytes]:
            nonlocal counted
            for piece in self._source.pieces(part.offset, part.size):
                if stop is not None and stop.is_set():
                    raise _Stopped
                each(piece)
                yield piece
                counted += len(piece)
                self._count(len(piece))

        url = urljoin(f"{self._connection.base_url}/", part.url)
        length = {"Content-Length": str(part.size)}
        try:
            answer = self._connection.request("PUT", url, content=content, headers=length, repeatable=False)
        except BaseException:
            self._count(-counted)
            raise
        with self._lock:
            self.tags[part.number] = answer.headers.get("etag", "").strip('"')

    def _begin_round(self, missing: tuple[PartUrl, ...]) -> None:
        with self._lock:
            self._sent = self._source.size - sum(part.size for part in missing)
            self._progress("send", self._sent)

    def _count(self, sent: int) -> None:
        with self._lock:
            self._sent += sent
            self._progress("send", self._sent)


def _address_refused(failure: ClientError) -> bool:
    """An address may be too old: ours says so, a bucket's says 403 in words of its own."""
    return failure.code == "signature_expired" or (
        failure.code == "unexpected_answer" and failure.status == 403
    )


def _worst(failures: list[BaseException]) -> ClientError | None:
    """What decides: anything that does not pass by itself goes before what does."""
    told = [failure for failure in failures if not isinstance(failure, _Stopped)]
    for failure in told:
        if not isinstance(failure, ClientError):
            raise failure
    final = [failure for failure in told if isinstance(failure, ClientError)]
    lasting = [failure for failure in final if not failure.passing and not _address_refused(failure)]
    return next(iter(lasting or final), None)
