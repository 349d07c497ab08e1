from datetime import UTC, datetime

import pytest

from penstock.library.cluster import Cluster, Load, Service, node
from tests.contract.library.conftest import Instance, ToldNodes

SINCE = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def service(
    name: str, *roles: str, health: str | None = "ok", load: Load | None = None, version: str = "1.0"
) -> Service:
    """One process of a node."""
    return Service.model_validate(
        {"name": name, "roles": roles, "url": None, "version": version, "health": health, "load": load}
    )


def test_an_administrator_sees_the_nodes(instance: Instance, nodes: ToldNodes) -> None:
    """Name, id, state, since when; and what follows from the services: roles, versions, health, load."""
    services = [
        service("web-8800", "upload", "library"),
        service("processing-0", "processing", load=Load(used=1, total=4), version="1.1"),
        service("processing-1", "processing", load=Load(used=2, total=4), health="down"),
    ]
    nodes.cluster = Cluster(
        name="home",
        nodes=[
            node(name="a", node_id="aa", here=True, state="alive", since=SINCE, services=services, address="10.0.0.1:7946"),
            node(name="b", node_id="bb", here=False, state="dead", since=SINCE, services=[service("x", "upload", health=None)]),
        ],
    )  # fmt: skip
    answer = instance.client.get("/api/cluster", headers=instance.headers("adam"))
    assert answer.status_code == 200
    found = answer.json()
    assert found["name"] == "home"
    first, second = found["nodes"]
    assert len(first.pop("services")) == 3
    assert first == {
        "name": "a",
        "id": "aa",
        "here": True,
        "state": "alive",
        "since": "2026-11-20T12:00:00Z",
        "address": "10.0.0.1:7946",
        "roles": ["library", "processing", "upload"],
        "versions": ["1.0", "1.1"],
        "health": "down",
        "load": {"used": 3, "total": 8},
    }
    assert (second["state"], second["health"], second["load"]) == ("dead", None, None)


@pytest.mark.parametrize(("caller", "status"), [("olga", 403), ("rita", 403), (None, 401)])
def test_nobody_else_sees_them(instance: Instance, caller: str | None, status: int) -> None:
    """Addresses and versions of machines are for administrators."""
    assert instance.client.get("/api/cluster", headers=instance.headers(caller)).status_code == status


def test_it_says_so_when_nobody_knows_the_nodes(instance: Instance, nodes: ToldNodes) -> None:
    """The membership service is away: 503 with a code, and videos are listed all the same."""
    nodes.cluster = None
    answer = instance.client.get("/api/cluster", headers=instance.headers("adam"))
    assert (answer.status_code, answer.json()["code"]) == (503, "cluster_unavailable")
    assert answer.headers["retry-after"] == "2"
    assert instance.client.get("/api/videos").status_code == 200
