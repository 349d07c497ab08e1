"""Writing an upload into a bucket: bytes gather in one buffer until they are a part, which is sent while the next gathers.

Memory is what it is written for: a part per upload, a few more for all that are on their way in the process, and no copy
of any of them. It knows neither what a store says nor records: the staging that made it talks to the store.
"""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import Protocol

from penstock.storage.bucket_mark import Mark
from penstock.storage.staging import Durable, Transfer


class Store(Protocol):
    """What a writer asks of its staging; see there."""

    def begin(self, key: str) -> str:
        """Begins a multipart upload."""

    def send(self, key: str, upload_id: str, number: int, data: bytes | bytearray) -> str:
        """Stores one part; its ETag."""

    def put_tail(self, name: str, end: int, data: bytes) -> str:
        """Keeps the bytes that end at ``end``; the nonce that names them."""

    def drop_tail(self, name: str, mark: Mark) -> None:
        """Removes a mark's tail."""


class Sends:
    """The places for bytes on their way to a store. Whoever finds none waits, and takes in no more bytes meanwhile."""

    def __init__(self, at_once: int) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="part")

    def begin(self, send: Callable[[], str]) -> Future[str]:
        """Calls ``send`` in a thread; waits until there is one."""
        self._places.acquire()
        try:
            sending = self._threads.submit(send)
        except BaseException:
            self._places.release()
            raise
        sending.add_done_callback(lambda _: self._places.release())
        return sending


class BucketPartWriter:
    """The ``PartWriter`` of a bucket."""

    def __init__(self, store: Store, sends: Sends, name: str, key: str, mark: Mark, tail: bytes) -> None:
        """``tail``: the bytes of the mark that are no part yet."""
        self._store = store
        self._sends = sends
        self._name = name
        self._key = key
        self._mark = mark
        self._kept = mark  # the last that is durable
        self._overtaken: Mark | None = None  # the one before; recorded is this or the last
        self._buffer = bytearray()
        self._filled = 0
        self._digest = hashlib.sha256()
        self._sending: Future[str] | None = None
        self._transfer = Transfer()
        self.size = 0
        self._gather(tail)

    def write(self, data: bytes | bytearray) -> None:
        """See the port."""
        with self._transfer.used():
            self._digest.update(data)
            self._gather(data)
            self.size += len(data)

    def sync(self) -> Durable:
        """See the port. Called again, it takes the mark before for recorded and drops the tail before that."""
        with self._transfer.used():
            self._settle()
            end = self._mark.count * self._mark.part + self._filled
            if end != self._kept.end:
                self._keep(end)
            return Durable(self.size, self._digest.hexdigest(), self._kept.text())

    def close(self) -> None:
        """See the port."""
        self._transfer.end()
        if self._sending is not None:
            self._sending.cancel()
            wait([self._sending])
        self._buffer = bytearray()

    def _keep(self, end: int) -> None:
        mark = replace(self._mark, rest=0, nonce="")
        if self._filled:
            nonce = self._sends.begin(partial(self._put_tail, end)).result()
            mark = replace(mark, rest=self._filled, nonce=nonce)
        if self._overtaken is not None:
            self._store.drop_tail(self._name, self._overtaken)
        self._overtaken, self._kept = self._kept, mark

    def _put_tail(self, end: int) -> str:
        with memoryview(self._buffer) as gathered:
            return self._store.put_tail(self._name, end, bytes(gathered[: self._filled]))

    def _gather(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while True:
            if self._filled == self._mark.part:
                self._send()
            if not rest:
                return
            if not self._buffer:
                # The whole part at once: what grows is copied, and memory that is not written to is not taken yet.
                self._buffer = bytearray(self._mark.part)
            taken = min(len(rest), self._mark.part - self._filled)
            with memoryview(self._buffer) as buffer:
                buffer[self._filled : self._filled + taken] = rest[:taken]
            self._filled += taken
            rest = rest[taken:]

    def _send(self) -> None:
        self._settle()
        upload_id = self._mark.id or self._store.begin(self._key)
        full, self._buffer, self._filled = self._buffer, bytearray(), 0
        self._mark = replace(self._mark, id=upload_id)
        send = partial(self._store.send, self._key, upload_id, self._mark.count + 1, full)
        self._sending = self._sends.begin(send)

    def _settle(self) -> None:
        """Waits for the part that is on its way. Where that failed its bytes are lost, so nothing may follow them."""
        if self._sending is not None:
            sending, self._sending = self._sending, None
            try:
                self._mark = self._mark.grown(sending.result())
            except BaseException:
                self._transfer.fail()
                raise
