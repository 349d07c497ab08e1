"""``/api/cluster``: the nodes and what runs on them, for administrators.

Who knows the nodes is injected; this file says what is shown of them, and never how anybody finds out.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from penstock.access.authorize import Action, authorize
from penstock.access.principals import Principal
from penstock.video.errors import Forbidden, TransientError, Unauthenticated
from penstock.web_api import problems
from penstock.web_api.authentication import Authenticate

NodeState = Literal["alive", "suspect", "dead", "left"]
Health = Literal["ok", "down"]


class ClusterUnavailable(TransientError):
    """The membership service of the node that was asked does not answer; nothing else is affected."""

    code = "cluster_unavailable"


class Load(BaseModel):
    """Places for tasks."""

    used: int
    total: int


class Service(BaseModel):
    """One process of a node, as it registered itself."""

    name: str = Field(description="Unique on its node.", examples=["processing-0"])
    roles: list[str] = Field(examples=[["upload", "library", "streaming"]])
    url: str | None = Field(description="Where the node says it answers.", examples=["http://10.0.0.5:8800"])
    version: str | None
    health: Health | None = Field(
        description="What its own `/status` said within the last seconds; null on a node that is not alive."
    )
    load: Load | None = Field(description="Where it works on tasks.")


class Node(BaseModel):
    """One machine. Roles, versions, health and load are those of its services together."""

    name: str
    id: str | None = Field(
        description="Stays for the life of the node's disk; null where there is no cluster."
    )
    here: bool = Field(description="Whether it is the node that answers.")
    state: NodeState
    since: datetime = Field(description="When the node that answers learned of this state.")
    address: str | None = Field(description="Where its membership service is reached: HOST:PORT.")
    roles: list[str]
    versions: list[str] = Field(description="More than one while it is being updated.")
    health: Health | None = Field(description="`down` where any service is; null where none is known.")
    load: Load | None
    services: list[Service]


class Cluster(BaseModel):
    """What the node that answers holds true; others come to the same within seconds."""

    name: str | None = Field(
        description="Null where no cluster is configured: then the only node is this one."
    )
    nodes: list[Node] = Field(description="By name; those that left or died are shown for a day.")


Nodes = Callable[[], Cluster]  # raises ClusterUnavailable; blocking


def node(
    *,
    name: str,
    state: NodeState,
    since: datetime,
    services: Sequence[Service],
    here: bool,
    node_id: str | None = None,
    address: str | None = None,
) -> Node:
    """A node with what follows from its services."""
    loads = [service.load for service in services if service.load is not None]
    healths = {service.health for service in services} - {None}
    return Node(
        name=name,
        id=node_id,
        here=here,
        state=state,
        since=since,
        address=address,
        roles=sorted({role for service in services for role in service.roles}),
        versions=sorted({service.version for service in services if service.version is not None}),
        health=("down" if "down" in healths else "ok") if healths else None,
        load=Load(used=sum(load.used for load in loads), total=sum(load.total for load in loads))
        if loads
        else None,
        services=list(services),
    )


def routes(*, nodes: Nodes, authenticate: Authenticate) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["library"])

    @router.get("/api/cluster", responses=problems.documented(Unauthenticated, Forbidden, ClusterUnavailable))
    def get_cluster(principal: Annotated[Principal, Depends(authenticate)]) -> Cluster:
        """The nodes of the cluster with their services; an administrator's key is needed."""
        authorize(principal, Action.ADMINISTER)
        return nodes()

    return router
