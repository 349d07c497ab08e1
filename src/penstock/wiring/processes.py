"""The processes that can be run: each HTTP service alone, all of them as ``web``, and ``processing``."""

import socket
import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import structlog

from penstock import faults, telemetry
from penstock.settings import Settings
from penstock.video.errors import ConfigurationError
from penstock.wiring import folders, listening

if TYPE_CHECKING:
    from penstock.membership.config import MembershipConfig
    from penstock.wiring.parts import Parts

SERVICES = ("web", "upload", "library", "streaming", "processing", "member")
# Connections that the kernel completes and holds while no process accepts them: a restart of ``web`` with all players
# coming back. The kernel lowers it to its own limit (net.core.somaxconn).
BACKLOG = 4096
PORT_REMEDY = "Choose another with --port or PENSTOCK_PORT, or stop what uses it (see 'ss -ltnp')."

log = structlog.get_logger()


def run(
    service: str,
    settings: Settings,
    *,
    listener: socket.socket | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Runs one service until SIGTERM or SIGINT. ``listener``: a socket that listens already; None: one is made.

    Raises :class:`penstock.video.errors.PenstockError` where it cannot start.
    """
    # Imported here and below: the parent of all processes reads this file too, and starts none of the services.
    from penstock.storage.s3_access import Pace
    from penstock.wiring.parts import Parts

    if service == "member":
        run_member(settings, settings.membership, on_ready=on_ready)
        return
    _arm(settings)
    folders.make_folders(settings)
    handle = telemetry.configure(settings.telemetry(service, terminal=sys.stderr.isatty()))
    _describe(service, settings)
    try:
        pace = Pace.WORK if service == "processing" else Pace.PLAYBACK
        with closing(Parts(settings, pace=pace)) as parts:
            if service == "processing":
                _run_processing(parts, on_ready)
            else:
                _run_http(service, parts, listener or listen(settings), on_ready)
    finally:
        handle.close()


def _arm(settings: Settings) -> None:
    if settings.faults is not None:
        try:
            faults.arm_from(settings.faults)
        except faults.ArmingRefused as error:
            raise ConfigurationError(str(error), code="faults_refused") from None


def _describe(service: str, settings: Settings) -> None:
    """What runs here, as a metric that dashboards join with the others."""
    from prometheus_client import Info

    Info("penstock_build", "What runs here.").info(
        {"service": service, "version": settings.version, "node": settings.node}
    )


def listen(settings: Settings) -> socket.socket:
    """The socket that the settings name, listening."""
    return listening.listen(settings.bind, settings.port, backlog=BACKLOG, remedy=PORT_REMEDY)


def _run_http(service: str, parts: "Parts", listener: socket.socket, on_ready: Callable[[], None]) -> None:
    from penstock.wiring import allocator, apps, first_start, registration, server

    allocator.return_large_buffers()
    settings = parts.settings
    url = settings.public_url or settings.address(listener.getsockname()[1])
    if service == "streaming":  # which has no records, and signs nothing
        first_start.require_signing_keys(settings)
    else:
        first_start.prepare_records(parts)
    site = apps.site(service, parts)
    host, port = listener.getsockname()[:2]
    roles = apps.WEB_ROLES if service == "web" else (service,)
    with registration.registering(settings) as register:

        def ready() -> None:
            log.info("service_ready", url=url, version=settings.version)
            on_ready()
            register(registration.Served(f"{service}-{port}", roles, host, port))

        server.serve(site, listener, idle_s=settings.server.idle_s, on_ready=ready)
    log.info("service_stopped")


def run_member(
    settings: Settings, config: "MembershipConfig", *, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Runs the membership service until SIGTERM or SIGINT; then the node leaves the cluster.

    Raises :class:`ConfigurationError` where it cannot start.
    """
    from penstock.membership import service
    from penstock.membership.errors import MembershipError
    from penstock.wiring import server

    folders.make_folders(settings)
    handle = telemetry.configure(settings.telemetry("member", terminal=sys.stderr.isatty()))
    _describe("member", settings)
    try:
        app = service.build(config)
        server.serve(
            server.Site(app), service.listen(config), idle_s=settings.server.idle_s, on_ready=on_ready
        )
        log.info("service_stopped")
    except MembershipError as error:
        raise ConfigurationError(error.detail, code=error.code) from error
    except (
        RuntimeError
    ) as error:  # the application refused to start; the last line of what it says is the reason
        reason = str(error).strip().splitlines()[-1].partition(": ")[2] or str(error)
        raise ConfigurationError(reason, code="unreachable") from error
    finally:
        handle.close()


def _run_processing(parts: "Parts", on_ready: Callable[[], None]) -> None:
    from penstock.ffmpeg.discovery import discover
    from penstock.processing.media import Media
    from penstock.processing.service import ProcessingService
    from penstock.wiring import first_start, registration
    from penstock.wiring.liveness import followed

    settings = parts.settings
    tools = discover(settings.ffmpeg)
    log.info(
        "tools_found", version=tools.version, fingerprint=tools.fingerprint, isolation=str(tools.isolation)
    )
    first_start.prepare_records(parts)
    with registration.registering(settings) as register, followed(settings) as liveness:
        service = ProcessingService(
            settings.processing,
            catalog=parts.catalog,
            sources=parts.sources,
            outputs=parts.outputs,
            media=Media(tools),
            version=settings.version,
            staging=parts.staging,
            liveness=liveness,
        )

        def ready() -> None:
            on_ready()
            name, host = f"processing-{service.slot}", settings.processing.host
            register(registration.Served(name, ("processing",), host, service.endpoint.port))

        service.run(ready)
