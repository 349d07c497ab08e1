"""Uploads in one request: the body is the file, or a form that ends with it."""

from collections.abc import Mapping
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, status
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy import Connection

from penstock.access.principals import Principal
from penstock.catalog.words import Transport
from penstock.upload import messages
from penstock.upload.answers import Receipt
from penstock.upload.forms import Form
from penstock.upload.messages import Described, UploadedVideo
from penstock.upload.outcomes import NewUpload, Outcome
from penstock.upload.service import BYTES, REFUSED, Key, Service, begin, json_of, refuse_encoded, uploader
from penstock.upload.transfers import announced_length
from penstock.video.errors import FieldError, InvalidRequest
from penstock.video.visibility import Visibility
from penstock.web_api import context, problems

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
_BYTES_OR_FORM = {"required": True, "content": {**BYTES, "multipart/form-data": {"schema": _FORM}}}


def add(router: APIRouter, service: Service) -> None:
    """Adds the endpoint."""
    caller = Annotated[Principal, Depends(uploader(service.authenticate))]

    @router.post(
        "",
        status_code=status.HTTP_201_CREATED,
        response_model=UploadedVideo,
        responses={
            200: {"model": UploadedVideo, "description": "The owner already has these bytes: that video."},
            **problems.documented(*REFUSED),
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
        refuse_encoded(request)
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
            with service.renewals.renewing(begun):
                return await _receive_upload(service, request, principal, given, begun)
        finally:
            await run_sync(begun.abandon, service.catalog)  # where an answer is stored this does nothing


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
    outcome = await service.transfers.whole(principal, new, content, store_answer=store)
    context.note(video_id=outcome.video.id)
    return json_of(*answer[0])


def _begin_upload(
    service: Service, request: Request, principal: Principal, key: str | None
) -> Receipt | JSONResponse:
    """What makes two uploads in one request the same, without reading their bytes: all that stands before them."""
    media_type = _media_type(request)
    # Each repetition of a form has a boundary, and so maybe a length, of its own.
    length = None if media_type == "multipart/form-data" else announced_length(request)
    query = sorted(request.query_params.multi_items())
    return begin(service, principal, key, path="upload", query=query, media_type=media_type, length=length)


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
