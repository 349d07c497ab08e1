"""Many viewers in one process: each fetches a segment when its buffer has room for one, and plays it in real time.

    python bench/viewers.py PORT FILE-WITH-PATHS COUNT SECONDS

Started by bench/serve.py; prints what the viewers saw as JSON. A viewer whose next segment is not there when the one before has
been played has stalled.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

SEGMENT = 4.0  # seconds of video
AHEAD = 8.0  # seconds of video that a viewer keeps at most before it asks for more


class Seen:
    """What all viewers saw together."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.stalls = 0


class Fetch(asyncio.BufferedProtocol):
    """One kept-open connection; bodies are counted and thrown away."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 18)
        self._head = b""
        self._left = 0
        self._done: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what requests are written to."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """A request under way fails with it."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("closed"))

    def get_buffer(self, _hint: int) -> bytearray:
        """The same one again and again."""
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        """Headers first, then so many bytes as they announce."""
        if self._left == 0:
            self._head += self._buffer[:count]
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 200 " not in head[:20]:
                raise ConnectionError(head[:80].decode("latin-1"))
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self._left = int(lengths[0].partition(b":")[2]) - len(body)
        else:
            self._left -= count
        if self._left == 0 and self._done is not None:
            self._head = b""
            self._done.set_result(None)

    async def get(self, request: bytes) -> None:
        """Returns when the whole answer is there."""
        assert self.transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._done


async def view(port: int, requests: list[bytes], after: float, until: float, first: int, seen: Seen) -> None:
    """One viewer, from its own moment on."""
    await asyncio.sleep(after)
    _, fetch = await asyncio.get_running_loop().create_connection(Fetch, "127.0.0.1", port)
    played_until = 0.0  # when what is buffered will have been played
    number = first
    while (now := time.monotonic()) < until:
        if played_until - now > AHEAD - SEGMENT:
            await asyncio.sleep(played_until - now - (AHEAD - SEGMENT))
        begun = time.monotonic()
        await fetch.get(requests[number % len(requests)])
        ended = time.monotonic()
        seen.took.append(ended - begun)
        if played_until and ended > played_until:
            seen.stalls += 1
        played_until = max(played_until, ended) + SEGMENT
        number += 1
    assert fetch.transport is not None
    fetch.transport.close()


async def main(port: int, paths: list[str], count: int, seconds: float) -> None:
    """All of them, beginning within the length of a segment."""
    requests = [f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() for path in paths]
    seen = Seen()
    until = time.monotonic() + seconds
    await asyncio.gather(*(view(port, requests, SEGMENT * n / count, until, n, seen) for n in range(count)))
    ordered = sorted(seen.took)
    told = {
        "viewers": count,
        "seconds": seconds,
        "segments": len(ordered),
        "stalls": seen.stalls,
        "p50": ordered[len(ordered) // 2] * 1000,
        "p99": ordered[int(len(ordered) * 0.99)] * 1000,
        "worst": ordered[-1] * 1000,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    uvloop.run(
        main(int(sys.argv[1]), Path(sys.argv[2]).read_text().split(), int(sys.argv[3]), float(sys.argv[4]))
    )
