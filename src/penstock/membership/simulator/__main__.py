"""``python -m penstock.membership.simulator SCENARIO``: tells what happened, and draws who believed what about whom."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from penstock.membership.simulator.drawing import draw
from penstock.membership.simulator.scenarios import SCENARIOS
from penstock.membership.simulator.timeline import Timeline
from penstock.membership.simulator.world import World


def main() -> int:
    """Runs one scenario; 0 where what must hold at its end does."""
    parser = argparse.ArgumentParser(prog="python -m penstock.membership.simulator", description=__doc__)
    parser.add_argument("scenario", choices=sorted(SCENARIOS), help="what happens")
    parser.add_argument("--nodes", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same story (default 1)")
    parser.add_argument("--loss", type=float, default=0.0, help="share of datagrams lost everywhere")
    parser.add_argument("--latency", type=float, default=0.5, help="mean one-way delay in ms (default 0.5)")
    parser.add_argument(
        "--plot",
        type=Path,
        help="file to draw into who believed what about whom (.svg, .png; needs matplotlib)",
    )
    given = parser.parse_args()
    if given.plot is not None and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib, which `make environment-dev` installs")
    world = World(given.seed)
    world.network.loss = given.loss
    world.network.latency = given.latency / 1000
    story = Timeline(world)
    held = SCENARIOS[given.scenario](world, given.nodes, story)
    say = sys.stdout.write
    for line in (*story.lines(), "", *story.picture(), ""):
        say(f"{line}\n")
    ending = "all nodes agree" if held else "the nodes do NOT agree"
    say(f"{ending} after {world.now:.1f} s, {world.packets} packets, trace {world.trace.hexdigest()}\n")
    if given.plot is not None:
        draw(story, given.plot)
        say(f"drawn: {given.plot}\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
