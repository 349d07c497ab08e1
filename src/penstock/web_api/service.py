"""The one way to make a service's FastAPI application: same errors, same layers, same operations endpoints."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from penstock.web_api import contract, health, problems
from penstock.web_api.bodies import BodyLimit, StreamsBody
from penstock.web_api.config import WebConfig
from penstock.web_api.context import RequestContext
from penstock.web_api.dependencies import Check
from penstock.web_api.security import SecurityHeaders


class Lifespan(Protocol):
    """What runs around a service: background parts start before the first request and end after the last."""

    def __call__(self, app: FastAPI, /) -> AbstractAsyncContextManager[None]:
        """The context that is open while the service answers."""
        ...


def _reads_whole(_method: str, _path: str) -> bool:
    return False


def create_service(
    config: WebConfig,
    *,
    title: str,
    description: str,
    routers: Iterable[APIRouter],
    checks: Mapping[str, Check],
    streams_body: StreamsBody = _reads_whole,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """A service. ``streams_body(method, path)`` names the endpoints whose body is not read whole."""
    app = FastAPI(
        title=title,
        description=description,
        version=config.version,
        docs_url=None,  # the framework's pages load scripts from elsewhere; the document itself is served
        redoc_url=None,
        openapi_url="/openapi.json",
        generate_unique_id_function=_operation_id,
        responses={"default": problems.default_response()},
        redirect_slashes=False,  # a redirect would carry signatures and bodies to a second address
        lifespan=lifespan,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(RequestContext, service=config.service, render=problems.of),
            Middleware(
                BodyLimit,
                limit=config.json_body_limit,
                patience=config.json_body_s,
                streams_body=streams_body,
            ),
        ],
    )
    problems.install(app)
    for router in routers:
        app.include_router(router)
    app.include_router(health.routes(config, checks))
    contract.install(app)
    return app


def _operation_id(route: APIRoute) -> Any:
    return route.name
