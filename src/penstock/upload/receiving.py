"""From a request's body to a staged file: bounded buffers, a limit, and an end to clients that went silent.

The event loop gathers some while a thread writes and hashes what came before, and the server reads ahead within its own
bounded window. What the bytes are for is decided elsewhere.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import anyio
from starlette.requests import Request

from penstock.ffmpeg.sniff import HEAD, not_media
from penstock.storage.staging import PartWriter
from penstock.upload import metrics
from penstock.upload.store_threads import StoreThreads
from penstock.video.errors import InvalidRequest, PenstockError, UnsupportedMedia
from penstock.web_api.bodies import BodyStalled

_WORTH_A_CALL = 1 << 20  # bytes; twice that and a piece more is what an upload has in memory
_WORTH_A_WRITE = 64 << 10  # bytes; the server hands on half a mebibyte at a time where the network gives it


class SizeWrong(InvalidRequest):
    """Fewer or more bytes than were announced. What had arrived does not count."""

    code = "wrong_size"


class DigestWrong(InvalidRequest):
    """The bytes are not those that the client's digest names. What had arrived does not count."""

    code = "wrong_digest"


class NotVideo(UnsupportedMedia):
    """The first bytes are those of something that is certainly no video. Nothing of it is kept."""

    code = "not_a_video"


class UploadEmpty(InvalidRequest):
    """An upload without a single byte."""

    code = "empty_upload"


async def pieces(request: Request, idle_timeout_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises :class:`BodyStalled`, and Starlette's ``ClientDisconnect`` when the client goes."""
    stream = request.stream()
    while True:
        try:
            with anyio.fail_after(idle_timeout_s):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyStalled("No byte arrived for too long; send it again.", retry_after=1) from None
        if piece:
            yield piece


class Gathered:
    """Bytes between the event loop and a thread, in the pieces in which they came: large ones are not copied again."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Bytes that follow."""
        self._pieces.append(piece)
        self.size += len(piece)

    @property
    def is_full(self) -> bool:
        """Whether there are enough of them to be worth a call in a thread."""
        return self.size >= _WORTH_A_CALL

    @property
    def head(self) -> bytes:
        """As many of the first bytes as tell what a file is, or all of fewer."""
        return b"".join(self._until_head())

    @property
    def pieces(self) -> list[bytes]:
        """All of them in order, in no more pieces than one for each 64 KiB: small ones are put together."""
        if self.size < _WORTH_A_WRITE * len(self._pieces):
            return [b"".join(self._pieces)]
        return self._pieces

    def write_to(self, part: PartWriter) -> None:
        """Appends all of them. Blocks."""
        for piece in self.pieces:
            part.write(piece)

    def _until_head(self) -> Iterator[bytes]:
        left = HEAD
        for piece in self._pieces:
            if left <= 0:
                return
            yield piece[:left]
            left -= len(piece)


async def receive(
    source: AsyncIterator[bytes],
    part: PartWriter,
    *,
    threads: StoreThreads,
    limit: int,
    begins: bool,
    excess: PenstockError,
    transport: str,
    alive: Callable[[], Awaitable[None]],
) -> None:
    """Writes all of ``source`` to ``part``. ``alive`` is called at each arrival; what it raises ends the transfer.

    ``begins``: these are the file's first bytes. Raises ``excess`` as soon as there are more than ``limit`` bytes, and
    :class:`NotVideo`.
    """
    counter = metrics.RECEIVED_BYTES.labels(transport)
    gathered, unjudged, received = Gathered(), begins, part.size
    with metrics.TRANSFERS.track_inprogress():
        async with threads.behind() as behind:
            async for piece in source:
                received += len(piece)
                if received > limit:
                    raise excess
                counter.inc(len(piece))
                gathered.add(piece)
                if unjudged and gathered.size >= HEAD:
                    check_type(gathered.head)
                    unjudged = False
                if gathered.is_full:
                    full, gathered = gathered, Gathered()
                    await behind.run(full.write_to, part)
                await alive()
            if unjudged:
                check_type(gathered.head)
            if gathered.size:
                await behind.run(gathered.write_to, part)


def check_type(head: bytes) -> None:
    """Raises :class:`NotVideo` where a file that begins like this is certainly no video."""
    what = not_media(head)
    if what is not None:
        raise NotVideo(f"The file is {what}, not a video.")


def check_size(actual: int, expected: int | None) -> None:
    """Raises :class:`UploadEmpty` or :class:`SizeWrong`."""
    if actual == 0:
        raise UploadEmpty("The upload has no bytes.")
    if expected is not None and actual != expected:
        raise SizeWrong(f"{actual} bytes arrived where {expected} were announced.")


def check_digest(actual: str, expected: str | None) -> None:
    """Raises :class:`DigestWrong`; both are SHA-256 in lower-case hexadecimal."""
    if expected is not None and actual != expected:
        raise DigestWrong("The bytes that arrived do not have the announced SHA-256.")
