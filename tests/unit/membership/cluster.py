"""Several agents in one event loop, over memory or the network; a test waits for what must come, and asserts no times."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from penstock.membership.agent import Agent
from penstock.membership.config import MembershipConfig, ProtocolConfig
from penstock.membership.in_memory import MemoryNetwork
from penstock.membership.keyring import Key
from penstock.membership.members import Address
from penstock.membership.network import NetworkTransport
from penstock.membership.precedence import State
from penstock.membership.transport import Transport

SECONDS = 60.0  # far more than anything here takes, on a machine however busy
QUICK = ProtocolConfig(
    probe_interval=0.1,
    probe_timeout=0.05,
    gossip_interval=0.05,
    sync_interval=1.0,
    revive_interval=2.0,
)
KEY = Key(b"k" * 32)


class Cluster:
    """Agents with a common key; each can be killed and started again on its folder."""

    def __init__(self, folder: Path, memory: MemoryNetwork | None = None) -> None:
        self._folder = folder
        self.memory = memory
        self.agents: dict[str, Agent] = {}
        self._addresses: dict[str, Address] = {}

    def config(self, name: str, seeds: Sequence[str] = ()) -> MembershipConfig:
        """Of one node."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        if not (folder / "keys").exists():
            (folder / "keys").write_text(f"{KEY}\n")
        return MembershipConfig(folder=folder, name=name, port=0, seeds=",".join(seeds), protocol=QUICK)

    async def start(
        self, name: str, *seeds: str, change: Callable[[MembershipConfig], MembershipConfig] | None = None
    ) -> Agent:
        """Starts a node; ``seeds`` are names of others. In memory it is reached where it was before."""
        config = self.config(name, [self.where(seed) for seed in seeds])
        agent = Agent(change(config) if change else config, self._transport(name))
        await agent.start()
        self.agents[name] = agent
        self._addresses[name] = agent.me.address
        return agent

    def where(self, name: str) -> str:
        """Address of a node, as a seed."""
        return "{}:{}".format(*self._addresses[name])

    def _transport(self, name: str) -> Transport:
        if self.memory is None:
            return NetworkTransport("127.0.0.1", 0)
        transport = self.memory.transport()
        if name in self._addresses:
            transport.address = self._addresses[name]
        return transport

    async def kill(self, name: str) -> None:
        """Ends a node without a word."""
        await self.agents.pop(name).stop()

    async def stop(self) -> None:
        """Ends all."""
        for name in list(self.agents):
            await self.kill(name)

    def states(self, observer: str) -> dict[str, State]:
        """What one believes of all, by name."""
        return {record.contact.name: record.state for record in self.agents[observer].core.members}

    async def agree(self, **expected: State) -> None:
        """Waits until every running node believes all running ones alive, and the others what is expected of them."""
        alive = dict.fromkeys(self.agents, State.ALIVE)
        await until(
            lambda: all(
                {**self.states(name), **expected} == self.states(name)
                and {**self.states(name), **alive} == self.states(name)
                for name in self.agents
            )
        )


async def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in several nodes, none of which has an event for it
            await asyncio.sleep(0.01)


def run(scenario: Callable[[Cluster], Awaitable[None]], folder: Path, *, memory: bool) -> None:
    """Runs a scenario in a loop of its own, and ends what it started."""

    async def whole() -> None:
        cluster = Cluster(folder, MemoryNetwork() if memory else None)
        try:
            await scenario(cluster)
        finally:
            await cluster.stop()

    asyncio.run(whole())


def with_key(key: Key) -> Callable[[MembershipConfig], MembershipConfig]:
    """A node with another key ring."""

    def change(config: MembershipConfig) -> MembershipConfig:
        path = config.folder / "other-keys"
        path.write_text(f"{key}\n")
        return replace(config, key_file=path)

    return change
