"""The endpoints of uploads. They read what a request says and render what came of it; the rules are in ``sessions``."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, status
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from penstock.access.principals import Principal
from penstock.catalog.records import Upload
from penstock.catalog.words import Transport
from penstock.upload import messages, one_request, urls
from penstock.upload.messages import Initiate, Initiated, PartReceived, PartUrl, UploadedVideo
from penstock.upload.outcomes import NewUpload, Outcome, account_of, part_map
from penstock.upload.parts import Part
from penstock.upload.service import BYTES, REFUSED, Key, Service, begin, json_of, refuse_encoded, uploader
from penstock.upload.urls import SignedUrl
from penstock.video.errors import (
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    NotFound,
    RateLimited,
    StorageFull,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from penstock.web_api import context, problems

UploadId = Annotated[str, Path(description="Of an upload.", examples=["01kq3v5d2n4h7e9w2f5g8j1a3k"])]
Signature = Annotated[str, Query(description="As the service put it into the URL.")]

_OF_A_SESSION = (Unauthenticated, Forbidden, NotFound, Conflict, Gone)


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix=urls.PREFIX, tags=["uploads"])
    one_request.add(router, service)
    _add_initiate(router, service)
    _add_bytes(router, service)
    _add_session(router, service)
    return router


def _add_initiate(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(uploader(service.authenticate))]

    @router.post(
        "/initiate",
        status_code=status.HTTP_201_CREATED,
        response_model=Initiated,
        responses={
            200: {"model": Initiated, "description": "The owner already has these bytes: that video."},
            **problems.documented(*REFUSED),
        },
    )
    def initiate(principal: caller, body: Initiate, idempotency_key: Key = None) -> JSONResponse:
        """Opens an upload and says where its bytes go. The video exists from now on, as `pending`."""
        begun = begin(service, principal, idempotency_key, path="initiate", body=body.model_dump(mode="json"))
        if isinstance(begun, JSONResponse):
            return begun
        answer: list[tuple[int, Initiated]] = []

        def store(tx: Connection, outcome: Outcome) -> None:
            made = _initiated(service, body, outcome)
            code = status.HTTP_200_OK if outcome.duplicate else status.HTTP_201_CREATED
            begun.store(tx, code, made)
            answer.append((code, made))

        try:
            new = NewUpload(body, Transport(body.transport), body.size, body.content_type)
            outcome = service.sessions.open(principal, new, store_answer=store)
        finally:
            begun.abandon(service.catalog)
        context.note(video_id=outcome.video.id, upload_id=outcome.upload.id if outcome.upload else None)
        return json_of(*answer[0])

    @router.post("/parts", responses=problems.documented(InvalidRequest, *_OF_A_SESSION))
    def parts(principal: caller, body: messages.AskParts) -> messages.Parts:
        """Which parts of an open upload are there, and fresh URLs for the others."""
        upload = service.sessions.find(principal, body.upload_id)
        context.note(video_id=upload.video_id, upload_id=upload.id)
        if upload.transport not in {Transport.PUT, Transport.DIRECT}:
            raise Conflict("This upload does not come in parts and has no URLs.", code="transport_mismatch")
        whole, present = service.sessions.parts(upload)
        missing = whole.missing({part.number: part.size for part in present})
        return messages.Parts(
            upload_id=upload.id,
            part_size=whole.part_size,
            received=[PartReceived.of(part) for part in present],
            missing=[PartUrl.of(part, _address(service, upload, part)) for part in missing],
        )


def _add_bytes(router: APIRouter, service: Service) -> None:
    refused = problems.documented(
        InvalidRequest,
        Forbidden,
        NotFound,
        Conflict,
        Gone,
        TooLarge,
        UnsupportedMedia,
        RateLimited,
        StorageFull,
    )
    described: dict[str, Any] = {
        "responses": refused,
        "response_model": PartReceived,
        "openapi_extra": {"requestBody": {"required": True, "content": BYTES}},
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
    caller = Annotated[Principal, Depends(uploader(service.authenticate))]

    @router.post("/complete", responses=problems.documented(InvalidRequest, *_OF_A_SESSION))
    def complete(principal: caller, body: messages.Complete) -> UploadedVideo:
        """Ends an upload whose bytes are all there: from now on the video is processed. Repeating it is harmless.

        A `direct` upload is read once more for its digest, about a second per gigabyte.
        """
        claimed = [(part.number, part.etag) for part in body.parts]
        outcome = service.sessions.complete(principal, body.upload_id, claimed, sha256=body.sha256)
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
        upload = service.sessions.find(principal, upload_id)
        service.sessions.cancel(upload, who=account_of(principal))


async def _receive_part(
    service: Service, request: Request, upload_id: str, number: int, transport: Transport
) -> JSONResponse:
    refuse_encoded(request)
    context.note(upload_id=upload_id, part=number)
    part = await service.transfers.part(request, upload_id, number, transport)
    answer = PartReceived.of(part)
    return JSONResponse(answer.model_dump(mode="json"), headers={"etag": f'"{answer.etag}"'})


def _initiated(service: Service, body: Initiate, outcome: Outcome) -> Initiated:
    signer, transport, upload = service.urls, Transport(body.transport), outcome.upload
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
    if transport is Transport.TUS:
        signed_tus = signer.tus(upload.id)
        expires_at = messages.moment(signed_tus.expires * 1000)
        return answer.model_copy(update={"url": signed_tus.url, "url_expires_at": expires_at})
    every = part_map(upload).all()
    signed = [PartUrl.of(part, _address(service, upload, part)) for part in every]
    return answer.model_copy(update={"part_size": upload.part_size, "parts": signed})


def _address(service: Service, upload: Upload, part: Part) -> SignedUrl:
    if upload.transport is Transport.PUT:
        return service.urls.content(upload.id)
    if service.direct is not None:
        return service.direct.address(upload, part)
    return service.urls.part(upload.id, part.number)
