"""``Idempotency-Key``: the first request with a key does the work, its repetitions are told what it answered.

The stored answer and the work are one transaction, so that a repetition after a crash finds both or neither. A request
that fails leaves no answer: nothing was created, and it may be tried again under the same key.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from penstock.catalog import Catalog, idempotency

REPLAYED = "idempotent-replayed"  # the header that tells a repetition's answer from the first


@dataclass(frozen=True, slots=True)
class Receipt:
    """The right to store the answer to one request. Without a key there is nothing to store, and all methods do nothing."""

    owner_id: str
    key: str | None
    holder: str
    life_ms: int

    def store(self, tx: Connection, status: int, body: BaseModel) -> None:
        """Stores the answer in the transaction that does the work."""
        if self.key is not None:
            document = body.model_dump(mode="json")
            idempotency.finish(
                tx, self.owner_id, self.key, self.holder, status=status, body=document, life_ms=self.life_ms
            )

    def prolong(self, tx: Connection) -> None:
        """Keeps the key while a long request runs."""
        if self.key is not None:
            idempotency.prolong(tx, self.owner_id, self.key, self.holder)

    def abandon(self, catalog: Catalog) -> None:
        """Lets the key go, unless the answer is stored already."""
        if self.key is not None:
            with catalog.write() as tx:
                idempotency.abandon(tx, self.owner_id, self.key, self.holder)


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
