from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from penstock.processing import slots
from penstock.processing.config import ProcessingConfig
from penstock.processing.slots import Lane
from penstock.video import plan as planning
from penstock.video.plan import Settings
from tests.simulation.scripted import Script, ScriptedMedia


@pytest.fixture
def config(tmp_path: Path) -> ProcessingConfig:
    """As it ships."""
    return ProcessingConfig(node="n", run_folder=tmp_path, scratch_folder=tmp_path)


def test_places_follow_the_cores(config: ProcessingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen cores encode eight chunks at once; every lane has a place on the smallest machine."""
    monkeypatch.setattr(slots, "cores", lambda: 16)
    assert slots.places(config)[Lane.ENCODE] == 8
    monkeypatch.setattr(slots, "cores", lambda: 1)
    assert all(count >= 1 for count in slots.places(config).values())


def test_what_is_configured_counts(config: ProcessingConfig) -> None:
    """An operator's numbers replace the computed ones."""
    given = replace(config, encode_slots=3, audio_slots=5, light_slots=4, urgent_slots=0, memory_budget=10**9)
    assert slots.places(given) == {Lane.URGENT: 0, Lane.ENCODE: 3, Lane.AUDIO: 5, Lane.LIGHT: 4}
    assert slots.memory_budget(given) == 10**9


def test_the_machine_has_cores_and_memory() -> None:
    """Whatever limits it, there is a processor and some memory."""
    assert slots.cores() >= 1
    assert slots.memory() > 50_000_000


@pytest.mark.parametrize(
    ("width", "height", "least", "most"), [(640, 360, 60e6, 300e6), (3840, 2160, 500e6, 2e9)]
)
def test_memory_grows_with_the_picture(
    tmp_path: Path, width: int, height: int, least: float, most: float
) -> None:
    """The estimate for a 4K source is several times that of a small one, and of a believable size."""
    source = tmp_path / "script"
    source.write_bytes(Script("clip", width=width, height=height).to_bytes())
    facts = ScriptedMedia().inspect(source, cancel=Event())
    plan = planning.plan(facts, Settings(gop_seconds=Fraction(2)))
    assert least <= slots.encode_memory(plan) <= most


def test_sound_alone_needs_little(tmp_path: Path) -> None:
    """A source without pictures has no pictures in memory."""
    source = tmp_path / "script"
    source.write_bytes(Script("clip").to_bytes())
    facts = replace(ScriptedMedia().inspect(source, cancel=Event()), video=())
    assert slots.encode_memory(planning.plan(facts, Settings())) < 100_000_000
