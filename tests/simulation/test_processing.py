import os
from pathlib import Path

import pytest

from penstock.catalog import Catalog
from tests.simulation.simulation import Simulation, repeatable

_SEEDS = int(os.environ.get("SIMULATION_SEEDS", "6"))
_FIRST = int(os.environ.get("SIMULATION_FIRST_SEED", "1"))
_KNOWN = () if "SIMULATION_FIRST_SEED" in os.environ else (7016,)  # deletes what was played, unlike the first
_ACTIONS = 120


@pytest.mark.parametrize("seed", [*range(_FIRST, _FIRST + _SEEDS), *_KNOWN])
def test_whatever_dies_and_collides_every_video_ends_well(
    seed: int, folder: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After random deaths, faults, zombies, deletions and repeated announcements nothing is lost, doubled or left over."""
    repeatable(monkeypatch, seed)
    simulation = Simulation(seed, folder, catalog)
    simulation.play(_ACTIONS)
    simulation.heal()
    simulation.check()
