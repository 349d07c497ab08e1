"""What the endpoints of every way to upload share: the parts that they work with, and what they read from a request."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from penstock.access.authorize import Action, authorize
from penstock.access.principals import Principal
from penstock.catalog import Catalog
from penstock.upload import answers
from penstock.upload.answers import Receipt, Renewals
from penstock.upload.config import UploadConfig
from penstock.upload.direct import DirectParts
from penstock.upload.sessions import Sessions
from penstock.upload.transfers import Transfers
from penstock.upload.tus.resumable import Resumable
from penstock.upload.tus.transfers import ResumableTransfers
from penstock.upload.urls import Urls
from penstock.video.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    RateLimited,
    StorageFull,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from penstock.web_api.authentication import Authenticate

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any word that is new for a new request. A repetition with the same word gets the first answer.",
    ),
]
UploadId = Annotated[str, Path(description="Of an upload.", examples=["01kq3v5d2n4h7e9w2f5g8j1a3k"])]

REFUSED = (
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    Conflict,
    TooLarge,
    UnsupportedMedia,
    RateLimited,
    StorageFull,
)
"""What may be answered to whoever opens an upload."""

BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
"""A body of bytes, for the document."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints work with."""

    catalog: Catalog
    sessions: Sessions
    transfers: Transfers
    resumable: Resumable
    resumable_transfers: ResumableTransfers
    urls: Urls
    direct: DirectParts | None  # where a bucket receives parts itself
    config: UploadConfig
    authenticate: Authenticate
    renewals: Renewals


def uploader(authenticate: Authenticate) -> Authenticate:
    """Who may upload at all: settled before a request is read any further, so that a stranger learns nothing from it."""

    def uploader(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
        authorize(principal, Action.UPLOAD)
        return principal

    return uploader


def begin(service: Service, principal: Principal, key: str | None, **facts: Any) -> Receipt | JSONResponse:
    """The receipt of a request that may be repeated, or its stored answer; ``facts`` make two requests the same."""
    assert principal.account_id is not None
    life_ms = service.config.answer_life_s * 1000
    return answers.begin(
        service.catalog, principal.account_id, key, answers.digest_of(**facts), life_ms=life_ms
    )


def refuse_encoded(request: Request) -> None:
    """Raises ``content_encoding`` for a body that is not the file's own bytes."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMedia(
            "The body must be the file's own bytes, without a Content-Encoding.", code="content_encoding"
        )


def json_of(code: int, body: BaseModel) -> JSONResponse:
    """An answer with a body of its own status."""
    return JSONResponse(body.model_dump(mode="json"), code)
