"""Whole clusters in simulated time, small and seeded: nothing here depends on how busy the machine is."""

import sys
from pathlib import Path

import pytest

from penstock.membership.config import ProtocolConfig
from penstock.membership.effects import Describe, Join, Leave
from penstock.membership.members import Change
from penstock.membership.precedence import State
from penstock.membership.simulator import __main__ as simulator
from penstock.membership.simulator.scenarios import SCENARIOS
from penstock.membership.simulator.timeline import Timeline
from penstock.membership.simulator.world import Host, World


def deaths(world: World) -> list[tuple[float, str, str]]:
    """When, who believed it, of whom: filled as the world goes on."""
    seen: list[tuple[float, str, str]] = []

    def see(now: float, host: Host, change: Change) -> None:
        after, before = change.after, change.before
        if after is not None and after.state is State.DEAD and (before is None or before.state != State.DEAD):
            seen.append((now, host.name, after.contact.name))

    world.observers.append(see)
    return seen


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_story_ends_in_agreement(name: str, seed: int) -> None:
    """Joining, leaving, crash, restart, partition, one-way cut, loss, pauses, outage, lost disks, wrong clocks."""
    world = World(seed)
    assert SCENARIOS[name](world, 16, Timeline(world))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stories_end_in_agreement_on_a_network_that_loses_a_tenth(seed: int) -> None:
    """Loss slows, and does not mislead."""
    for name in ("join", "crash", "partition"):
        world = World(seed)
        world.network.loss = 0.1
        assert SCENARIOS[name](world, 12, Timeline(world)), name


def test_a_passing_suspicion_is_no_disagreement() -> None:
    """On a lossy network somebody alive is suspected for a moment now and then: here, just when the others are asked."""
    world = World(7018)
    world.network.loss = 0.1
    assert SCENARIOS["deaf"](world, 16, Timeline(world))


def test_the_same_seed_gives_the_same_trace() -> None:
    """Every change of every belief, at the same moment; another seed gives another story."""
    traces = []
    for seed in (5, 5, 6):
        world = World(seed)
        SCENARIOS["lossy"](world, 12, Timeline(world))
        traces.append(world.trace.hexdigest())
    assert traces[0] == traces[1] != traces[2]


def test_a_crash_is_detected_within_the_bound() -> None:
    """Sixteen nodes: detected by the first, and believed by all, within a few seconds."""
    for seed in range(5):
        world = World(seed)
        hosts = world.converged(16)
        world.run(5)
        seen = deaths(world)
        began = world.now
        world.crash(hosts[3])
        assert world.run(30, until=world.agree)
        assert {name for _, _, name in seen} == {"n3"}
        assert seen[0][0] - began < 12
        assert world.now - began < 14


def test_healthy_nodes_stay_healthy_when_another_dies() -> None:
    """Known defect 1: after one of sixteen was killed, nobody's score has risen."""
    world = World(4)
    hosts = world.converged(16)
    world.run(5)
    world.crash(hosts[3])
    for _ in range(20):
        world.run(1)
        assert [host.core.health for host in world.running() if host.core] == [0] * 15


def test_defect_5_a_mass_restart_leaves_nobody_dead() -> None:
    """All but one are killed, declared dead, and started again: alive everywhere, by themselves."""
    world = World(2)
    hosts = world.converged(12)
    world.run(5)
    for host in hosts[1:]:
        world.crash(host)
    assert world.run(120, until=world.agree)
    for host in hosts[1:]:
        world.start(host)
    began = world.now
    assert world.run(30, until=world.agree)
    assert world.now - began < 5


def test_defect_6_a_healed_partition_heals_the_cluster() -> None:
    """After two minutes apart, and nobody healthy dies of the reunion."""
    for count in (2, 3, 5, 30):
        world = World(count)
        hosts = world.converged(count)
        world.run(5)
        world.network.partition(host.address for host in hosts[: count // 2])
        world.run(120)
        assert world.agree(hosts[: count // 2])
        assert world.agree(hosts[count // 2 :])
        world.network.heal()
        seen = deaths(world)
        began = world.now
        assert world.run(60, until=world.agree), count
        assert world.now - began <= 60
        assert seen == []


def test_a_partition_of_an_hour_heals_too() -> None:
    """The dead are remembered for a day."""
    world = World(9, ProtocolConfig(probe_interval=10.0, probe_timeout=5.0))
    hosts = world.converged(6)
    world.network.partition(host.address for host in hosts[:3])
    world.run(3600)
    world.network.heal()
    assert world.run(120, until=world.agree)


def test_defect_8_a_total_outage_heals_from_the_disks_alone() -> None:
    """Declared dead before they died themselves, all come back: the snapshot holds the dead too."""
    world = World(3)
    hosts = world.converged(8)
    world.run(5)
    for host in hosts:  # one after the other, so that the last has seen all others die
        world.crash(host)
        world.run(30)
    assert all(record.state is State.DEAD for record in hosts[-1].disk)
    for host in hosts:
        world.start(host)
    assert world.run(60, until=world.agree)


def test_a_restart_is_alive_everywhere_within_seconds() -> None:
    """Known dead or not, at the old address or at a new one."""
    world = World(7)
    hosts = world.converged(20)
    world.run(5)
    for pause in (0.5, 5.0, 60.0):
        world.crash(hosts[4])
        world.run(pause)
        world.start(hosts[4])
        began = world.now
        assert world.run(30, until=world.agree)
        assert world.now - began <= 5


@pytest.mark.parametrize("count", [10, 60])
@pytest.mark.parametrize("cut", ["lossy", "deaf", "mute"])
def test_a_bad_link_costs_one_transition_and_no_healthy_node(cut: str, count: int) -> None:
    """In five minutes each observer removes the bad node at most once, and nobody else ever."""
    world = World(1)
    hosts = world.converged(count)
    world.run(5)
    bad = hosts[7]
    match cut:
        case "lossy":
            world.network.bad[bad.address] = 0.8
        case "deaf":
            world.network.deaf.add(bad.address)
        case _:
            world.network.mute.add(bad.address)
    transitions: dict[tuple[str, str], int] = {}

    def see(now: float, host: Host, change: Change) -> None:
        before, after = change.before, change.after
        if host is not bad and before is not None and after is not None and before.present != after.present:
            pair = (host.name, after.contact.name)
            transitions[pair] = transitions.get(pair, 0) + 1

    world.observers.append(see)
    world.run(300)
    assert {subject for _, subject in transitions} <= {bad.name}
    assert max(transitions.values(), default=0) <= 1


def test_paused_processes_accuse_nobody_who_runs() -> None:
    """A quarter of the processes stand still for 16 s again and again: no running node is ever held for dead."""
    world = World(5)
    hosts = world.converged(24)
    world.run(5)
    slow = hosts[:6]
    seen = deaths(world)

    def cycle(host: Host) -> None:
        world.block(host, 16.0)
        world.after(18.0, cycle, host)

    for host in slow:
        cycle(host)
    world.run(120)
    assert {name for _, _, name in seen} <= {host.name for host in slow}


def test_nobody_is_removed_where_nothing_is_wrong() -> None:
    """Ten minutes, and five in a hundred datagrams lost."""
    world = World(8)
    world.converged(20)
    world.network.loss = 0.05
    seen = deaths(world)
    world.run(600)
    assert seen == []


def test_many_nodes_join_through_one_seed() -> None:
    """Two hundred at once."""
    world = World(1)
    hosts = world.add(200)
    for host in hosts:
        world.start(host)
    for host in hosts[1:]:
        world.command(host, Join((hosts[0].address,)))
    assert world.run(20, until=world.agree)


def test_two_clusters_become_one() -> None:
    """One command on one node joins all of both."""
    world = World(6)
    hosts = world.add(20)
    for half in (hosts[:10], hosts[10:]):
        for host in half:
            world.start(host)
        for host in half[1:]:
            world.command(host, Join((half[0].address,)))
    world.run(30)
    assert world.agree(hosts[:10])
    world.command(hosts[3], Join((hosts[15].address,)))
    assert world.run(60, until=world.agree)


def test_half_of_the_cluster_leaves_at_once() -> None:
    """Those who stay see them left, not dead."""
    world = World(6)
    hosts = world.converged(20)
    world.run(5)
    seen = deaths(world)
    for host in hosts[:10]:
        world.command(host, Leave())
    assert world.run(30, until=lambda: all(host.departed for host in hosts[:10]))
    for host in hosts[:10]:
        world.crash(host)
    assert world.run(60, until=world.agree)
    assert seen == []


def test_queues_empty_when_nothing_happens() -> None:
    """News is told a bounded number of times, and then no more."""
    world = World(2)
    hosts = world.converged(30)
    for number, host in enumerate(hosts):
        world.command(host, Describe(data=bytes([number])))
    world.run(30)
    assert [host.core.queued for host in hosts if host.core] == [0] * 30


def test_the_story_is_told_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line: what was done and who noticed, the prevailing belief in text, and each one's as a drawing."""
    drawing = tmp_path / "crash.svg"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["simulator", "crash", "--nodes", "8", "--plot", str(drawing)])
        assert simulator.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("** n1 is killed" in line for line in lines)
    assert any("n1 is dead for" in line for line in lines)
    assert any(line.strip().startswith("n1") and "?" in line and line.endswith("x") for line in lines)
    assert drawing.read_text().rstrip().endswith("</svg>")


def test_a_story_says_what_each_believed_of_each() -> None:
    """Seven observers of the one that dies: alive for all at first, dead for all in the end, each at its own moment."""
    world = World(1)
    story = Timeline(world)
    SCENARIOS["crash"](world, 8, story)
    (subject, histories), *others = story.beliefs(400)
    assert (subject.name, others) == ("n1", [])
    assert sorted(histories) == [0, 2, 3, 4, 5, 6, 7]
    assert {(row[0], row[-1]) for row in histories.values()} == {(State.ALIVE, State.DEAD)}
    assert all(State.SUSPECT in row for row in histories.values())
    assert len({row.index(State.DEAD) for row in histories.values()}) > 1
