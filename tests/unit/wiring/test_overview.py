from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock.catalog import workers
from penstock.library.cluster import ClusterUnavailable, Load
from penstock.membership.views import Member
from penstock.settings import Settings
from penstock.wiring import first_start, folders
from penstock.wiring.overview import nodes_of, shown
from penstock.wiring.parts import Parts

WEB = {"roles": ["upload"], "url": "http://10.0.0.5:8800", "version": "1.0", "health": "ok"}
PROCESSING = {"roles": ["processing"], "url": "http://127.0.0.1:8801", "version": "1.0", "health": "ok", "load": [1, 4]}  # fmt: skip


def member(state: str = "alive", **metadata: Any) -> Member:
    """As the agent tells of it."""
    return Member.model_validate(
        {
            "id": "aa", "name": "a", "host": "10.0.0.5", "port": 7946, "state": state, "epoch": 1, "incarnation": 0,
            "metadata": metadata, "age": 60.0, "me": False,
        }
    )  # fmt: skip


def test_a_member_is_shown_with_what_its_services_registered() -> None:
    """Roles, addresses, load and health come from the metadata, state and address from membership."""
    node = shown(member(services={"web-8800": WEB, "processing-0": PROCESSING}))
    assert (node.id, node.state, node.address) == ("aa", "alive", "10.0.0.5:7946")
    assert (node.roles, node.versions, node.health) == (["processing", "upload"], ["1.0"], "ok")
    assert node.load == Load(used=1, total=4)
    assert {service.name: service.url for service in node.services} == {
        "web-8800": "http://10.0.0.5:8800",
        "processing-0": "http://127.0.0.1:8801",
    }


def test_what_a_dead_node_said_of_its_health_counts_no_longer() -> None:
    """Its roles and addresses are its last word; health and load would be a lie."""
    node = shown(member("dead", services={"processing-0": PROCESSING}))
    assert (node.state, node.roles) == ("dead", ["processing"])
    assert (node.health, node.load) == (None, None)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"services": 5},
        {"services": {"x": "text"}},
        {"services": {"x": {"roles": 1, "url": [], "version": 2, "health": {}, "load": ["a", 1]}}},
        {"services": {"x": {"health": "splendid", "load": [1, 2, 3]}}},
    ],
)
def test_metadata_of_others_breaks_nothing(metadata: dict[str, Any]) -> None:
    """A program of another version, or of somebody else, states what it likes: what cannot be read is not shown."""
    node = shown(member(**metadata))
    assert (node.roles, node.health, node.load) == ([], None, None)


def test_a_machine_that_stands_alone_shows_itself(tmp_path: Path) -> None:
    """No cluster: one node without an id, with the process that answers and the workers of the records."""
    settings = Settings.load(data=tmp_path / "data", node="here")
    folders.make_folders(settings)
    with closing(Parts(settings)) as parts:
        first_start.prepare_records(parts)
        with parts.catalog.write() as tx:
            workers.register(tx, node_id="here", slot=0, capacity=4, version="1.0")
        cluster = nodes_of(parts, ("upload", "library"))()
    assert cluster.name is None
    (node,) = cluster.nodes
    assert (node.name, node.id, node.here, node.state, node.health) == ("here", None, True, "alive", "ok")
    assert node.roles == ["library", "processing", "upload"]
    assert node.load == Load(used=0, total=4)


def test_an_agent_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    """Configured, and not running: an error with a code, not an empty cluster."""
    settings = Settings.load(data=tmp_path / "data", cluster="home")
    with closing(Parts(settings)) as parts, pytest.raises(ClusterUnavailable):
        nodes_of(parts, ("library",))()
