"""Errors as clients see them: RFC 9457 ``application/problem+json``, rendered in this one place.

Every failure leaves as a problem with a stable ``code``: ours, the framework's own (no such route, wrong method,
invalid input) and the unforeseen, of which a client learns nothing but that it happened and the id to ask about.
"""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from penstock.video.errors import (
    FieldError,
    InvalidRequest,
    NotFound,
    PenstockError,
    TooLarge,
    TransientError,
    UnsupportedMedia,
)
from penstock.web_api import context

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:penstock:error:"
_RETRY_AFTER = (
    2  # seconds; where a transient error does not say: long enough for a restart, short enough to wait for
)
_MOST_FIELDS = 20  # errors of one request that are listed; a generated body could have thousands


class FieldProblem(BaseModel):
    """One invalid field."""

    pointer: str = Field(
        description="JSON pointer (RFC 6901); its first part is `body`, `query`, `path` or `header`.",
        examples=["/body/title"],
    )
    detail: str = Field(description="What is expected there.")


class Problem(BaseModel):
    """An error, RFC 9457. Match on `code`: it is stable; titles and details are for people."""

    type: str = Field(examples=[TYPE_PREFIX + "video_not_found"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["video_not_found"])
    request_id: str | None = Field(default=None, description="Names this request in the logs.")
    errors: list[FieldProblem] | None = Field(default=None, description="The fields of an invalid request.")


class MethodNotAllowed(InvalidRequest):
    """The address exists; it does not answer this method."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class RouteNotFound(NotFound):
    """No endpoint has this address."""

    code = "route_not_found"


def body_of(error: PenstockError) -> dict[str, Any]:
    """The members of the problem."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": context.request_id(),
    }
    if error.errors:
        body["errors"] = [{"pointer": item.pointer, "detail": item.detail} for item in error.errors]
    return body


def response_for(error: PenstockError, headers: Mapping[str, str] | None = None) -> Response:
    """The whole response; ``headers`` are added. Problems are never cached."""
    added = {"cache-control": "no-store", **(headers or {})}
    if error.status == 401:
        added["www-authenticate"] = 'Bearer realm="penstock"'
    retry_after = error.retry_after or (_RETRY_AFTER if isinstance(error, TransientError) else None)
    if retry_after:
        added["retry-after"] = str(retry_after)
    return Response(
        json.dumps(body_of(error)), status_code=error.status, headers=added, media_type=MEDIA_TYPE
    )


def of(error: Exception) -> Response:
    """The answer to any error; what nobody raised on purpose tells only where the log has its story."""
    if isinstance(error, PenstockError):
        return response_for(error)
    return response_for(PenstockError("Something went wrong here. The log has it under this request's id."))


def documented(*kinds: type[PenstockError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI ``responses`` of an endpoint that raises these."""
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind.title)
    return {status: _response_object("; ".join(dict.fromkeys(t))) for status, t in sorted(by_status.items())}


def default_response() -> dict[str, Any]:
    """OpenAPI description of any other error."""
    return _response_object("A problem, told by its `code`.")


def install(app: FastAPI) -> None:
    """Makes ``app`` answer every error that reaches its exception handling with a problem."""
    app.add_exception_handler(PenstockError, _on_penstock_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def _response_object(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


async def _on_penstock_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PenstockError)
    context.note(code=error.code)
    return response_for(error)


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = tuple(
        FieldError("".join(f"/{_escaped(part)}" for part in item["loc"]), str(item["msg"]))
        for item in error.errors()[:_MOST_FIELDS]
    )
    context.note(code=InvalidRequest.code)
    return response_for(InvalidRequest("The request is not valid; see 'errors'.", errors=fields))


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")  # RFC 6901 section 3


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    """The framework's own refusals, by status."""
    assert isinstance(error, HTTPException)
    translated = _translated(error.status_code)
    context.note(code=translated.code)
    kept = {
        name: value
        for name, value in (error.headers or {}).items()
        if name.lower() in {"allow", "retry-after"}
    }
    return response_for(translated, kept)


def _translated(status: int) -> PenstockError:
    match status:
        case 404:
            return RouteNotFound(
                "There is nothing at this address; the OpenAPI document lists what there is."
            )
        case 405:
            return MethodNotAllowed("This address does not answer this method; 'Allow' names those it does.")
        case 413:
            return TooLarge("The request body is larger than this endpoint accepts.")
        case 415:
            return UnsupportedMedia("This endpoint does not accept a body of this content type.")
        case _ if 400 <= status < 500:
            return InvalidRequest("The request could not be read.")
        case _:
            return PenstockError("Something went wrong here. The log has it under this request's id.")
