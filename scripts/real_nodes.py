"""Real nodes for tests and the demonstration: processes of `penstock serve member`, each with a folder and an address of its own.

With ``Loopback`` they share 127.0.0.1 and differ by port: no privileges. With ``Namespaces`` (root) each has a network namespace
and a link to a bridge, so that links can be cut as on real machines. All that was made is removed by ``close``.
"""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx

from penstock.membership import views
from penstock.membership.client import MembershipClient
from penstock.membership.errors import MembershipError
from penstock.membership.keyring import Key
from scripts.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 180.0  # seconds; how long anything may take on a busy machine before it has failed
PORT = 7946
T = TypeVar("T")


class Place:
    """Where a node runs: its address, and what stands before its command."""

    def __init__(self, host: str, port: int, prefix: tuple[str, ...] = ()) -> None:
        self.host, self.port, self.prefix = host, port, prefix


class Loopback:
    """Nodes on 127.0.0.1, each with a port of its own. Links cannot be cut."""

    def place(self, name: str) -> Place:  # noqa: ARG002 - as with namespaces
        """A free port; it stays the node's."""
        return Place("127.0.0.1", free_port())

    def move(self, name: str, place: Place) -> Place:  # noqa: ARG002 - as with namespaces
        """Another port."""
        return self.place(name)

    def close(self) -> None:
        """Nothing was made."""


class Namespaces:
    """Nodes in network namespaces, joined by a bridge. Needs root and iproute2."""

    _made = itertools.count()  # the kernel may still be busy removing the last ones: names are not used twice

    def __init__(self) -> None:
        self._tag = f"{os.getpid() % 10_000:04d}{next(self._made)}"
        self._subnet = f"10.{77 + os.getpid() % 100}.0"
        self._names: list[str] = []
        self._bridge = f"pm{self._tag}"
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("link", "set", self._bridge, "up")

    @staticmethod
    def available() -> bool:
        """Whether this process may make namespaces and bridges."""
        if os.geteuid() != 0:
            return False
        name = f"pmtry{os.getpid()}"
        tries = (["ip", "netns", "add", name], ["ip", "-n", name, "link", "add", "bridge0", "type", "bridge"])
        try:
            worked = all(
                subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in tries
            )
        except FileNotFoundError:
            return False
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        return worked

    def place(self, name: str) -> Place:
        """A namespace with one link to the bridge."""
        number = len(self._names) + 1
        self._names.append(name)
        space, outer = self._space(name), self._link(name)
        _ip("netns", "add", space)
        _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", outer, "master", self._bridge, "up")
        _ip("-n", space, "addr", "add", f"{self._subnet}.{number}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        return Place(f"{self._subnet}.{number}", PORT, ("ip", "netns", "exec", space))

    def move(self, name: str, place: Place) -> Place:
        """Gives the node's machine another address."""
        space, host = self._space(name), f"{self._subnet}.{100 + self._names.index(name)}"
        _ip("-n", space, "addr", "flush", "dev", "eth0")
        _ip("-n", space, "addr", "add", f"{host}/24", "dev", "eth0")
        return Place(host, place.port, place.prefix)

    def cut(self, name: str) -> None:
        """Takes the node's link down."""
        _ip("link", "set", self._link(name), "down")

    def mend(self, name: str) -> None:
        """Brings the node's link up."""
        _ip("link", "set", self._link(name), "up")

    def mute(self, name: str) -> None:
        """The node hears everybody and is heard by nobody: what it sends goes nowhere."""
        _ip("-n", self._space(name), "route", "replace", "blackhole", f"{self._subnet}.0/25", "metric", "0")
        _ip("-n", self._space(name), "route", "del", f"{self._subnet}.0/24")
        _ip("-n", self._space(name), "route", "flush", "cache")

    def unmute(self, name: str) -> None:
        """Undoes :meth:`mute`."""
        _ip("-n", self._space(name), "route", "del", "blackhole", f"{self._subnet}.0/25")
        _ip("-n", self._space(name), "route", "replace", f"{self._subnet}.0/24", "dev", "eth0")

    def close(self) -> None:
        """Removes all of it."""
        for name in self._names:
            subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True, check=False)

    def _space(self, name: str) -> str:
        return f"pm{self._tag}-{name}"

    def _link(self, name: str) -> str:
        return f"pm{self._tag}{name}"[:15]


class Nodes:
    """Processes, by name."""

    def __init__(self, folder: Path, network: Loopback | Namespaces) -> None:
        self.folder = folder
        self.network = network
        self._key = Key.generate()
        self.places: dict[str, Place] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *seeds: str, port: int | None = None) -> None:
        """Starts a node and returns when its control interface answers. ``seeds``: names of others."""
        if name not in self.places:
            self.places[name] = self.network.place(name)
            home = self.folder / name / "membership"
            home.mkdir(parents=True)
            (home / "keys").write_text(f"{self._key}\n")
            (home / "keys").chmod(0o600)
        place = self.places[name]
        command = [
            *(*place.prefix, sys.executable, "-m", "penstock.cli", "serve", "member"),
            *("--data", str(self.folder / name), "--name", name),
            *("--bind", place.host, "--port", str(port or place.port)),
        ]
        for seed in seeds:
            command += ["--seed", self.where(seed)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(lambda: self._status(name), f"{name} answers")

    def where(self, name: str) -> str:
        """Address of a node, as a seed."""
        place = self.places[name]
        return f"{place.host}:{place.port}"

    def move(self, name: str) -> None:
        """Gives a node that does not run another address."""
        self.places[name] = self.network.move(name, self.places[name])

    def kill(self, name: str) -> None:
        """Ends the process as `kill -9` does."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def terminate(self, name: str) -> int:
        """Ends the process as the system does when it stops services; its exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)

    @contextlib.contextmanager
    def ask(self, name: str) -> Iterator[MembershipClient]:
        """The control interface of a node."""
        with MembershipClient(self.folder / name / "membership" / "control.sock") as client:
            yield client

    def view(self, name: str) -> dict[str, str]:
        """What a node believes of all, by name."""
        with self.ask(name) as client:
            return {member.name: member.state for member in client.members()}

    def refused(self, name: str) -> float:
        """How many packets and frames a node could not open or decode, for whatever reason."""
        socket_path = self.folder / name / "membership" / "control.sock"
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket_path)), base_url="http://node"
        ) as client:
            lines = client.get("/metrics").text.splitlines()
        counted = [line for line in lines if line.startswith("penstock_membership_rejected_total")]
        return sum(float(line.rpartition(" ")[2]) for line in counted)

    def agree(self, *, among: str | None = None, **expected: str) -> None:
        """Waits until all running nodes (or ``among`` these letters) believe each other alive, and the others as expected."""
        names = [name for name in self.processes if among is None or name in among]
        wanted = {**dict.fromkeys(names, "alive"), **expected}

        def hold() -> bool:
            return all(wanted.items() <= self.view(name).items() for name in names)

        try:
            eventually(hold, f"{wanted} in the view of {names}")
        except AssertionError as error:
            error.add_note(str({name: self.view(name) for name in names}))
            raise

    def _status(self, name: str) -> views.Status | None:
        if (status := self.processes[name].poll()) is not None:
            log = (self.folder / f"{name}.log").read_text()[-2000:]
            raise AssertionError(f"{name} ended with {status}: {log}")
        if not _listens(self.folder / name / "membership" / "control.sock"):
            return None
        try:
            with self.ask(name) as client:
                return client.status()
        except MembershipError:
            return None

    def close(self) -> None:
        """Ends all processes and removes the network."""
        for name in list(self.processes):
            self.kill(name)
        self.network.close()


def eventually(question: Callable[[], T | None], what: str) -> T:
    """The first answer that is true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"within {PATIENCE:.0f} s: {what}")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
