"""The endpoints of tus: headers in, headers out. The rules are in ``protocol``, what they do to an upload in ``resumable``."""

from collections.abc import Mapping
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Path, Query, Request, status
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from penstock.access.authorize import Action, authorize
from penstock.access.principals import Principal
from penstock.catalog.records import Upload
from penstock.catalog.words import Transport, UploadState
from penstock.upload import urls
from penstock.upload.messages import Described, media_type
from penstock.upload.outcomes import NewUpload, Outcome, account_of
from penstock.upload.service import Key, Service, begin, refuse_encoded, uploader
from penstock.upload.transfers import announced_length
from penstock.upload.tus import protocol
from penstock.upload.tus.protocol import Creation, HeaderInvalid, Locked, Patch, VersionUnsupported
from penstock.upload.tus.resumable import of_this_kind
from penstock.upload.tus.transfers import Arrived
from penstock.video.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    NotFound,
    PenstockError,
    PermanentError,
    RateLimited,
    StorageFull,
    TooLarge,
    TransientError,
    Unauthenticated,
    UnsupportedMedia,
)
from penstock.web_api import context, problems

_NO_BODY: dict[str, Any] = {"content": {}}
_BYTES = {protocol.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_DESCRIBED = {"filename": "filename", "name": "filename", "title": "title", "visibility": "visibility"} | {
    "sha256": "sha256",
    "allow_duplicate": "allow_duplicate",
}  # keys of the metadata that are looked at, to the fields that they fill; others are kept, and told again

Version = Annotated[
    str | None,
    Header(
        alias="Tus-Resumable",
        description="The version that the client speaks.",
        json_schema_extra={
            "enum": [protocol.VERSION]
        },  # described, not checked: 412 is the protocol's answer
    ),
]
UploadId = Annotated[str, Path(description="Of an upload.", examples=["01kq3v5d2n4h7e9w2f5g8j1a3k"])]
Signature = Annotated[
    str | None, Query(description="As `initiate` put it into the URL; without it a key is needed.")
]
Length = Annotated[str | None, Header(alias="Upload-Length", description="Bytes of the whole.")]
Checked = Annotated[
    str | None,
    Header(alias="Upload-Checksum", description="`sha1` or `sha256`, a space, the digest in base64."),
]


class Opened(BaseModel):
    """What a repeated creation is told; kept with its ``Idempotency-Key``."""

    upload_id: str
    video_id: str


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix=urls.TUS_PREFIX, tags=["tus"])
    _add_options(router, service)
    _add_creation(router, service)
    _add_bytes(router, service)
    _add_session(router, service)
    return router


def _add_options(router: APIRouter, service: Service) -> None:
    def tus_options() -> Response:
        """What of tus this server can do."""
        return _empty(204, protocol.options(service.config.max_size))

    router.add_api_route(
        "/", tus_options, methods=["OPTIONS"], status_code=status.HTTP_204_NO_CONTENT, response_class=Response
    )
    for path in ("", "/{_upload_id}"):
        router.add_api_route(path, tus_options, methods=["OPTIONS"], include_in_schema=False)


def _add_creation(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(uploader(service.authenticate))]

    @router.post("", include_in_schema=False)
    @router.post(
        "/",
        status_code=status.HTTP_201_CREATED,
        response_class=Response,
        responses=problems.documented(
            HeaderInvalid,
            Unauthenticated,
            Forbidden,
            Conflict,
            VersionUnsupported,
            TooLarge,
            UnsupportedMedia,
            RateLimited,
            StorageFull,
        ),
        openapi_extra={"requestBody": {"required": False, "content": _BYTES}},
    )
    async def tus_create(
        request: Request,
        principal: caller,
        _version: Version = None,
        _length: Length = None,
        _deferred: Annotated[str | None, Header(alias="Upload-Defer-Length", description="`1`.")] = None,
        _metadata: Annotated[
            str | None,
            Header(
                alias="Upload-Metadata",
                description="`filename`, `title`, `visibility`, `filetype`, `sha256`, `allow_duplicate`: "
                "each with its value in base64, separated by commas. Others are kept.",
            ),
        ] = None,
        _checksum: Checked = None,
        idempotency_key: Key = None,
    ) -> Response:
        """Opens an upload; `Location` is its address, `Penstock-Video-Id` its video. Its first bytes may come along."""
        protocol.check_version(request.headers)
        refuse_encoded(request)
        asked = protocol.creation(request.headers, max_size=service.config.max_size)
        upload_id, is_new = await run_sync(_open, service, principal, asked, idempotency_key)
        arrived = Arrived(await run_sync(service.sessions.known, upload_id))
        if asked.with_bytes and is_new:
            arrived = await _first_bytes(service, request, principal, arrived.upload, asked)
        standing = await run_sync(service.resumable.standing, arrived.upload)
        location = service.urls.tus_plain(upload_id)
        headers = protocol.created(standing, location, with_bytes=asked.with_bytes)
        return _empty(201, {**headers, **_names(arrived)})


def _add_bytes(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(service.authenticate)]

    @router.patch(
        "/{upload_id}",
        status_code=status.HTTP_204_NO_CONTENT,
        response_class=Response,
        responses=problems.documented(
            HeaderInvalid,
            Unauthenticated,
            Forbidden,
            NotFound,
            Conflict,
            Gone,
            VersionUnsupported,
            TooLarge,
            UnsupportedMedia,
            Locked,
            protocol.ChecksumDiffers,
            StorageFull,
        ),
        openapi_extra={"requestBody": {"required": True, "content": _BYTES}},
    )
    async def tus_patch(
        request: Request,
        principal: caller,
        upload_id: UploadId,
        signature: Signature = None,
        _version: Version = None,
        _offset: Annotated[str | None, Header(alias="Upload-Offset", description="Where they begin.")] = None,
        _length: Length = None,
        _checksum: Checked = None,
    ) -> Response:
        """Goes on with an upload. What came before a connection broke is kept; the last byte completes it."""
        upload = await run_sync(_find, service, principal, upload_id, signature)
        protocol.check_version(request.headers)
        refuse_encoded(request)
        asked = protocol.patch(request.headers, max_size=service.config.max_size)
        arrived = await _receive(service, request, upload, asked)
        standing = await run_sync(service.resumable.standing, arrived.upload)
        return _empty(204, {**protocol.moved(standing), **_names(arrived)})


def _add_session(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(service.authenticate)]
    refusals = (Unauthenticated, Forbidden, NotFound, Gone, VersionUnsupported, Locked)

    @router.head(
        "/{upload_id}", response_class=Response, responses={**problems.documented(*refusals), 200: _NO_BODY}
    )
    async def tus_head(
        request: Request,
        principal: caller,
        upload_id: UploadId,
        signature: Signature = None,
        _version: Version = None,
    ) -> Response:
        """Where an upload stands. A request that still sends to it is asked to let go first."""
        upload = await run_sync(_find, service, principal, upload_id, signature)
        protocol.check_version(request.headers)
        arrived = await _standing(service, upload)
        standing = await run_sync(service.resumable.standing, arrived.upload)
        return _empty(200, {**protocol.stands(standing), **_names(arrived)})

    @router.delete(
        "/{upload_id}",
        status_code=status.HTTP_204_NO_CONTENT,
        response_class=Response,
        responses=problems.documented(*refusals, Conflict),
    )
    def tus_delete(
        request: Request,
        principal: caller,
        upload_id: UploadId,
        signature: Signature = None,
        _version: Version = None,
    ) -> Response:
        """Cancels an upload; its bytes are removed and its video is deleted."""
        upload = _find(service, principal, upload_id, signature)
        protocol.check_version(request.headers)
        service.resumable.standing(upload)  # what has ended is gone
        service.sessions.cancel(upload, who=f"account:{upload.owner_id}")
        return _empty(204, protocol.ended())


def _find(service: Service, principal: Principal, upload_id: str, signature: str | None) -> Upload:
    """The upload, for who has its signed address or its owner's key."""
    if signature is None:
        authorize(principal, Action.UPLOAD)
        upload = service.sessions.find(principal, upload_id)
    else:
        service.urls.check_tus(upload_id, signature)
        upload = service.sessions.known(upload_id)
    context.note(upload_id=upload.id, video_id=upload.video_id)
    return of_this_kind(upload)


def _open(service: Service, principal: Principal, asked: Creation, key: str | None) -> tuple[str, bool]:
    """A new upload's id, or that of the first request with this key."""
    facts = {"length": asked.length, "metadata": asked.raw_metadata}
    begun = begin(service, principal, key, path="tus", **facts)
    if isinstance(begun, JSONResponse):
        return Opened.model_validate_json(bytes(begun.body)).upload_id, False
    opened: list[str] = []

    def store(tx: Connection, outcome: Outcome) -> None:
        assert outcome.upload is not None
        answer = Opened(upload_id=outcome.upload.id, video_id=outcome.video.id)
        begun.store(tx, status.HTTP_201_CREATED, answer)
        opened.append(answer.upload_id)

    try:
        outcome = service.sessions.open(principal, _new(asked), store_answer=store)
    finally:
        begun.abandon(service.catalog)
    context.note(upload_id=opened[0], video_id=outcome.video.id)
    return opened[0], True


def _new(asked: Creation) -> NewUpload:
    values: dict[str, Any] = {}
    for key, name in _DESCRIBED.items():
        if asked.metadata.get(key):
            values.setdefault(name, asked.metadata[key])
    content_type = asked.metadata.get("filetype") or asked.metadata.get("type") or ""
    try:
        described = Described.model_validate(values)
    except ValidationError as error:
        fields = tuple(
            FieldError(f"/header/Upload-Metadata/{'/'.join(map(str, item['loc']))}", item["msg"])
            for item in error.errors()
        )
        raise HeaderInvalid("'Upload-Metadata' does not describe the file well.", errors=fields) from None
    return NewUpload(
        described,
        Transport.TUS,
        asked.length,
        media_type(content_type),
        transport_data={"metadata": asked.raw_metadata},
        answers_with_session=True,
    )


async def _receive(service: Service, request: Request, upload: Upload, asked: Patch) -> Arrived:
    announced = announced_length(request)
    if upload.ended_at is not None:
        standing = await run_sync(service.resumable.standing, upload)
        protocol.check_offset(asked, standing, announced, max_size=service.config.max_size)
        return await service.resumable_transfers.settled(upload)
    pieces = service.transfers.pieces(request)
    return await service.resumable_transfers.receive(upload, asked, pieces, announced)


async def _first_bytes(
    service: Service, request: Request, principal: Principal, upload: Upload, asked: Creation
) -> Arrived:
    """The bytes that came with the creation. Its client must learn the address, however far they got."""
    try:
        return await _receive(service, request, upload, Patch(0, checksum=asked.checksum))
    except protocol.ChecksumDiffers:
        pass
    except PermanentError as error:
        await run_sync(_abandon, service, upload, account_of(principal), error.code)
        raise
    except TransientError:
        pass  # it goes on from where it stands
    return Arrived(await run_sync(service.sessions.known, upload.id))


def _abandon(service: Service, upload: Upload, who: str, why: str) -> None:
    service.sessions.abandon(upload, who=who, why=why, outcome=why)


async def _standing(service: Service, upload: Upload) -> Arrived:
    if upload.ended_at is None and upload.writer is not None:
        await run_sync(service.resumable.standing, upload)  # what has expired is gone
        try:
            await service.resumable_transfers.free(upload)
        except PenstockError:
            upload = await run_sync(service.sessions.known, upload.id)
            whole = upload.state is UploadState.OPEN and upload.received == upload.size
            if upload.state is not UploadState.COMPLETED and not whole:
                raise  # otherwise whoever wrote it has completed it, or was about to
        else:
            upload = await run_sync(service.sessions.known, upload.id)
    return await service.resumable_transfers.settled(upload)


def _names(arrived: Arrived) -> Mapping[str, str]:
    """Which upload and which video it is; once it is complete, the video that stands for its bytes."""
    outcome = arrived.outcome
    names = {
        "penstock-upload-id": arrived.upload.id,
        "penstock-video-id": arrived.upload.video_id if outcome is None else outcome.video.id,
    }
    return {**names, "penstock-duplicate": "true"} if outcome is not None and outcome.duplicate else names


def _empty(code: int, headers: Mapping[str, str]) -> Response:
    return Response(status_code=code, headers=dict(headers))
