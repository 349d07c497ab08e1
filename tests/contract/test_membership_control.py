"""The control interface: what programs on the same machine may ask of a node, and its typed client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from penstock.membership import control, views
from penstock.membership.agent import Agent
from penstock.membership.client import _messages
from penstock.membership.in_memory import MemoryNetwork
from penstock.membership.keyring import Key
from penstock.membership.precedence import State
from tests.unit.membership.cluster import KEY, SECONDS, Cluster, until

DOCUMENT = Path(__file__).parents[2] / "docs" / "membership-openapi.json"
Ask = Callable[..., Awaitable[httpx.Response]]


@asynccontextmanager
async def nodes(folder: Path, *, token: str | None = None) -> AsyncIterator[tuple[Cluster, Agent, Ask]]:
    """Two nodes in memory, and a way to ask the first."""
    cluster = Cluster(folder, MemoryNetwork())
    agent = await cluster.start("a")
    await cluster.start("b", "a")
    await cluster.agree()
    transport = httpx.ASGITransport(control.application(agent, version="1", token=token))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            yield cluster, agent, client.request
    finally:
        await cluster.stop()


def within(work: Awaitable[None]) -> None:
    """Runs one test in a loop of its own."""

    async def bounded() -> None:
        await asyncio.wait_for(work, SECONDS)

    asyncio.run(bounded())


def test_members_are_listed_and_looked_up(tmp_path: Path) -> None:
    """By name or id, with everything a program needs to reach them."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (cluster, _agent, ask):
            items = (await ask("GET", "/v1/members")).json()["items"]
            assert [(item["name"], item["state"], item["me"]) for item in items] == [
                ("a", "alive", True),
                ("b", "alive", False),
            ]
            by_name = (await ask("GET", "/v1/members/b")).json()
            by_id = (await ask("GET", f"/v1/members/{by_name['id']}")).json()
            assert by_id["id"] == by_name["id"] == cluster.agents["b"].id.hex()
            await cluster.kill("b")
            await cluster.agree(b=State.DEAD)
            alive = (await ask("GET", "/v1/members", params={"state": ["alive", "suspect"]})).json()["items"]
            assert [item["name"] for item in alive] == ["a"]

    within(scenario())


def test_an_unknown_member_is_a_problem(tmp_path: Path) -> None:
    """With a stable code."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, _agent, ask):
            answer = await ask("GET", "/v1/members/nobody")
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unknown_member"

    within(scenario())


def test_metadata_is_stated_and_seen_by_the_other(tmp_path: Path) -> None:
    """Any JSON object of at most 4 KB."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (cluster, _, ask):
            value = {"roles": ["upload", "streaming"], "load": 0.25}
            assert (await ask("PUT", "/v1/metadata", json=value)).json()["metadata"] == value
            await until(lambda: views.read_metadata(cluster.agents["b"].find("a").metadata.data) == value)
            too_much = await ask("PUT", "/v1/metadata", json={"x": "y" * 5000})
            assert (too_much.status_code, too_much.json()["code"]) == (422, "invalid_request")

    within(scenario())


def test_leaving_and_joining_on_demand(tmp_path: Path) -> None:
    """Both are seen by the other node."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (cluster, _, ask):
            assert (await ask("POST", "/v1/leave")).json()["state"] == "left"
            await until(lambda: cluster.states("b")["a"] is State.LEFT)
            assert (await ask("GET", "/status")).json()["status"] == "leaving"
            answer = await ask("POST", "/v1/join", json={"addresses": [cluster.where("b")]})
            assert answer.json()["met"] == [cluster.agents["b"].id.hex()]
            await cluster.agree()
            nobody = await ask("POST", "/v1/join", json={"addresses": ["127.0.0.1:1"]})
            assert (nobody.status_code, nobody.json()["code"]) == (503, "unreachable")
            assert (await ask("POST", "/v1/join", json={"addresses": []})).status_code == 422

    within(scenario())


def test_a_dead_member_is_forced_to_leave_and_a_live_one_is_not(tmp_path: Path) -> None:
    """An operator ends the retries of a machine that will not come back."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (cluster, _, ask):
            refused = await ask("POST", "/v1/members/b/force-leave")
            assert (refused.status_code, refused.json()["code"]) == (409, "member_alive")
            await cluster.kill("b")
            await cluster.agree(b=State.DEAD)
            assert (await ask("POST", "/v1/members/b/force-leave")).json()["state"] == "left"

    within(scenario())


def test_keys_are_listed_added_used_and_removed(tmp_path: Path) -> None:
    """By fingerprint; the secret is never shown."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, agent, ask):
            new = Key.generate()
            added = await ask("POST", "/v1/keys", json={"key": str(new)})
            assert [item["primary"] for item in added.json()["items"]] == [True, False]
            assert str(new) not in added.text
            in_use = await ask("DELETE", f"/v1/keys/{KEY.fingerprint}")
            assert (in_use.status_code, in_use.json()["code"]) == (409, "key_in_use")
            await ask("POST", f"/v1/keys/{new.fingerprint}/use")
            left = await ask("DELETE", f"/v1/keys/{KEY.fingerprint}")
            assert left.json()["items"] == [{"fingerprint": new.fingerprint, "primary": True}]
            assert agent.ring.keys == (new,)
            assert (await ask("POST", "/v1/keys", json={"key": "short"})).status_code == 422

    within(scenario())


def test_health_status_and_metrics_answer(tmp_path: Path) -> None:
    """What machines ask of every service."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, agent, ask):
            assert (await ask("GET", "/health")).json() == {"status": "ok"}
            status = (await ask("GET", "/status")).json()
            assert (status["node"]["id"], status["members"]["alive"], status["health"]) == (
                agent.id.hex(),
                2,
                0,
            )
            metrics = (await ask("GET", "/metrics")).text
            assert 'penstock_membership_members{state="alive"} 2.0' in metrics

    within(scenario())


def test_a_port_asks_for_its_token(tmp_path: Path) -> None:
    """Others on the machine can reach a port; they may see health, and nothing of the cluster."""

    async def scenario() -> None:
        async with nodes(tmp_path, token="secret") as (_, _agent, ask):
            assert (await ask("GET", "/health")).status_code == 200
            for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}):
                refused = await ask("GET", "/v1/members", headers=given)
                assert (refused.status_code, refused.json()["code"]) == (401, "not_authorised")
            allowed = await ask("GET", "/v1/members", headers={"authorization": "Bearer secret"})
            assert allowed.status_code == 200

    within(scenario())


def test_the_document_says_where_the_token_is_needed() -> None:
    """Everything about the cluster takes it, or nothing at a Unix socket; health, status and metrics never ask."""
    described = json.loads(DOCUMENT.read_text())
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == ([{}, {"token": []}] if path.startswith("/v1/") else None)


def test_programs_of_one_node_register_beside_each_other(tmp_path: Path) -> None:
    """Each under its own name, seen by the other node; names that cannot be one and values that do not fit are refused."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (cluster, _agent, ask):
            for name, metadata in (("web", {"port": 1}), ("processing", {"load": 2})):
                told = await ask("PUT", f"/v1/services/{name}", json={"metadata": metadata, "ttl": 30})
                assert told.status_code == 200
            expected = {"services": {"web": {"port": 1}, "processing": {"load": 2}}}
            assert (await ask("GET", "/v1/members/a")).json()["metadata"] == expected
            there = cluster.agents["b"]
            await until(lambda: views.read_metadata(there.find("a").metadata.data) == expected)
            for name, body in (
                ("WEB", {"metadata": {}}),
                ("web", {"metadata": {}, "ttl": 0}),
                ("web", {"metadata": {"x": "y" * 5000}}),
                ("web", {}),
            ):
                assert (await ask("PUT", f"/v1/services/{name}", json=body)).status_code == 422
            assert (await ask("PUT", "/v1/metadata", json={"services": {}})).status_code == 422
            for _ in range(2):
                left = (await ask("DELETE", "/v1/services/web")).json()["metadata"]
                assert left == {"services": {"processing": {"load": 2}}}

    within(scenario())


async def read(stream: AsyncIterator[str], count: int) -> list[tuple[str, str | None, object]]:
    """The next messages of a watched stream: kind, id, data."""
    found: list[tuple[str, str | None, object]] = []
    async for text in stream:
        if text.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
        found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
        if len(found) == count:
            break
    return found


def test_watching_begins_with_all_and_goes_on_with_each_change(tmp_path: Path) -> None:
    """Ids rise; what is replayed from the snapshot equals the list."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (cluster, agent, _):
            stream = control._follow(agent, None)
            ((kind, first, snapshot),) = await read(stream, 1)
            assert kind == "snapshot"
            assert isinstance(snapshot, dict)
            table = {item["id"]: item["state"] for item in snapshot["items"]}
            await cluster.kill("b")
            changes = await read(stream, 2)
            assert [data["kind"] for _, _, data in changes if isinstance(data, dict)] == ["suspected", "died"]
            numbers = [int((name or "").split("-")[1]) for _, name, _ in changes]
            assert int((first or "").split("-")[1]) < numbers[0] < numbers[1]
            for _, _, data in changes:
                assert isinstance(data, dict)
                table[data["member"]["id"]] = data["member"]["state"]
            assert table == {record.node.hex(): record.state.name.lower() for record in agent.core.members}

    within(scenario())


def test_a_follower_goes_on_where_it_was(tmp_path: Path) -> None:
    """With the last id it gets what it missed, and no snapshot."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, agent, _ask):
            ((_, last, _),) = await read(control._follow(agent, None), 1)
            agent.describe(b'{"load":1}')
            ((kind, name, data),) = await read(control._follow(agent, last), 1)
            assert (kind, isinstance(data, dict) and data["kind"]) == ("change", "updated")
            assert name != last

    within(scenario())


@pytest.mark.parametrize("last", ["1-5", "nonsense", "-", "{boot}-999999"])
def test_a_follower_that_cannot_go_on_is_reset(tmp_path: Path, last: str) -> None:
    """After another run of the node, or with an id that never was: reset, and all members anew."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, agent, _ask):
            messages = await read(control._follow(agent, last.format(boot=agent.boot)), 2)
            assert [kind for kind, _, _ in messages] == ["reset", "snapshot"]

    within(scenario())


def test_a_follower_that_falls_behind_is_reset(tmp_path: Path) -> None:
    """Its buffer is bounded; it begins again and ends with the truth."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, agent, _ask):
            stream = control._follow(agent, None)
            await read(stream, 1)
            for number in range(300):
                agent.describe(json.dumps({"load": number}).encode())
            kinds: list[str] = []
            snapshot: object = None
            while "snapshot" not in kinds:
                ((kind, _, snapshot),) = await read(stream, 1)
                kinds.append(kind)
            assert "reset" in kinds
            assert isinstance(snapshot, dict)
            assert snapshot["items"][0]["metadata"] == {"load": 299}

    within(scenario())


def test_the_client_reads_what_the_service_writes(tmp_path: Path) -> None:
    """Snapshot and changes, as typed values."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, agent, _ask):
            stream = control._follow(agent, None)
            texts = [await anext(stream)]
            agent.describe(b'{"role":"web"}')
            texts.append(await anext(stream))
            lines = iter("".join(texts).splitlines())
            snapshot, change = _messages(lines)
            assert isinstance(snapshot, list)
            assert [member.name for member in snapshot] == ["a", "b"]
            assert isinstance(change, views.Event)
            assert (change.kind, change.member.metadata) == ("updated", {"role": "web"})

    within(scenario())


def test_events_are_told_with_reasons(tmp_path: Path) -> None:
    """The most recent ones, oldest first."""

    async def scenario() -> None:
        async with nodes(tmp_path) as (_, _agent, ask):
            items = (await ask("GET", "/v1/events", params={"limit": 5})).json()["items"]
            assert [item["kind"] for item in items] == ["joined"]
            assert all(item["reason"] and item["by"] for item in items)

    within(scenario())


def test_the_document_is_what_the_code_serves(tmp_path: Path) -> None:
    """The OpenAPI document is checked in; after a change: python -m penstock.membership.openapi > docs/membership-openapi.json."""
    from penstock.membership.openapi import document

    assert json.loads(DOCUMENT.read_text()) == json.loads(document())
