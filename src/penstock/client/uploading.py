"""Sending a file: read from disk in small pieces, in parts that are each repeated alone where a connection breaks."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urljoin

from penstock.client.connection import Connection
from penstock.client.errors import ClientError
from penstock.client.models import Initiated, Parts, PartUrl, Uploaded, read

_PIECE = 256 * 1024  # bytes read and sent at a time: a progress bar moves, and memory stays small
_PARALLEL = 3  # parts under way: hides the server's sync of one behind the bytes of the next

Progress = Callable[[str, int], None]  # (stage ``hash`` or ``send``, bytes done so far)


@dataclass(frozen=True, slots=True)
class Description:
    """What is said about the file beside its bytes."""

    title: str | None = None
    visibility: str | None = None
    allow_duplicate: bool = False


class Uploading:
    """One file on its way."""

    def __init__(
        self, connection: Connection, path: Path, description: Description, progress: Progress
    ) -> None:
        """Raises :class:`ClientError` where the file cannot be read."""
        self._connection = connection
        self._path = path
        self._description = description
        self._progress = progress
        self._size = _size(path)
        self._sent = 0
        self._lock = Lock()

    def run(self) -> Uploaded:
        """Returns once the server has acknowledged the whole file as durable. Raises :class:`ClientError`."""
        digest = self._hash()
        initiated = self._initiate(digest)
        if initiated.upload_id is None:  # these bytes are there already
            return Uploaded(initiated.video_id, "uploaded", duplicate=True, size=self._size, sha256=digest)
        self._send(initiated.upload_id, initiated.parts or ())
        answer = self._connection.json(
            "POST",
            "/api/uploads/complete",
            body={"upload_id": initiated.upload_id},
            headers={"Idempotency-Key": secrets.token_urlsafe(24)},
        )
        return read(Uploaded, answer)

    def _hash(self) -> str:
        digest, done = hashlib.sha256(), 0
        for piece in _pieces(self._path, 0, self._size):
            digest.update(piece)
            done += len(piece)
            self._progress("hash", done)
        return digest.hexdigest()

    def _initiate(self, digest: str) -> Initiated:
        body: dict[str, Any] = {
            "filename": self._path.name,
            "size": self._size,
            "sha256": digest,
            "transport": "direct",
            "title": self._description.title,
            "visibility": self._description.visibility,
            "allow_duplicate": self._description.allow_duplicate or None,
        }
        answer = self._connection.json(
            "POST",
            "/api/uploads/initiate",
            body={name: value for name, value in body.items() if value is not None},
            headers={"Idempotency-Key": secrets.token_urlsafe(24)},
        )
        return read(Initiated, answer)

    def _send(self, upload_id: str, parts: tuple[PartUrl, ...]) -> None:
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="upload") as pool:
            sending = [pool.submit(self._send_in_time, upload_id, part) for part in parts]
            try:
                for part in sending:
                    part.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _send_in_time(self, upload_id: str, part: PartUrl) -> None:
        """Sends a part, with a fresh address where its own expired while the earlier ones were under way."""
        try:
            self._send_part(part)
        except ClientError as error:
            if error.code != "signature_expired":
                raise
            answer = self._connection.json("POST", "/api/uploads/parts", body={"upload_id": upload_id})
            missing = read(Parts, answer).missing
            self._send_part(next(fresh for fresh in missing if fresh.number == part.number))

    def _send_part(self, part: PartUrl) -> None:
        counted = 0

        def content() -> Iterator[bytes]:
            nonlocal counted
            self._count(-counted)  # a repetition sends all of it again
            counted = 0
            for piece in _pieces(self._path, part.offset, part.size):
                yield piece
                counted += len(piece)
                self._count(len(piece))

        url = urljoin(f"{self._connection.base_url}/", part.url)
        self._connection.request("PUT", url, content=content, headers={"Content-Length": str(part.size)})

    def _count(self, sent: int) -> None:
        with self._lock:
            self._sent += sent
            self._progress("send", self._sent)


def _size(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return file.seek(0, 2)
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}.", code="file_unreadable") from None


def _pieces(path: Path, offset: int, size: int) -> Iterator[bytes]:
    """The bytes of a part of the file. Raises :class:`ClientError` where the file changed under our hands."""
    left = size
    with path.open("rb") as file:
        file.seek(offset)
        while left:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise ClientError(f"{path} became shorter while it was read.", code="file_changed")
            left -= len(piece)
            yield piece
