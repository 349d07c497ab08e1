"""One file's way to the server: told beforehand what it is, sent from where it stands, acknowledged, compared.

The server is the truth of what has arrived. What is remembered here (see ``memory``) only says which upload to ask about.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from penstock.client import memory
from penstock.client.connection import Connection
from penstock.client.errors import ClientError
from penstock.client.memory import Memory, Remembered
from penstock.client.models import Initiated, Parts, Status, Uploaded, read
from penstock.client.sending import Progress, Sending
from penstock.client.sources import Source, plain

PARALLEL = 3  # parts under way: hides the server's sync of one behind the bytes of the next
_AT_ONCE = (
    4 * 1024 * 1024
)  # bytes up to which one request is cheaper than three, and sending it again costs little
_ENDED = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Description:
    """What is said about the file beside its bytes."""

    title: str | None = None
    visibility: str | None = None
    allow_duplicate: bool = False

    def given(self) -> dict[str, Any]:
        """As the API names it, without what was not said."""
        every = {
            "title": self.title,
            "visibility": self.visibility,
            "allow_duplicate": self.allow_duplicate or None,
        }
        return {name: value for name, value in every.items() if value is not None}


class Uploading:
    """One file on its way. ``remembered`` is where a later run finds it again; None begins anew each time."""

    def __init__(
        self,
        connection: Connection,
        source: Source,
        description: Description,
        progress: Progress,
        *,
        remembered: Memory | None = None,
        parallel: int = PARALLEL,
    ) -> None:
        """Raises :class:`ClientError` where the source cannot be read."""
        self._connection = connection
        self._source = source
        self._description = description
        self._progress = progress
        self._memory = remembered
        self._parallel = parallel
        self._identity = source.identity()
        self._label = memory.label(connection.caller, self._identity, repr(description))
        self._known = Remembered() if remembered is None else remembered.recall(self._label)

    def run(self) -> Uploaded:
        """Returns once the server has acknowledged the whole file as durable. Raises :class:`ClientError`."""
        there = self.there_already()
        if there is not None:
            return there
        if self._source.cheap and self._known.sha256 is None:
            self._know(sha256=self._hash())
        if self._known.attempt is None:
            self._know(attempt=secrets.token_urlsafe(24))
        try:
            uploaded = self._send_at_once() if self._source.size <= _AT_ONCE else self._send_in_parts()
        except ClientError as error:
            raise self._explained(error) from error
        self._know(attempt=None, upload_id=None, video_id=uploaded.id, sha256=uploaded.sha256)
        return uploaded

    def there_already(self) -> Uploaded | None:
        """The video that an earlier run made of this file, where it still stands: then not even the digest is read."""
        if self._known.video_id is None or self._description.allow_duplicate:
            return None
        try:
            answer = self._connection.json("GET", f"/api/status/{self._known.video_id}")
        except ClientError as error:
            if error.status not in _ENDED:
                raise
            return None
        status = read(Status, answer)
        if status.state in {"failed", "deleted"}:
            return None
        return Uploaded(
            status.id, status.state, duplicate=True, size=self._source.size, sha256=self._known.sha256
        )

    # -- small

    def _send_at_once(self) -> Uploaded:
        read_whole: list[str] = []  # digests of bodies that were read to their end: a repeated one may not be

        def content() -> Iterator[bytes]:
            digest, done = hashlib.sha256(), 0
            self._progress("send", 0)
            for piece in self._source.pieces(0, self._source.size):
                digest.update(piece)
                yield piece
                done += len(piece)
                self._progress("send", done)
            read_whole.append(digest.hexdigest())

        answer = self._connection.json(
            "POST",
            "/api/uploads",
            params={
                "filename": plain(self._source.name),
                "sha256": self._known.sha256,
                **self._description.given(),
            },
            content=content,
            headers={"Idempotency-Key": self._known.attempt or "", "Content-Length": str(self._source.size)},
        )
        return self._compared(read(Uploaded, answer), self._known.sha256 or next(iter(read_whole), None))

    # -- large

    def _send_in_parts(self) -> Uploaded:
        if self._known.upload_id is not None:
            try:
                return self._go_on(self._known.upload_id, None)
            except ClientError as error:
                if error.status not in _ENDED:
                    raise
                self._know(upload_id=None, attempt=secrets.token_urlsafe(24))
        initiated = self._initiate()
        if initiated.upload_id is None:  # these bytes are there already
            size, digest = self._source.size, self._known.sha256
            return Uploaded(initiated.video_id, "uploaded", duplicate=True, size=size, sha256=digest)
        self._know(upload_id=initiated.upload_id)
        return self._go_on(initiated.upload_id, initiated)

    def _initiate(self) -> Initiated:
        body = {
            "filename": plain(self._source.name),
            "size": self._source.size,
            "sha256": self._known.sha256,
            "transport": "direct",
            **self._description.given(),
        }
        answer = self._connection.json(
            "POST",
            "/api/uploads/initiate",
            body={name: value for name, value in body.items() if value is not None},
            headers={"Idempotency-Key": self._known.attempt or ""},
        )
        return read(Initiated, answer)

    def _go_on(self, upload_id: str, initiated: Initiated | None) -> Uploaded:
        sending = Sending(self._connection, self._source, upload_id, self._progress, parallel=self._parallel)
        digest, found, trouble = self._known.sha256, _all_missing(initiated), 0
        while True:
            try:
                found = found or sending.ask()
                if self._source.cheap:
                    sending.send(found.missing)
                else:
                    digest = sending.send_in_order(found)
                return self._compared(self._complete(sending, upload_id, digest), digest)
            except (
                ClientError
            ) as error:  # another program sends the same file: it may replace parts, and be the first
                if error.code == "upload_completed":
                    return self._compared(self._complete(sending, upload_id, digest), digest)
                if error.code != "parts_missing":
                    raise
                trouble += 1
                self._connection.pause(trouble, error)
                found = None

    def _complete(self, sending: Sending, upload_id: str, digest: str | None) -> Uploaded:
        body: dict[str, Any] = {
            "upload_id": upload_id,
            "parts": [{"number": number, "etag": tag} for number, tag in sorted(sending.tags.items()) if tag],
        }
        if not self._source.cheap and digest is not None:  # that of others went ahead
            body["sha256"] = digest
        answer = self._connection.json("POST", "/api/uploads/complete", body=body, repeatable=True)
        return read(Uploaded, answer)

    # -- what is known

    def _hash(self) -> str:
        digest, done = hashlib.sha256(), 0
        for piece in self._source.pieces(0, self._source.size):
            digest.update(piece)
            done += len(piece)
            self._progress("hash", done)
        return digest.hexdigest()

    def _know(self, **changes: str | None) -> None:
        """Notes it before the next request, which may be the last thing that this program does."""
        self._known = replace(self._known, **changes)
        if self._memory is not None:
            self._memory.remember(self._label, self._known)

    def _compared(self, uploaded: Uploaded, digest: str | None) -> Uploaded:
        """The answer, with our digest where the server does not know its own yet (bytes that went to a bucket)."""
        if digest is None or uploaded.sha256 is None:
            return replace(uploaded, sha256=uploaded.sha256 or digest)
        if uploaded.sha256 != digest:
            raise ClientError(
                f"Video {uploaded.id} is not what was read from {self._source.shown}: its SHA-256 is {uploaded.sha256},"
                f" not {digest}. Delete it, and upload the file again.",
                code="digest_differs",
            )
        return uploaded

    def _explained(self, error: ClientError) -> ClientError:
        """The server refused the digest: either the file is another one by now, or its bytes were changed on the way."""
        if error.code not in {"wrong_digest", "digest_differs"}:
            return error
        if self._known.upload_id is not None:
            with suppress(ClientError):  # it would expire by itself
                self._connection.request("DELETE", f"/api/uploads/{self._known.upload_id}")
        self._know(attempt=None, sha256=None, upload_id=None)
        if error.code == "wrong_digest" and self._source.identity() != self._identity:
            return ClientError(
                f"{self._source.shown} was changed while it was sent; run the same command again.",
                code="file_changed",
            )
        return error


def _all_missing(initiated: Initiated | None) -> Parts | None:
    if initiated is None or not initiated.parts or initiated.part_size is None:
        return None
    return Parts(initiated.part_size, (), initiated.parts)
