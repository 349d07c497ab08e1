"""From a request's body to a staged file: bounded buffers, a limit, and an end to clients that went silent.

The only place of this service where bytes pass. The event loop receives; a thread writes and hashes, one mebibyte at a
time, while the server reads ahead within its own bounded window. What the bytes are for is decided elsewhere.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
from starlette.requests import Request

from penstock.ffmpeg.sniff import HEAD, not_media
from penstock.storage.staging import PartWriter
from penstock.storage.store import CHUNK
from penstock.upload import metrics
from penstock.upload.store_threads import StoreThreads
from penstock.video.errors import InvalidRequest, PenstockError, UnsupportedMedia
from penstock.web_api.bodies import BodyStalled


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
    buffer, unjudged = bytearray(), begins
    with metrics.TRANSFERS.track_inprogress():
        async for piece in source:
            if part.size + len(buffer) + len(piece) > limit:
                raise excess
            counter.inc(len(piece))
            buffer += piece
            if unjudged and len(buffer) >= HEAD:
                check_type(buffer)
                unjudged = False
            if len(buffer) >= CHUNK:
                full, buffer = buffer, bytearray()
                await threads.run(part.write, full)
            await alive()
        if unjudged:
            check_type(buffer)
        if buffer:
            await threads.run(part.write, buffer)


def check_type(head: bytes | bytearray) -> None:
    """Raises :class:`NotVideo` where a file that begins like this is certainly no video."""
    what = not_media(bytes(head[:HEAD]))
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
