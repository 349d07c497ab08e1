"""A video's history as a stream of server-sent events (WHATWG HTML, section 9.2), by looking at the records now and then.

It knows no video and no HTTP: it is given one function that tells whose videos have changed, for all followers of the
process in one go, and one that looks at a video, which is called only then. So a follower of a video at rest costs
nothing, and a restart loses nothing.
"""

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.to_thread import run_sync

from penstock.upload import metrics
from penstock.upload.config import UploadConfig
from penstock.video.errors import PenstockError, RateLimited, TransientError

_log = structlog.get_logger()

_RETRY_MS = 2000  # how long a client whose stream broke waits before it comes back
_TRY_LATER_S = 30  # for a client beyond the limit: followers stay for minutes
_LOOKS_AT_ONCE = 2  # threads of their own: followers never queue before other requests

Mark = object  # compared only


@dataclass(frozen=True, slots=True)
class Watched:
    """What a follower wants to hear of: a video, with all its tasks or without."""

    video_id: str
    with_tasks: bool


@dataclass(frozen=True, slots=True)
class Followed:
    """What one look found: the lines since the last, each with its number, and the status; all JSON of one line.

    ``mark`` was taken before the rest was read.
    """

    lines: list[tuple[int, str]]
    status: str
    ended: bool
    mark: Mark = None


@dataclass(slots=True)
class _Topic:
    """What the followers of one thing share."""

    followers: int = 0
    mark: Mark = None  # None: not asked yet
    moved: anyio.Event = field(default_factory=anyio.Event)

    async def differs(self, seen: Mark) -> None:
        """Returns once there is reason to look, for who looked when the mark was ``seen``."""
        while self.mark is None or self.mark == seen:
            await self.moved.wait()

    def tell(self, mark: Mark) -> None:
        if mark != self.mark:
            self.mark = mark
            self.moved.set()
            self.moved = anyio.Event()


class Followers:
    """All followers of one process. Its methods belong to one event loop."""

    def __init__(
        self, marks: Callable[[Collection[Watched]], Mapping[Watched, Mark]], config: UploadConfig
    ) -> None:
        """``marks`` is one short read however much is asked for; what does not exist has the mark None."""
        self._marks = marks
        self._config = config
        self._topics: dict[Watched, _Topic] = {}
        self._accounts: dict[str | None, int] = {}
        self._looks = anyio.CapacityLimiter(_LOOKS_AT_ONCE)

    async def run(self) -> None:
        """Asks for marks as long as somebody follows; to be run beside the followers, until cancelled."""
        while True:
            await anyio.sleep(self._config.follow_interval_s)
            if self._topics:
                await self._ask()

    async def _ask(self) -> None:
        asked = tuple(self._topics)
        try:
            marks = await run_sync(self._marks, asked, limiter=self._looks)
        except PenstockError as error:  # the database is away; followers wait as they do when nothing happens
            _log.info("followers_wait", code=error.code)
            return
        for watched in asked:
            topic = self._topics.get(watched)
            if topic is not None:
                topic.tell(marks.get(watched, _GONE))

    @contextmanager
    def seat(self, account_id: str | None) -> Iterator[None]:
        """A place for one more follower. Raises :class:`RateLimited` beyond the limits."""
        mine = self._accounts.get(account_id, 0)
        if (
            mine >= self._config.followers_per_account
            or sum(self._accounts.values()) >= self._config.followers
        ):
            raise RateLimited(
                "Too many histories are followed at once; end some, or ask for the status now and then.",
                code="too_many_followers",
                retry_after=_TRY_LATER_S,
            )
        self._accounts[account_id] = mine + 1
        try:
            with metrics.FOLLOWERS.track_inprogress():
                yield
        finally:
            self._accounts[account_id] -= 1
            if not self._accounts[account_id]:
                del self._accounts[account_id]

    async def follow(
        self, watched: Watched, look: Callable[[int], Followed], *, after: int
    ) -> AsyncIterator[bytes]:
        """The events after number ``after``, for as long as someone listens and there may be more."""
        topic = self._topics.setdefault(watched, _Topic())
        topic.followers += 1
        try:
            async for message in self._messages(topic, look, after):
                yield message
        finally:
            topic.followers -= 1
            if not topic.followers:
                del self._topics[watched]

    async def _messages(
        self, topic: _Topic, look: Callable[[int], Followed], after: int
    ) -> AsyncIterator[bytes]:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        shown, spoke = None, time.monotonic()
        while True:
            try:
                found = await run_sync(look, after, limiter=self._looks)
            except TransientError:  # the client would only come back and ask again
                await anyio.sleep(self._config.follow_interval_s)
                continue
            except PenstockError:  # its permission ended
                return
            topic.tell(found.mark)
            message = _events(found, shown)
            if message:
                yield message.encode()
                spoke = time.monotonic()
            shown = found.status
            after = found.lines[-1][0] if found.lines else after
            if found.ended:
                return
            while True:
                with anyio.move_on_after(
                    max(0.0, spoke + self._config.follow_heartbeat_s - time.monotonic())
                ):
                    await topic.differs(found.mark)
                    break
                yield b": still here\n\n"
                spoke = time.monotonic()


_GONE = ()  # the mark of what does not exist: unlike any other, so that its followers look, and end


def _events(found: Followed, shown: str | None) -> str:
    lines = [f"id: {number}\nevent: history\ndata: {data}\n\n" for number, data in found.lines]
    if found.status != shown:
        lines.append(f"event: status\ndata: {found.status}\n\n")
    return "".join(lines)
