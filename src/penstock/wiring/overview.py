"""The library's question about the nodes, answered from this machine's member agent, or of one machine from its records.

It translates: membership knows members and opaque metadata, the library shows nodes and services.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.catalog import workers
from penstock.library.cluster import Cluster, ClusterUnavailable, Load, Node, Nodes, Service, node

if TYPE_CHECKING:
    from penstock.membership.views import Member
    from penstock.settings import Settings
    from penstock.wiring.parts import Parts

PATIENCE = 3.0  # seconds for the agent's answer, which takes milliseconds


def nodes_of(parts: "Parts", roles: Sequence[str]) -> Nodes:
    """What the library is given; ``roles`` are those of the process that answers."""
    if parts.settings.cluster is not None:
        settings = parts.settings
        return lambda: of_members(settings)
    started = datetime.now(UTC)
    return lambda: alone(parts, roles, started)


def of_members(settings: "Settings") -> Cluster:
    """As the agent of this machine sees it. Raises :class:`ClusterUnavailable`."""
    from penstock.membership.control_address import connect
    from penstock.membership.errors import MembershipError

    try:
        with connect(settings.membership, patience=PATIENCE) as client:
            members = client.members()
    except MembershipError:
        raise ClusterUnavailable(
            "The membership service of this node does not answer; it is started again if it ended. Its log says more.",
            retry_after=2,
        ) from None
    return Cluster(name=settings.cluster, nodes=[shown(member) for member in members])


def shown(member: "Member") -> Node:
    """A member as a node. Metadata is what another program stated, perhaps of another version: what cannot be read is left out."""
    registered = member.metadata.get("services")
    services = registered.items() if isinstance(registered, dict) else ()
    return node(
        name=member.name,
        node_id=member.id,
        here=member.me,
        state=member.state,
        since=datetime.now(UTC) - timedelta(seconds=member.age),
        address=f"[{member.host}]:{member.port}" if ":" in member.host else f"{member.host}:{member.port}",
        services=[
            _service(name, said, alive=member.state == "alive")
            for name, said in services
            if isinstance(said, dict)
        ],
    )


def alone(parts: "Parts", roles: Sequence[str], started: datetime) -> Cluster:
    """One machine: the process that answers, and the processing processes whose lease is in force."""
    settings = parts.settings
    with parts.catalog.read() as tx:
        working = [(worker, len(workers.claimed(tx, worker.id))) for worker in workers.live(tx)]
    url = settings.address(settings.port) if settings.port else None
    services = [
        Service(name="web", roles=list(roles), url=url, version=settings.version, health="ok", load=None),
        *(
            Service(
                name=f"processing-{worker.slot}",
                roles=["processing"],
                url=None,
                version=worker.version,
                health="ok",
                load=Load(used=used, total=worker.capacity),
            )
            for worker, used in working
        ),
    ]
    here = node(name=settings.node, state="alive", since=started, services=services, here=True)
    return Cluster(name=None, nodes=[here])


def _service(name: str, said: Mapping[str, Any], *, alive: bool) -> Service:
    roles, load = said.get("roles"), said.get("load")
    health = said.get("health")
    return Service(
        name=name,
        roles=[str(role) for role in roles] if isinstance(roles, list) else [],
        url=said["url"] if isinstance(said.get("url"), str) else None,
        version=said["version"] if isinstance(said.get("version"), str) else None,
        health=health if alive and health in ("ok", "down") else None,
        load=_load(load) if alive else None,
    )


def _load(said: Any) -> Load | None:
    match said:
        case [int(used), int(total)]:
            return Load(used=used, total=total)
        case _:
            return None
