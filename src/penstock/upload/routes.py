"""The endpoints of uploads. They read what a request says and render what came of it; the rules are in ``sessions``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Path, Query, Request, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection

from penstock.access.authorize import Action, authorize
from penstock.access.principals import Principal
from penstock.catalog import Catalog
from penstock.catalog.words import Transport
from penstock.upload import answers, messages, urls
from penstock.upload.answers import Receipt
from penstock.upload.config import UploadConfig
from penstock.upload.forms import Form
from penstock.upload.messages import Described, Initiate, Initiated, PartReceived, PartUrl, UploadedVideo
from penstock.upload.outcomes import NewUpload, Outcome, part_map
from penstock.upload.sessions import Sessions
from penstock.upload.transfers import Transfers, announced_length
from penstock.upload.urls import Urls
from penstock.video.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    InvalidRequest,
    NotFound,
    StorageFull,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from penstock.video.visibility import Visibility
from penstock.web_api import context, problems
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
Signature = Annotated[str, Query(description="As the service put it into the URL.")]

_REFUSED = (InvalidRequest, Unauthenticated, Forbidden, Conflict, TooLarge, UnsupportedMedia, StorageFull)
_OF_A_SESSION = (Unauthenticated, Forbidden, NotFound, Conflict, Gone)
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "title": {"type": "string"},
        "visibility": {"type": "string", "enum": [str(choice) for choice in Visibility]},
        "sha256": {"type": "string"},
        "allow_duplicate": {"type": "boolean"},
        "file": {"type": "string", "format": "binary", "description": "The last part of the form."},
    },
}
_BYTES_OR_FORM = {"required": True, "content": {**_BYTES, "multipart/form-data": {"schema": _FORM}}}


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints work with."""

    catalog: Catalog
    sessions: Sessions
    transfers: Transfers
    urls: Urls
    config: UploadConfig
    authenticate: Authenticate


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix=urls.PREFIX, tags=["uploads"])
    _add_one_request(router, service)
    _add_initiate(router, service)
    _add_bytes(router, service)
    _add_session(router, service)
    return router


def _add_one_request(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(_uploader(service.authenticate))]

    @router.post(
        "",
        status_code=status.HTTP_201_CREATED,
        response_model=UploadedVideo,
        responses={
            200: {"model": UploadedVideo, "description": "The owner already has these bytes: that video."},
            **problems.documented(*_REFUSED),
        },
        openapi_extra={"requestBody": _BYTES_OR_FORM},
    )
    async def upload(
        request: Request,
        principal: caller,
        filename: Annotated[
            messages.Filename | None, Query(description="Needed unless the body is a form.")
        ] = None,
        title: Annotated[messages.Title | None, Query()] = None,
        visibility: Annotated[Visibility | None, Query()] = None,
        sha256: Annotated[messages.Sha256 | None, Query(description="Of the whole file.")] = None,
        allow_duplicate: Annotated[bool | None, Query()] = None,
        idempotency_key: Key = None,
    ) -> JSONResponse:
        """Uploads a file in one request: its bytes as the body, or a form whose last part is the file.

        The answer comes when the file is durable. The connection must hold; `initiate` offers what survives a break.
        """
        _refuse_encoded(request)
        given = {
            "filename": filename,
            "title": title,
            "visibility": visibility,
            "sha256": sha256,
            "allow_duplicate": allow_duplicate,
        }
        begun = await run_sync(_begin_upload, service, request, principal, idempotency_key)
        if isinstance(begun, JSONResponse):
            return begun
        try:
            return await _receive_upload(service, request, principal, given, begun)
        finally:
            await run_sync(begun.abandon, service.catalog)  # where an answer is stored this does nothing


def _add_initiate(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(_uploader(service.authenticate))]

    @router.post(
        "/initiate",
        status_code=status.HTTP_201_CREATED,
        response_model=Initiated,
        responses={
            200: {"model": Initiated, "description": "The owner already has these bytes: that video."},
            **problems.documented(*_REFUSED),
        },
    )
    def initiate(principal: caller, body: Initiate, idempotency_key: Key = None) -> JSONResponse:
        """Opens an upload and says where its bytes go. The video exists from now on, as `pending`."""
        if body.transport == "tus":
            raise InvalidRequest(
                "This server does not offer 'tus'; use 'direct' or 'put'.",
                code="transport_unsupported",
                errors=(FieldError("/body/transport", "'direct' or 'put'"),),
            )
        begun = _begin(
            service, principal, idempotency_key, path="initiate", body=body.model_dump(mode="json")
        )
        if isinstance(begun, JSONResponse):
            return begun
        answer: list[tuple[int, Initiated]] = []

        def store(tx: Connection, outcome: Outcome) -> None:
            made = _initiated(service.urls, body, outcome)
            code = status.HTTP_200_OK if outcome.duplicate else status.HTTP_201_CREATED
            begun.store(tx, code, made)
            answer.append((code, made))

        try:
            new = NewUpload(body, Transport(body.transport), body.size, body.content_type)
            outcome = service.sessions.open(principal, new, store_answer=store)
        finally:
            begun.abandon(service.catalog)
        context.note(video_id=outcome.video.id, upload_id=outcome.upload.id if outcome.upload else None)
        return _json(*answer[0])

    @router.post("/parts", responses=problems.documented(InvalidRequest, *_OF_A_SESSION))
    def parts(principal: caller, body: messages.AskParts) -> messages.Parts:
        """Which parts of an open upload are there, and fresh URLs for the others."""
        upload = service.sessions.find(principal, body.upload_id)
        context.note(video_id=upload.video_id, upload_id=upload.id)
        if upload.transport is Transport.ONE_REQUEST:
            raise Conflict("This upload comes in one request and has no URLs.", code="transport_mismatch")
        whole, present = service.sessions.parts(upload)
        missing = whole.missing({part.number: part.size for part in present})
        return messages.Parts(
            upload_id=upload.id,
            part_size=whole.part_size,
            received=[PartReceived.of(part) for part in present],
            missing=[
                PartUrl.of(part, _address(service.urls, upload.transport, upload.id, part.number))
                for part in missing
            ],
        )


def _add_bytes(router: APIRouter, service: Service) -> None:
    refused = problems.documented(
        InvalidRequest, Forbidden, NotFound, Conflict, Gone, UnsupportedMedia, StorageFull
    )
    described: dict[str, Any] = {
        "responses": refused,
        "response_model": PartReceived,
        "openapi_extra": {"requestBody": {"required": True, "content": _BYTES}},
    }

    @router.put("/{upload_id}/content", **described)
    async def put_content(request: Request, upload_id: UploadId, signature: Signature = "") -> JSONResponse:
        """Receives the whole file of a `put` upload. Sending it again replaces it, until the upload is completed."""
        service.urls.check(urls.content_path(upload_id), signature)
        return await _receive_part(service, request, upload_id, 1, Transport.PUT)

    @router.put("/{upload_id}/parts/{number}", **described)
    async def put_part(
        request: Request, upload_id: UploadId, number: int, signature: Signature = ""
    ) -> JSONResponse:
        """Receives one part of a `direct` upload. Sending it again replaces it, until the upload is completed."""
        service.urls.check(urls.part_path(upload_id, number), signature)
        return await _receive_part(service, request, upload_id, number, Transport.DIRECT)


def _add_session(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(_uploader(service.authenticate))]

    @router.post("/complete", responses=problems.documented(InvalidRequest, *_OF_A_SESSION))
    def complete(principal: caller, body: messages.Complete) -> UploadedVideo:
        """Ends an upload whose bytes are all there: from now on the video is processed. Repeating it is harmless.

        A `direct` upload is read once more for its digest, about a second per gigabyte.
        """
        claimed = [(part.number, part.etag) for part in body.parts]
        outcome = service.sessions.complete(principal, body.upload_id, claimed)
        context.note(video_id=outcome.video.id, upload_id=body.upload_id)
        return UploadedVideo.of(outcome.video, upload_id=body.upload_id, duplicate=outcome.duplicate)

    @router.get("/{upload_id}", responses=problems.documented(Unauthenticated, Forbidden, NotFound))
    def get_upload(principal: caller, upload_id: UploadId) -> messages.UploadStatus:
        """How an upload stands."""
        upload = service.sessions.find(principal, upload_id)
        return messages.UploadStatus.of(upload, service.sessions.received(upload))

    @router.delete(
        "/{upload_id}",
        status_code=status.HTTP_204_NO_CONTENT,
        responses=problems.documented(Unauthenticated, Forbidden, NotFound, Conflict),
    )
    def cancel_upload(principal: caller, upload_id: UploadId) -> None:
        """Cancels an open upload; its bytes are removed and its video is deleted. Repeating it is harmless."""
        context.note(upload_id=upload_id)
        service.sessions.cancel(principal, upload_id)


def _uploader(authenticate: Authenticate) -> Authenticate:
    """Who may upload at all: settled before a request is read any further, so that a stranger learns nothing from it."""

    def uploader(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
        authorize(principal, Action.UPLOAD)
        return principal

    return uploader


async def _receive_upload(
    service: Service, request: Request, principal: Principal, given: Mapping[str, Any], receipt: Receipt
) -> JSONResponse:
    pieces = service.transfers.pieces(request)
    if _media_type(request) == "multipart/form-data":
        form = Form(request.headers["content-type"], pieces)
        file = await form.until_file()
        described = _described({**given, **file.fields, "filename": file.filename or None}, "body")
        content, size, content_type = form.content(), None, file.content_type
    else:
        described = _described(given, "query")
        content, size, content_type = pieces, announced_length(request), _media_type(request)
    answer: list[tuple[int, UploadedVideo]] = []

    def store(tx: Connection, outcome: Outcome) -> None:
        upload_id = outcome.upload.id if outcome.upload else None
        made = UploadedVideo.of(outcome.video, upload_id=upload_id, duplicate=outcome.duplicate)
        code = status.HTTP_200_OK if outcome.duplicate else status.HTTP_201_CREATED
        receipt.store(tx, code, made)
        answer.append((code, made))

    new = NewUpload(described, Transport.ONE_REQUEST, size, content_type)
    outcome = await service.transfers.whole(principal, new, content, receipt=receipt, store_answer=store)
    context.note(video_id=outcome.video.id)
    return _json(*answer[0])


async def _receive_part(
    service: Service, request: Request, upload_id: str, number: int, transport: Transport
) -> JSONResponse:
    _refuse_encoded(request)
    context.note(upload_id=upload_id, part=number)
    part = await service.transfers.part(request, upload_id, number, transport)
    answer = PartReceived.of(part)
    return JSONResponse(answer.model_dump(mode="json"), headers={"etag": f'"{answer.etag}"'})


def _begin_upload(
    service: Service, request: Request, principal: Principal, key: str | None
) -> Receipt | JSONResponse:
    """What makes two uploads in one request the same, without reading their bytes: all that stands before them."""
    media_type = _media_type(request)
    # Each repetition of a form has a boundary, and so maybe a length, of its own.
    length = None if media_type == "multipart/form-data" else announced_length(request)
    query = sorted(request.query_params.multi_items())
    return _begin(service, principal, key, path="upload", query=query, media_type=media_type, length=length)


def _begin(service: Service, principal: Principal, key: str | None, **facts: Any) -> Receipt | JSONResponse:
    assert principal.account_id is not None
    life_ms = service.config.answer_life_s * 1000
    return answers.begin(
        service.catalog, principal.account_id, key, answers.digest_of(**facts), life_ms=life_ms
    )


def _initiated(signer: Urls, body: Initiate, outcome: Outcome) -> Initiated:
    transport, upload = Transport(body.transport), outcome.upload
    if upload is None:
        return Initiated(
            upload_id=None,
            video_id=outcome.video.id,
            transport=transport,
            duplicate=True,
            size=body.size,
            expires_at=None,
        )
    answer = Initiated(
        upload_id=upload.id,
        video_id=upload.video_id,
        transport=transport,
        size=body.size,
        expires_at=messages.moment(upload.expires_at),
    )
    if transport is Transport.PUT:
        only = PartUrl.of(part_map(upload).all()[0], signer.content(upload.id))
        return answer.model_copy(update={"url": only.url, "url_expires_at": only.expires_at})
    every = part_map(upload).all()
    signed = [PartUrl.of(part, signer.part(upload.id, part.number)) for part in every]
    return answer.model_copy(update={"part_size": upload.part_size, "parts": signed})


def _address(signer: Urls, transport: Transport, upload_id: str, number: int) -> urls.SignedUrl:
    return signer.content(upload_id) if transport is Transport.PUT else signer.part(upload_id, number)


def _described(values: Mapping[str, Any], where: str) -> Described:
    """What a client said about its file, wherever it said it. Raises :class:`InvalidRequest` with the fields at fault."""
    try:
        return Described.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        fields = tuple(
            FieldError(f"/{where}/{'/'.join(map(str, item['loc']))}", item["msg"]) for item in error.errors()
        )
        raise InvalidRequest("The upload is not described well; see 'errors'.", errors=fields) from None


def _media_type(request: Request) -> str | None:
    """The body's type without parameters; None where it is absent or only a client's default for any body."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type[:255] if media_type and media_type != "application/x-www-form-urlencoded" else None


def _refuse_encoded(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMedia(
            "The body must be the file's own bytes, without a Content-Encoding.", code="content_encoding"
        )


def _json(code: int, body: BaseModel) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), code)
