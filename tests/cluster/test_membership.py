"""Real processes of the membership service, looked at through their control interfaces.

As root each has a network namespace and a link of its own, where the machine permits it; else all are on 127.0.0.1.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.membership.keyring import Key
from scripts.real_nodes import ROOT, Loopback, Namespaces, Nodes, eventually


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """None started yet."""
    made = Nodes(tmp_path, Namespaces() if Namespaces.available() else Loopback())
    try:
        yield made
    finally:
        made.close()


def test_five_nodes_discover_each_other_leave_die_and_come_back(nodes: Nodes) -> None:
    """Join through one seed; leave on SIGTERM; kill -9 detected; restart with the same identity, without a seed."""
    nodes.start("a")
    for name in "bcde":
        nodes.start(name, "a")
    nodes.agree()
    with nodes.ask("c") as client:
        before = client.status().node
    assert nodes.terminate("b") == 0
    nodes.agree(b="left")
    nodes.kill("c")
    nodes.agree(b="left", c="dead")
    nodes.start("c")
    nodes.start("b")
    nodes.agree()
    with nodes.ask("a") as client:
        after = client.member("c")
        kinds = {event.kind for event in client.events() if event.member.name == "c"}
    assert after.id == before.id
    assert after.epoch > before.epoch
    assert {"joined", "suspected", "died", "returned"} <= kinds


def test_a_total_outage_and_a_new_address_need_no_manual_step(nodes: Nodes) -> None:
    """All are killed and started again without seeds, one of them at another address."""
    nodes.start("a")
    for name in "bc":
        nodes.start(name, "a")
    nodes.agree()
    for name in "abc":
        eventually(
            (nodes.folder / name / "membership" / "members").exists, f"{name} has written whom it knows"
        )
        nodes.kill(name)
    nodes.move("c")
    for name in "cba":
        nodes.start(name)
    nodes.agree()
    there = (nodes.places["c"].host, nodes.places["c"].port)
    with nodes.ask(
        "a"
    ) as client:  # which holds it alive at the old address until it has heard of the new one

        def found() -> bool:
            member = client.member("c")
            return (member.host, member.port) == there

        eventually(found, "a knows where c is now")


def test_the_command_line_shows_the_cluster_and_changes_it(nodes: Nodes) -> None:
    """Members, watch, leave, join, keys: as a person uses them."""

    def run(name: str, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "penstock.cli", *command, "--data", str(nodes.folder / name)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    nodes.start("a")
    nodes.start("b", "a")
    nodes.agree()
    watching = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "members", "--watch", "--data", str(nodes.folder / "a")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("NAME")
        table = run("a", "members").stdout
        assert "a (here)" in table
        assert run("b", "leave").returncode == 0
        nodes.agree(among="a", b="left")
        assert run("b", "join", nodes.where("a")).returncode == 0
        nodes.agree()
        lines = iter(watching.stdout.readline, "")
        assert any("returned" in line for line in lines if " b " in line)
    finally:
        watching.kill()
        watching.communicate()
    assert run("a", "force-leave", "b").returncode != 0
    unknown = run("a", "force-leave", "nobody")
    assert "unknown_member" in unknown.stderr
    key = Key.generate()
    for step, argument in (("add", str(key)), ("use", key.fingerprint)):
        for name in "ab":
            assert run(name, "keys", step, argument).returncode == 0
    listed = run("a", "keys", "list").stdout.splitlines()
    assert listed[0].split() == [key.fingerprint, "primary"]
    for name in "ab":
        assert run(name, "keys", "remove", listed[1].strip()).returncode == 0
    nodes.agree()


def test_keys_roll_while_every_node_talks_and_no_packet_is_refused(nodes: Nodes) -> None:
    """Add, use and remove, node by node, each while all nodes state new metadata: every node opens all that it receives."""
    nodes.start("a")
    for name in "bcd":
        nodes.start(name, "a")
    nodes.agree()
    key = Key.generate()
    number = 0

    def everybody_talks() -> None:
        nonlocal number
        number += 1
        for name in nodes.processes:
            with nodes.ask(name) as client:
                client.set_metadata({"said": number})
        eventually(
            lambda: all(said == number for name in nodes.processes for said in _said(nodes, name)),
            f"all know what all said in round {number}",
        )

    with nodes.ask("a") as client:
        old = client.keys()[0].fingerprint
    for step in ("add", "use", "remove"):
        for name in nodes.processes:
            with nodes.ask(name) as client:
                match step:
                    case "add":
                        client.add_key(str(key))
                    case "use":
                        client.use_key(key.fingerprint)
                    case _:
                        client.remove_key(old)
            everybody_talks()
        if (
            step != "remove"
        ):  # what was under way when a node forgot the old key may come too late for it, and is said again
            assert [nodes.refused(name) for name in nodes.processes] == [0.0] * 4
    nodes.agree()
    for name in nodes.processes:
        with nodes.ask(name) as client:
            held = client.keys()
        assert [(each.fingerprint, each.primary) for each in held] == [(key.fingerprint, True)]


def _said(nodes: Nodes, name: str) -> list[object]:
    with nodes.ask(name) as client:
        return [member.metadata.get("said") for member in client.members()]


def test_two_nodes_discover_each_other_and_part_on_demand(nodes: Nodes) -> None:
    """Neither knew the other but for one address; one leaves and joins again, by command."""
    nodes.start("a")
    nodes.start("b")
    with nodes.ask("b") as client:
        client.join([nodes.where("a")])
    nodes.agree()
    with nodes.ask("b") as client:
        client.leave()
    nodes.agree(among="a", b="left")
    with nodes.ask("b") as client:
        client.join([nodes.where("a")])
    nodes.agree()


def test_a_second_process_on_the_same_folder_is_refused(nodes: Nodes) -> None:
    """One identity runs once; the first goes on."""
    nodes.start("a")
    second = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "serve", "member", "--data", str(nodes.folder / "a"), "--port", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert second.returncode == 3
    assert "state_unreadable" in second.stderr
    eventually(lambda: nodes.view("a"), "a answers")


def test_an_outside_program_keeps_an_nginx_upstream_list(nodes: Nodes, tmp_path: Path) -> None:
    """Services with the role are listed, and are gone from the file when they end, or their node leaves."""
    output = tmp_path / "upstream.conf"
    nodes.start("a")
    nodes.start("b", "a")
    nodes.agree()
    program = subprocess.Popen(
        [
            *(sys.executable, "examples/nginx_upstreams.py", "--role", "streaming"),
            *("--socket", str(nodes.folder / "a" / "membership" / "control.sock"), "--output", str(output)),
        ],
        cwd=ROOT,
    )
    try:
        eventually(
            lambda: output.exists() and "server 127.0.0.1:9 down;" in output.read_text(), "an empty list"
        )
        with nodes.ask("b") as client:
            for port in (8800, 8801):
                said = {"roles": ["upload", "streaming"], "url": f"http://10.0.0.5:{port}", "health": "ok"}
                client.register(f"web-{port}", said, ttl=3600)
            eventually(lambda: "server 10.0.0.5:8801;" in output.read_text(), "both are listed")
            client.unregister("web-8801")
        eventually(lambda: "server 10.0.0.5:8801;" not in output.read_text(), "one has ended")
        assert "server 10.0.0.5:8800;" in output.read_text()
        nodes.terminate("b")
        eventually(lambda: "server 127.0.0.1:9 down;" in output.read_text(), "b is gone")
    finally:
        program.kill()
        program.wait()


@pytest.mark.needs_namespaces
def test_links_are_cut_and_mended_one_way_cuts_and_new_addresses(tmp_path: Path) -> None:
    """Each node in a network namespace: a cut link, a node that hears and is not heard, another address."""
    network = Namespaces()
    nodes = Nodes(tmp_path, network)
    try:
        nodes.start("a")
        for name in "bcd":
            nodes.start(name, "a")
        nodes.agree()
        network.cut("d")
        nodes.agree(among="abc", d="dead")
        network.mend("d")
        nodes.agree()
        network.mute("c")
        nodes.agree(among="abd", c="dead")
        network.unmute("c")
        nodes.agree()
        with nodes.ask("b") as client:
            before = client.status().node
        nodes.kill("b")
        nodes.move("b")
        nodes.start("b")
        nodes.agree()
        with nodes.ask("a") as client:
            after = client.member("b")
        assert (after.id, after.host) == (before.id, nodes.places["b"].host)
        assert after.host != before.host
    finally:
        nodes.close()
