"""The library as an application: who has which videos, who may watch them, and where; and the pages to watch them on."""

import time
from collections.abc import Callable

from fastapi import FastAPI

from penstock.access.config import AccessConfig
from penstock.access.keyring import Keyring
from penstock.catalog import Catalog
from penstock.library import cluster, pages, routes
from penstock.library.config import LibraryConfig
from penstock.library.playback import Playback
from penstock.web_api.authentication import authenticator
from penstock.web_api.config import WebConfig
from penstock.web_api.key_store import catalog_lookup
from penstock.web_api.service import create_service


def create_app(
    config: LibraryConfig,
    web: WebConfig,
    access: AccessConfig,
    *,
    catalog: Catalog,
    keyring: Keyring,
    announce: Callable[[], None],
    nodes: cluster.Nodes,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The application. ``announce`` rings for processing after a retry or a deletion; ``clock`` gives Unix seconds.

    ``nodes`` tells who is in the cluster.
    """
    authenticate = authenticator(catalog_lookup(catalog))
    playback = Playback(config, access, keyring, clock)
    api = routes.routes(
        catalog=catalog,
        playback=playback,
        authenticate=authenticate,
        announce=announce,
    )
    return create_service(
        web,
        title="Penstock library",
        description="Videos: listing, describing, authorising playback, retrying and deleting; and the watch page.",
        routers=[api, cluster.routes(nodes=nodes, authenticate=authenticate), pages.routes(config)],
        checks={"catalog": catalog.ping},
    )
