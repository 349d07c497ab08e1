import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from penstock.membership import codec
from penstock.membership.agent import Agent
from penstock.membership.config import MembershipConfig
from penstock.membership.errors import InvalidInput, MemberAlive, UnknownMember, Unreachable
from penstock.membership.keyring import Key, KeyRing
from penstock.membership.messages import News, Ping
from penstock.membership.network import NetworkTransport
from penstock.membership.precedence import State
from penstock.membership.sealing import Kind, Sealer
from tests.unit.membership.cluster import KEY, Cluster, run, until, with_key
from tests.unit.membership.puppet import node_id

Scenario = Callable[[Cluster], Awaitable[None]]
Go = Callable[[Scenario], None]


@pytest.fixture(params=["memory", "network"])
def go(request: pytest.FixtureRequest, tmp_path: Path) -> Go:
    """Runs a scenario over one of the two transports."""
    return lambda scenario: run(scenario, tmp_path, memory=request.param == "memory")


def rejected(reason: str) -> float:
    """How many packets were refused for this reason so far."""
    return REGISTRY.get_sample_value("penstock_membership_rejected_total", {"reason": reason}) or 0.0


def test_two_nodes_discover_each_other(go: Go) -> None:
    """One knows the other's address; both know both."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        await cluster.start("b", "a")
        await cluster.agree()

    go(scenario)


def test_five_nodes_converge_through_one_seed(go: Go) -> None:
    """All know all, though each knew one."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        for name in "bcde":
            await cluster.start(name, "a")
        await cluster.agree()

    go(scenario)


def test_a_killed_node_is_found_dead_and_returns_by_itself(go: Go) -> None:
    """With the same identity: from its folder, without seeds; over the network at another port."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        await cluster.start("b", "a")
        await cluster.start("c", "a")
        await cluster.agree()
        before = cluster.agents["c"].id
        await cluster.kill("c")
        await cluster.agree(c=State.DEAD)
        await cluster.start("c")
        await cluster.agree()
        assert cluster.agents["c"].id == before

    go(scenario)


def test_leaving_is_seen_as_leaving(go: Go) -> None:
    """Not as death; and the node can come back."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        await cluster.start("b", "a")
        await cluster.agree()
        await cluster.agents["b"].leave()
        await until(lambda: cluster.states("a")["b"] is State.LEFT)
        await cluster.agents["b"].join([cluster.where("a")])
        await cluster.agree()

    go(scenario)


def test_a_total_outage_ends_without_a_manual_step(go: Go) -> None:
    """All are killed; all come back from their folders, none with a seed."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        for name in "bcd":
            await cluster.start(name, "a")
        await cluster.agree()
        for name in "abcd":
            await cluster.kill(name)
        if cluster.memory is None:  # the system gives other ports: one node is told where another is
            await cluster.start("a")
            for name in "bcd":
                await cluster.start(name, "a")
        else:
            for name in "dcba":
                await cluster.start(name)
        await cluster.agree()

    go(scenario)


def test_metadata_reaches_everybody_small_or_large(go: Go) -> None:
    """In a datagram or over a stream."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        await cluster.start("b", "a")
        await cluster.start("c", "a")
        await cluster.agree()
        for data in (b"role=web", bytes(range(256)) * 16):
            cluster.agents["b"].describe(data)
            await until(
                lambda data=data: all(  # type: ignore[misc]
                    agent.find("b").metadata.data == data for agent in cluster.agents.values()
                )
            )
        with pytest.raises(InvalidInput):
            cluster.agents["b"].describe(bytes(4097))

    go(scenario)


def test_keys_roll_under_load_and_nobody_is_lost(go: Go) -> None:
    """While metadata changes all the time: add, use and remove on each node, and no member is ever dead."""

    def patient(config: MembershipConfig) -> MembershipConfig:
        """It takes nobody for dead because the machine stood still for a moment."""
        return replace(config, protocol=replace(config.protocol, suspicion_alpha=600.0))

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a", change=patient)
        await cluster.start("b", "a", change=patient)
        await cluster.start("c", "a", change=patient)
        await cluster.agree()
        new = Key.generate()
        number = 0
        for step in ("add", "use", "remove"):
            for name in "abc":
                ring = cluster.agents[name].ring
                if step == "add":
                    ring.add(new)
                elif step == "use":
                    ring.use(new.fingerprint)
                else:
                    ring.remove(KEY.fingerprint)
                for _ in range(5):
                    number += 1
                    cluster.agents[name].describe(str(number).encode())
                    expected = str(number).encode()
                    await until(
                        lambda name=name, expected=expected: all(  # type: ignore[misc]
                            agent.find(name).metadata.data == expected for agent in cluster.agents.values()
                        )
                    )
        kinds = {event.kind for agent in cluster.agents.values() for event in agent.history.recent(1000)}
        assert "died" not in kinds
        assert {agent.ring.keys for agent in cluster.agents.values()} == {(new,)}

    go(scenario)


def test_another_key_or_cluster_name_cannot_join(go: Go) -> None:
    """Nobody answers, nothing changes, a counter rises."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        before = rejected("unreadable")
        stranger = await cluster.start("x", change=with_key(Key.generate()))
        with pytest.raises(Unreachable):
            await stranger.join([cluster.where("a")])
        other = await cluster.start("y", change=lambda config: replace(config, cluster="other"))
        with pytest.raises(Unreachable):
            await other.join([cluster.where("a")])
        assert [record.contact.name for record in a.core.members] == ["a"]
        await until(lambda: rejected("unreadable") > before)  # joining may give up before it is read

    go(scenario)


def test_joining_nobody_says_so(go: Go) -> None:
    """With what to check."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        with pytest.raises(Unreachable, match="check address, key"):
            await a.join(["127.0.0.1:1"])
        with pytest.raises(Unreachable, match="cannot join itself"):
            await a.join([cluster.where("a")])
        with pytest.raises(InvalidInput):
            await a.join([":1"])

    go(scenario)


def test_one_answer_of_several_is_enough_to_join(go: Go) -> None:
    """Addresses where nobody is do not matter, and who answered is told."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        b = await cluster.start("b")
        assert await b.join(["127.0.0.1:1", cluster.where("a")]) == [a.id]
        await cluster.agree()

    go(scenario)


def test_hostile_packets_change_nothing_and_are_counted(go: Go) -> None:
    """Noise, oversized, truncated, replayed, tampered, and well sealed nonsense."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        order = a.me.order
        source = a.me.address
        enemy = Sealer("penstock", KeyRing([KEY]), node_id(66), 1)
        ping = enemy.seal(Kind.PACKET, codec.encode_packet((Ping(1, a.id),)))
        counted = [
            ("short", b""),
            ("short", b"x" * 43),
            ("version", b"\xff" * 100),
            ("unreadable", ping[:1] + b"\x00" * 99),
            ("unreadable", ping[:-1] + bytes([ping[-1] ^ 1])),
            ("malformed", enemy.seal(Kind.PACKET, b"\xc1 not msgpack")),
            ("malformed", enemy.seal(Kind.PACKET, b"")),
        ]
        for reason, packet in counted:
            before = rejected(reason)
            a.datagram(source, packet)
            assert rejected(reason) == before + 1, reason
        a.datagram(source, ping)
        before = rejected("replayed")
        a.datagram(source, ping)
        assert rejected("replayed") == before + 1
        assert a.me.order == order
        assert [record.contact.name for record in a.core.members] == ["a"]

    go(scenario)


def test_a_member_with_the_key_cannot_break_the_table(go: Go) -> None:
    """Statements at the end of the range are followed by a new epoch, and the node goes on."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        enemy = Sealer("penstock", KeyRing([KEY]), node_id(66), 1)
        accusation = News(a.id, a.me.order.epoch, 2**40 - 1, State.SUSPECT, node_id(66))
        a.datagram(a.me.address, enemy.seal(Kind.PACKET, codec.encode_packet((accusation,))))
        assert a.me.state is State.ALIVE
        assert a.me.order.incarnation == 0
        assert a.me.order.epoch > accusation.epoch

    go(scenario)


def test_a_dead_member_is_made_to_leave_and_a_live_one_is_not(go: Go) -> None:
    """By name or id."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        await cluster.start("b", "a")
        await cluster.start("c", "a")
        await cluster.agree()
        with pytest.raises(MemberAlive):
            a.force_leave("b")
        with pytest.raises(UnknownMember):
            a.force_leave("nobody")
        await cluster.kill("b")
        await cluster.agree(b=State.DEAD)
        a.force_leave("b")
        await cluster.agree(b=State.LEFT)

    go(scenario)


def test_events_tell_what_happened_and_why(go: Go) -> None:
    """Joined, suspected, died, each with a reason; replayed they give the member list."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        await cluster.start("b", "a")
        await cluster.start("c", "a")
        await cluster.agree()
        await cluster.kill("b")
        await cluster.agree(b=State.DEAD)
        events = a.history.since(0)
        assert events is not None
        story = [event.kind for event in events if event.record.contact.name == "b"]
        assert story[0] == "joined"
        assert story[-1] == "died"
        assert all(event.reason for event in events)
        table = {a.id: a.me}
        for event in events:
            table[event.record.node] = event.record
        assert table == {record.node: record for record in a.core.members}

    go(scenario)


def test_seeds_may_start_after_those_who_need_them(tmp_path: Path) -> None:
    """The order of starting does not matter."""

    async def scenario(cluster: Cluster) -> None:
        seed = await cluster.start("seed")
        address = cluster.where("seed")
        await cluster.kill("seed")
        for name in "ab":
            await cluster.start(name, change=lambda config: replace(config, seeds=address))
        await asyncio.sleep(0)
        assert {len(list(agent.core.members)) for agent in cluster.agents.values()} == {1}
        await cluster.start("seed")
        await cluster.agree()
        assert seed.id == cluster.agents["seed"].id

    run(scenario, tmp_path, memory=True)


def test_a_cut_heals(tmp_path: Path) -> None:
    """Two pairs that lose sight of each other find together again."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        for name in "bcd":
            await cluster.start(name, "a")
        await cluster.agree()
        assert cluster.memory is not None
        where = {name: agent.me.address for name, agent in cluster.agents.items()}
        for one in "ab":
            for other in "cd":
                cluster.memory.separate(where[one], where[other])
        await until(
            lambda: (
                {cluster.states("a")[name] for name in "cd"} == {State.DEAD}
                and {cluster.states("c")[name] for name in "ab"} == {State.DEAD}
            )
        )
        cluster.memory.cut.clear()
        await cluster.agree()

    run(scenario, tmp_path, memory=True)


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    """And one that would not fit a packet."""
    cluster = Cluster(tmp_path)
    for name in ("", "n" * 129):
        with pytest.raises(InvalidInput):
            Agent(replace(cluster.config("a"), name=name), NetworkTransport("127.0.0.1", 0))


def test_the_first_peer_met_is_on_disk_at_once(go: Go) -> None:
    """A crash right after joining does not leave a node without anybody to ask."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        await cluster.start("b", "a")
        await until((a.config.folder / "members").exists)

    go(scenario)


def test_leaving_again_is_done_at_once(go: Go) -> None:
    """A node that left on demand does not wait a second time when its process ends."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start("a")
        b = await cluster.start("b", "a")
        await cluster.agree()
        await b.leave()
        done = [event.number for event in b.history.recent(100)]
        await b.leave()
        assert [event.number for event in b.history.recent(100)] == done

    go(scenario)


@pytest.mark.parametrize(
    ("reason", "frame"),
    [("short", b"hello"), ("version", b"\xff" * 100), ("unreadable", b"\x11" + b"\x00" * 99)],
)
def test_hostile_streams_are_ended_and_counted(go: Go, reason: str, frame: bytes) -> None:
    """What cannot be opened ends the stream; the node goes on answering others."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        stranger = cluster.memory.transport() if cluster.memory else NetworkTransport("127.0.0.1", 0)
        before = rejected(reason)
        stream = await stranger.open(a.me.address)
        await stream.send(frame)
        assert await asyncio.wait_for(stream.receive(), 60) is None
        stream.close()
        assert rejected(reason) == before + 1
        await stranger.stop()
        await cluster.start("b", "a")
        await cluster.agree()

    go(scenario)


def test_a_frame_beyond_the_limit_ends_the_stream(tmp_path: Path) -> None:
    """A length of four gigabytes is not waited for, nor made room for."""

    async def scenario(cluster: Cluster) -> None:
        a = await cluster.start("a")
        reader, writer = await asyncio.open_connection(*a.me.address)
        writer.write(b"\xff\xff\xff\xff")
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()
        await writer.wait_closed()
        await cluster.start("b", "a")
        await cluster.agree()

    run(scenario, tmp_path, memory=False)
