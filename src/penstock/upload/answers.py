"""``Idempotency-Key``: the first request with a key does the work, its repetitions are told what it answered.

The stored answer and the work are one transaction, so that a repetition after a crash finds both or neither. A request
that fails leaves no answer: nothing was created, and it may be tried again under the same key. One whose process died
gives way to its repetition within seconds, as it no longer says that it lives; if it does live, its work does not count.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import structlog
from anyio.to_thread import run_sync
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from penstock.catalog import Catalog, idempotency
from penstock.video.errors import Conflict, PenstockError

_log = structlog.get_logger()

_RENEW_S = 2.0  # a fifth of the key's life without a sign
REPLAYED = "idempotent-replayed"  # the header that tells a repetition's answer from the first


@dataclass(frozen=True, slots=True)
class Receipt:
    """The right to store the answer to one request. Without a key there is nothing to store, and all methods do nothing."""

    owner_id: str
    key: str | None
    holder: str
    life_ms: int

    def store(self, tx: Connection, status: int, body: BaseModel) -> None:
        """Stores the answer in the transaction that does the work.

        Raises :class:`Conflict` where a repetition has taken the key meanwhile: then this work must not count.
        """
        if self.key is None:
            return
        document = body.model_dump(mode="json")
        if not idempotency.finish(
            tx, self.owner_id, self.key, self.holder, status=status, body=document, life_ms=self.life_ms
        ):
            raise Conflict(
                "A repetition of this request has taken its place; ask with the same Idempotency-Key again.",
                code="request_superseded",
                retry_after=1,
            )

    def abandon(self, catalog: Catalog) -> None:
        """Lets the key go, unless the answer is stored already."""
        if self.key is not None:
            with catalog.write() as tx:
                idempotency.abandon(tx, self.owner_id, self.key, self.holder)


class Renewals:
    """The signs of life of all long requests of a process. Its methods belong to one event loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._running: set[Receipt] = set()

    @contextmanager
    def renewing(self, receipt: Receipt) -> Iterator[None]:
        """A request keeps its key for as long as it runs."""
        if receipt.key is not None:
            self._running.add(receipt)
        try:
            yield
        finally:
            self._running.discard(receipt)

    async def run(self) -> None:
        """To be run beside the requests, until cancelled."""
        while True:
            await anyio.sleep(_RENEW_S)
            if self._running:
                await run_sync(self._renew, tuple(self._running))

    def _renew(self, receipts: Iterable[Receipt]) -> None:
        try:
            with self._catalog.write() as tx:
                for receipt in receipts:
                    assert receipt.key is not None
                    idempotency.prolong(tx, receipt.owner_id, receipt.key, receipt.holder)
        except PenstockError as error:  # the keys may be lost, and with them the requests
            _log.warning("keys_not_renewed", code=error.code, count=len(tuple(receipts)))


def begin(
    catalog: Catalog, owner_id: str, key: str | None, digest: str, *, life_ms: int
) -> Receipt | JSONResponse:
    """The receipt of a first request, or the answer to a repeated one.

    Raises ``idempotency_key_reused`` (422) and ``request_in_progress`` (409).
    """
    if key is None:
        return Receipt(owner_id, None, "", life_ms)
    with catalog.write() as tx:
        begun = idempotency.begin(tx, owner_id, key, digest)
    if begun.answer is None:
        return Receipt(owner_id, key, begun.holder, life_ms)
    return JSONResponse(begun.answer.body, begun.answer.status or 200, {REPLAYED: "true"})


def digest_of(**facts: Any) -> str:
    """What makes two requests the same: the SHA-256 of their facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
