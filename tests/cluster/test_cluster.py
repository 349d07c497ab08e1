"""Machines that form a cluster: each a whole platform with a data folder, a name and a member of its own."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from penstock.client import Client, ClientError
from penstock.client.models import Node
from penstock.membership.keyring import Key
from scripts.real_nodes import Loopback
from tests.cluster.running import Platform, eventually
from tests.servers.databases import postgresql, postgresql_template
from tests.servers.postgresql import PostgresServer

__all__ = ["postgresql", "postgresql_template"]

QUICK = {  # found dead within seconds, which the test waits for and does not measure
    "MEMBERSHIP_PROTOCOL_PROBE_INTERVAL": "0.4",
    "MEMBERSHIP_PROTOCOL_PROBE_TIMEOUT": "0.2",
}


class StartNode(Protocol):
    """Starts a node of the one cluster."""

    def __call__(self, name: str, settings: Mapping[str, str] | None = None) -> Platform:
        """Every node but the first has that one as its seed."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[StartNode]:
    """Starts nodes with one key, which reach each other on this machine; nothing of them outlives the test."""
    key = tmp_path / "cluster-key"
    key.write_text(f"{Key.generate()}\n")
    key.chmod(0o600)
    started: dict[str, Platform] = {}
    addresses: list[str] = []

    def starter(name: str, settings: Mapping[str, str] | None = None) -> Platform:
        place = Loopback().place(name)
        # A Unix socket for the first, a port with a token for the others: both ways are used.
        control = {"CONTROL_PORT": "0"} if addresses else {"CONTROL_SOCKET": f"{sockets}/{name}.sock"}
        own = {"PORT": str(place.port), "KEY_FILE": str(key), "SEEDS": ",".join(addresses[:1]), **control}
        (tmp_path / name).mkdir()
        started[name] = Platform(
            tmp_path / name / "data",
            {
                **QUICK,
                "CLUSTER": "home",
                "NODE": name,
                **{f"MEMBERSHIP_{field}": value for field, value in own.items()},
                **(settings or {}),
            },
        )
        addresses.append(f"{place.host}:{place.port}")
        return started[name].start()

    with tempfile.TemporaryDirectory(prefix="penstock-", dir="/tmp") as sockets:  # their paths must be short
        yield starter
        for platform in started.values():
            platform.close()


def by_name(client: Client) -> dict[str, Node]:
    """The nodes that the server knows; none while its member is being started again."""
    with suppress(ClientError):
        return {found.name: found for found in client.cluster().nodes}
    return {}


def whole(client: Client, *names: str) -> dict[str, Node] | None:
    """The nodes, once each of these is alive, with all its services, and well."""
    found = by_name(client)
    roles = ("library", "processing", "streaming", "upload")
    for name in names:
        if name not in found or found[name].state != "alive" or found[name].roles != roles:
            return None
        if found[name].health != "ok":
            return None
    return found


def test_two_machines_show_each_other_and_the_death_of_one(node: StartNode) -> None:
    """Roles, addresses, load and health of both; a killed member comes back by itself; a power cut shows as death."""
    amber, basalt = node("amber"), node("basalt")
    with amber.client() as here, basalt.client() as there:
        found = eventually(lambda: whole(here, "amber", "basalt"), "amber shows both")
        eventually(lambda: whole(there, "amber", "basalt"), "basalt shows both")
        assert [found[name].here for name in ("amber", "basalt")] == [True, False]
        assert found["amber"].id != found["basalt"].id
        urls = {service.name.rpartition("-")[0]: service.url for service in found["basalt"].services}
        assert urls["web"] == basalt.url
        load = found["basalt"].load
        assert load is not None
        assert (load.used, load.total > 0) == (0, True)

        shown = amber.command("cluster").stdout
        assert shown.startswith("cluster home")
        assert "amber (here)" in shown
        assert "basalt" in shown

        basalt.kill("member")
        basalt.wait_restarted("member", 2)
        eventually(
            lambda: whole(here, "amber", "basalt"), "basalt's services are registered with the new member"
        )
        eventually(lambda: whole(there, "amber", "basalt"), "and it knows amber without a seed's help")

        basalt.kill("processing")
        basalt.wait_restarted("processing", 2)
        eventually(lambda: whole(here, "amber", "basalt"), "the restarted process is registered again, once")

        basalt.vanish()
        dead = eventually(lambda: _in_state(here, "basalt", "dead"), "amber holds basalt dead")
        assert (dead.health, dead.load) == (None, None)
        assert amber.get("/health").status_code == 200


def test_who_stops_in_order_has_left(node: StartNode) -> None:
    """An end on purpose is no failure, and its services are gone with it."""
    amber, basalt = node("amber"), node("basalt")
    with amber.client() as client:
        eventually(lambda: whole(client, "amber", "basalt"), "both are there")
        assert basalt.stop() == 0
        eventually(lambda: _in_state(client, "basalt", "left"), "basalt has left")


@pytest.mark.needs_postgresql
def test_a_machine_that_vanishes_leaves_its_work_to_the_other(
    node: StartNode, postgresql: PostgresServer, long_clip: Path, tmp_path: Path
) -> None:
    """Both work on one video; one is cut off from power. The other goes on at once, though leases last an hour."""
    shared = {
        "DATABASE_URL": postgresql.url(postgresql.create()),
        "SOURCES_URL": f"file://{tmp_path}/shared/sources",
        "OUTPUTS_URL": f"file://{tmp_path}/shared/outputs",
        "KEYRING": str(tmp_path / "keyring.json"),
        "PROCESSING_LEASE": "3600",
        "PLAN_MAX_RUNG": "360",
    }
    amber, basalt = node("amber", shared), node("basalt", shared)
    with amber.client() as client:
        eventually(lambda: whole(client, "amber", "basalt"), "both are there")
        eventually(lambda: amber.log("liveness_followed"), "amber's processing follows its member")
        video_id = client.upload(long_clip).id
        eventually(lambda: _claimed_by(client, video_id, "basalt"), "basalt encodes a chunk")
        basalt.vanish()
        assert client.wait(video_id).state == "ready"
        reasons = {event["why"] for event in client.history(video_id) if event["event"] == "task_taken_over"}
        assert reasons == {"its node was declared dead"}
    assert amber.command("verify", video_id).returncode == 0


def _in_state(client: Client, name: str, state: str) -> Node | None:
    found = by_name(client).get(name)
    return found if found is not None and found.state == state else None


def _tasks(client: Client, video_id: str) -> list[dict[str, Any]]:
    generation = client.details(video_id)["generation"]
    return list(generation["tasks"]) if generation else []


def _claimed_by(client: Client, video_id: str, name: str) -> list[str]:
    return [
        task["id"]
        for task in _tasks(client, video_id)
        if (task["state"], task["kind"], task["node"]) == ("claimed", "transcode", name)
    ]
