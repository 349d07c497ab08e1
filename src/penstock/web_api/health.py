"""``/health``, ``/status`` and ``/metrics``: what machines ask of every service."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, Field

from penstock.web_api.config import WebConfig
from penstock.web_api.dependencies import Check, Dependencies


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
    asked = Dependencies(checks)

    @router.get("/health")
    def health() -> Health:
        """Answers while the process is alive, whatever state its dependencies are in."""
        return Health()

    @router.get("/status", responses={503: {"model": Readiness, "description": "A dependency is down."}})
    def status(response: Response) -> Readiness:
        """Readiness: version and dependencies, each asked now."""
        dependencies = [Dependency(**asdict(answer)) for answer in asked.ask()]
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
