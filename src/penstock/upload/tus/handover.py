"""How a request that waits makes the one that writes let go, in the same process and in any other.

A client whose connection died comes back before the server has noticed; what it finds locked is its own upload. So who
waits asks: here by a word, elsewhere by a mark in the record, which every process looks for now and then, for all its
writers at once. It knows no bytes and no HTTP.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import structlog
from anyio.to_thread import run_sync

from penstock.upload.tus.resumable import taken_over
from penstock.video.errors import PenstockError

_log = structlog.get_logger()

_LOOK_S = 0.5  # between two looks at the records: what a client on another process waits at most

Wanted = Callable[[Mapping[str, tuple[str, int]]], set[str]]


@dataclass(eq=False, slots=True)
class Hold:
    """One writer of this process."""

    token: str
    asked: int  # what the record said at the beginning
    wanted: bool = False
    _waits: anyio.CancelScope | None = None

    def let_go(self) -> None:
        """It shall end; where it waits for bytes, at once."""
        self.wanted = True
        if self._waits is not None:
            self._waits.cancel()

    async def next_of(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """The next bytes, None at the end. Raises :class:`Locked` once others want the upload."""
        if self.wanted:
            raise taken_over()
        with anyio.CancelScope() as scope:
            self._waits = scope
            try:
                return await anext(pieces, None)
            finally:
                self._waits = None
        raise taken_over()


class Holds:
    """All writers of one process. Its methods belong to one event loop."""

    def __init__(self, wanted: Wanted) -> None:
        """``wanted`` looks at the records; it blocks."""
        self._wanted = wanted
        self._held: dict[str, Hold] = {}

    @contextmanager
    def holding(self, upload_id: str, token: str, asked: int) -> Iterator[Hold]:
        """A writer, for as long as it writes."""
        hold = self._held[upload_id] = Hold(token, asked)
        try:
            yield hold
        finally:
            if self._held.get(upload_id) is hold:
                del self._held[upload_id]

    def ask(self, upload_id: str) -> bool:
        """Whether a writer of this process was asked to let go."""
        hold = self._held.get(upload_id)
        if hold is not None:
            hold.let_go()
        return hold is not None

    async def run(self) -> None:
        """Looks for what others ask, while anything is written; to be run beside the requests, until cancelled."""
        while True:
            await anyio.sleep(_LOOK_S)
            if self._held:
                await self.look()

    async def look(self) -> None:
        """One look at the records for all writers."""
        held = dict(self._held)
        asked = {upload_id: (hold.token, hold.asked) for upload_id, hold in held.items()}
        try:
            wanted = await run_sync(self._wanted, asked)
        except PenstockError as error:  # the records are away; writers find that out by themselves
            _log.info("holds_not_asked", code=error.code)
            return
        for upload_id in wanted:
            held[upload_id].let_go()
