"""The upload service as an application: sources in, acknowledged when durable; status and history out."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync
from fastapi import FastAPI

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog
from penstock.storage.exercise import reach
from penstock.storage.staging import Staging
from penstock.storage.store import ObjectStore
from penstock.upload import routes, status, urls
from penstock.upload.answers import Renewals
from penstock.upload.config import UploadConfig
from penstock.upload.direct import DirectParts
from penstock.upload.following import Followers
from penstock.upload.origins import OtherOrigins
from penstock.upload.service import Service
from penstock.upload.sessions import Sessions
from penstock.upload.store_threads import StoreThreads
from penstock.upload.transfers import Transfers
from penstock.upload.tus import routes as tus_routes
from penstock.upload.tus.handover import Holds
from penstock.upload.tus.layer import TusLayer
from penstock.upload.tus.resumable import Resumable
from penstock.upload.tus.transfers import ResumableTransfers
from penstock.upload.urls import Urls
from penstock.web_api.authentication import authenticator
from penstock.web_api.config import WebConfig
from penstock.web_api.key_store import catalog_lookup
from penstock.web_api.service import create_service

if TYPE_CHECKING:
    from penstock.storage.bucket_staging import BucketStaging


def create_app(
    config: UploadConfig,
    web: WebConfig,
    *,
    catalog: Catalog,
    keyring: Keyring,
    sources: ObjectStore,
    staging: Staging,
    announce: Callable[[], None],
    bucket: "BucketStaging | None" = None,
) -> FastAPI:
    """The application. ``staging`` belongs to ``sources``; ``announce`` rings for processing after an upload, cheaply.

    ``bucket``: the staging itself, where it is one that clients can send to.
    """
    direct = None if bucket is None else DirectParts(bucket, config)
    sessions = Sessions(
        catalog=catalog, sources=sources, staging=staging, config=config, announce=announce, direct=direct
    )
    authenticate = authenticator(catalog_lookup(catalog))
    resumable = Resumable(catalog=catalog, staging=staging, sessions=sessions, config=config)
    holds = Holds(resumable.wanted)
    renewals = Renewals(catalog)
    threads = StoreThreads()
    followers = Followers(status.marker(catalog), config)
    service = Service(
        catalog=catalog,
        sessions=sessions,
        transfers=Transfers(sessions, config, threads),
        resumable=resumable,
        resumable_transfers=ResumableTransfers(resumable, holds, config, threads),
        urls=Urls(keyring, config),
        direct=direct,
        config=config,
        authenticate=authenticate,
        renewals=renewals,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with anyio.create_task_group() as background:
            background.start_soon(
                run_sync, sessions.sweep
            )  # beside the first requests: there may be thousands
            background.start_soon(followers.run)
            background.start_soon(holds.run)
            background.start_soon(renewals.run)
            yield
            background.cancel_scope.cancel()

    app = create_service(
        web,
        title="Penstock uploads",
        description="Uploading videos, acknowledged when durable; their status and their history.",
        routers=[
            tus_routes.routes(service),
            routes.routes(service),
            status.routes(catalog, authenticate, followers),
        ],
        checks={"catalog": catalog.ping, "sources": lambda: reach(sources)},
        streams_body=_streams_body,
        lifespan=lifespan,
    )
    app.add_middleware(TusLayer)
    app.add_middleware(OtherOrigins)
    return app


def _streams_body(method: str, path: str) -> bool:
    return (
        (method == "POST" and path in {urls.PREFIX, urls.TUS_PREFIX, f"{urls.TUS_PREFIX}/"})
        or (method == "PUT" and path.startswith(f"{urls.PREFIX}/"))
        or (method == "PATCH" and path.startswith(f"{urls.TUS_PREFIX}/"))
    )
