"""Real agents, over UDP and TCP on the loopback: depends on this machine and on what else it does.

    python -m bench.membership.agents

128 agents in four processes, each in an event loop with 31 others: what they take of one core is shared by all.
"""

import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
import uvloop

from bench.membership.report import Result, run
from penstock.membership.agent import Agent
from penstock.membership.config import MembershipConfig
from penstock.membership.keyring import Key
from penstock.membership.network import NetworkTransport

STEADY_AFTER = 15.0  # seconds after joining until the news is told and comparisons are rare
STEADY_SECONDS = 20.0


async def _some_agents(folder: Path, key: Key, numbers: range, total: int, pipe: Connection) -> None:
    agents = []
    for number in numbers:
        home = folder / str(number)
        home.mkdir()
        (home / "keys").write_text(f"{key}\n")
        config = MembershipConfig(folder=home, name=f"n{number}", port=0)
        agents.append(Agent(config, NetworkTransport("127.0.0.1", 0)))
        await agents[-1].start()
    pipe.send("{}:{}".format(*agents[0].me.address))
    seed = await asyncio.to_thread(pipe.recv)
    others = [agent for agent in agents if "{}:{}".format(*agent.me.address) != seed]
    used = time.process_time()
    # An answer may be late where the seed is busy; gossip reaches them all the same.
    await asyncio.gather(*(agent.join([seed]) for agent in others), return_exceptions=True)
    while not all(agent.core.node.members.count == total for agent in agents):  # noqa: ASYNC110 - no single event tells that all have met
        await asyncio.sleep(0.02)
    pipe.send((time.monotonic(), time.process_time() - used))
    await asyncio.to_thread(pipe.recv)
    await asyncio.sleep(STEADY_AFTER)
    used, began = time.process_time(), time.monotonic()
    await asyncio.sleep(STEADY_SECONDS)
    pipe.send((time.process_time() - used) / (time.monotonic() - began) / len(agents))
    await asyncio.to_thread(pipe.recv)
    await asyncio.gather(*(agent.stop() for agent in agents))


def _process(folder: Path, key: Key, numbers: range, total: int, pipe: Connection) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_some_agents(folder, key, numbers, total, pipe))


def rows(total: int = 128, each: int = 32) -> Iterator[Result]:
    """Against what was measured of memberlist in Go."""
    context = multiprocessing.get_context("spawn")
    key = Key.generate()
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for first in range(0, total, each):
            ours, theirs = context.Pipe()
            numbers = range(first, first + each)
            processes.append(
                context.Process(target=_process, args=(Path(folder), key, numbers, total, theirs))
            )
            processes[-1].start()
            pipes.append(ours)
        seeds = [pipe.recv() for pipe in pipes]
        load, began = os.getloadavg()[0], time.monotonic()
        for pipe in pipes:
            pipe.send(seeds[0])
        met = [pipe.recv() for pipe in pipes]
        for pipe in pipes:
            pipe.send("go on")
        share = statistics.mean(pipe.recv() for pipe in pipes)
        for pipe in pipes:
            pipe.send("stop")
        for process in processes:
            process.join()
    joined = max(moment for moment, _ in met) - began
    used = sum(seconds for _, seconds in met)
    yield Result(
        f"{total} real agents in {total // each} processes joining at once (load average {load:.1f} on {os.cpu_count()} cores)",
        "3.43 s", "≤ 3.5 s", f"{joined:.2f} s, of which {used:.1f} s of one core", joined <= 3.5,
    )  # fmt: skip
    yield Result(
        f"CPU per node, steady, {total} members",
        "0.037 % of a core (Go)",
        "≤ 0.1 %",
        f"{share:.3%}",
        share <= 0.001,
    )


if __name__ == "__main__":
    sys.exit(run(rows()))
