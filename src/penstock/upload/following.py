"""A video's history as a stream of server-sent events (WHATWG HTML, section 9.2), by looking at the records now and then.

It knows no video and no HTTP: it is given a function that looks, and yields the bytes to send. Looking is one short read
every second, off the event loop; nothing is held between two looks, so a follower costs little and a restart nothing.
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync

from penstock.upload import metrics
from penstock.upload.config import UploadConfig
from penstock.video.errors import PenstockError, TransientError

_RETRY_MS = 2000  # how long a client whose stream broke waits before it comes back


@dataclass(frozen=True, slots=True)
class Followed:
    """What one look found: the lines since the last, each with its number, and the status; all JSON of one line."""

    lines: list[tuple[int, str]]
    status: str
    ended: bool


async def follow(
    look: Callable[[int], Followed], *, after: int, config: UploadConfig
) -> AsyncIterator[bytes]:
    """The events after number ``after``, for as long as someone listens and there may be more."""
    with metrics.FOLLOWERS.track_inprogress():
        yield f"retry: {_RETRY_MS}\n\n".encode()
        shown, spoke = None, time.monotonic()
        while True:
            try:
                found = await run_sync(look, after)
            except (
                TransientError
            ):  # the database is away for a moment; the client would only come back and ask again
                found = None
            except PenstockError:  # its permission ended
                return
            if found is not None:
                message = _events(found, shown)
                if message:
                    yield message.encode()
                    spoke = time.monotonic()
                shown = found.status
                after = found.lines[-1][0] if found.lines else after
                if found.ended:
                    return
            if time.monotonic() - spoke >= config.follow_heartbeat_s:
                yield b": still here\n\n"
                spoke = time.monotonic()
            await anyio.sleep(config.follow_interval_s)


def _events(found: Followed, shown: str | None) -> str:
    lines = [f"id: {number}\nevent: history\ndata: {data}\n\n" for number, data in found.lines]
    if found.status != shown:
        lines.append(f"event: status\ndata: {found.status}\n\n")
    return "".join(lines)
