"""``/health``, ``/status`` and ``/metrics``: what machines ask of every service."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, Field

from penstock.video.errors import PenstockError
from penstock.web_api.config import WebConfig

Check = Callable[
    [], None
]  # blocking, bounded by its adapter's own timeout; raises where the dependency cannot be used

_log = structlog.get_logger()


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Dependency(BaseModel):
    """One thing this service cannot do without."""

    name: str = Field(examples=["catalog"])
    status: Literal["ok", "down"]
    ms: float = Field(description="How long the check took.")
    code: str | None = Field(default=None, description="What is wrong, when it is down.")


class Readiness(BaseModel):
    """Whether the service can do its work now, and what it is."""

    service: str
    version: str
    node: str
    status: Literal["ok", "down"]
    started_at: datetime
    dependencies: list[Dependency]


def routes(config: WebConfig, checks: Mapping[str, Check]) -> APIRouter:
    """The three endpoints. ``checks`` by the name of the dependency."""
    router = APIRouter(tags=["operations"])
    started_at = datetime.now(UTC)

    @router.get("/health")
    def health() -> Health:
        """Answers while the process is alive, whatever state its dependencies are in."""
        return Health()

    @router.get("/status", responses={503: {"model": Readiness, "description": "A dependency is down."}})
    def status(response: Response) -> Readiness:
        """Readiness: version and dependencies, each asked now."""
        dependencies = [_asked(name, check) for name, check in checks.items()]
        ready = all(item.status == "ok" for item in dependencies)
        response.status_code = 200 if ready else 503
        return Readiness(
            service=config.service,
            version=config.version,
            node=config.node,
            status="ok" if ready else "down",
            started_at=started_at,
            dependencies=dependencies,
        )

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics(request: Request) -> Response:
        """Metrics in the Prometheus exposition format."""
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(REGISTRY), media_type=content_type)

    return router


def _asked(name: str, check: Check) -> Dependency:
    begun = time.perf_counter()
    code = None
    try:
        check()
    except PenstockError as error:
        code = error.code
        _log.warning("dependency_down", dependency=name, code=code, detail=error.detail)
    except Exception:  # noqa: BLE001 # whatever a driver raises, the answer is that it is down
        code = "unreachable"
        _log.warning("dependency_down", dependency=name, code=code, exc_info=True)
    elapsed = round((time.perf_counter() - begun) * 1000, 1)
    return Dependency(name=name, status="ok" if code is None else "down", ms=elapsed, code=code)
