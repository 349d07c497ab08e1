import math
from collections.abc import Iterator
from typing import get_type_hints

import pytest

from penstock import bounds
from penstock.bounds import AT_LEAST, BOUNDS, OneOf, Range
from penstock.environment import PREFIX
from penstock.settings import ROOMS, Settings, settable
from penstock.video.errors import ConfigurationError
from penstock.video.ladder import STANDARD_HEIGHTS

NUMBERS = {"int", "float", "Fraction"}


def numeric() -> Iterator[tuple[str, object]]:
    """Every setting that is a number, without its prefix, with its default."""
    for room, (config, _) in ROOMS.items():
        hints = get_type_hints(config)
        for variable, field in settable(room).items():
            kind = getattr(hints[field.name], "__name__", "") or str(hints[field.name])
            if kind in NUMBERS or kind.removesuffix(" | None") in NUMBERS:
                yield variable.removeprefix(PREFIX), field.default


@pytest.mark.parametrize("name", [name for name, _ in numeric()])
def test_every_number_has_its_bounds(name: str) -> None:
    """A new setting is not forgotten: say in penstock/bounds.py what it may be."""
    assert name in BOUNDS


def test_every_default_may_be() -> None:
    """Nobody has to repair what was not set."""
    bounds.check(dict(numeric()), prefix=PREFIX)


def outside(bound: Range | OneOf) -> list[float]:
    """Values that are refused: the nearest whole ones beyond each end, and a negative one."""
    if isinstance(bound, OneOf):
        return [0, min(bound.values) - 1, max(bound.values) + 1]
    return [math.floor(bound.least) - 1, math.ceil(bound.most) + 1]


@pytest.mark.parametrize("name", ["PORT", "TRACE_RATIO", *(name for name, _ in numeric())])
def test_nonsense_is_refused_by_name_with_what_is_allowed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear sentence: the variable, its value, and the range."""
    for value in outside(BOUNDS[name]):
        monkeypatch.setenv(f"{PREFIX}{name}", bounds.shown(value))
        with pytest.raises(ConfigurationError) as refused:
            Settings.load()
        assert refused.value.detail == f"{PREFIX}{name} is {bounds.shown(value)}; it must be {BOUNDS[name]}."


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_is_no_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Floating point has values that compare with nothing."""
    monkeypatch.setenv("PENSTOCK_PROCESSING_LEASE", value)
    with pytest.raises(ConfigurationError, match="PENSTOCK_PROCESSING_LEASE"):
        Settings.load()


@pytest.mark.parametrize(("smaller", "factor", "larger"), AT_LEAST)
def test_numbers_that_contradict_each_other_are_refused_by_both_names(
    smaller: str, factor: float, larger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease shorter than the heartbeat, for one."""
    first, second = BOUNDS[smaller], BOUNDS[larger]
    assert isinstance(first, Range)
    assert isinstance(second, Range)
    low = max(second.least, 1)
    high = min(first.most, low * 100)
    assert low < factor * high
    monkeypatch.setenv(f"{PREFIX}{smaller}", bounds.shown(high))
    monkeypatch.setenv(f"{PREFIX}{larger}", bounds.shown(low))
    with pytest.raises(ConfigurationError) as refused:
        Settings.load()
    assert refused.value.detail.startswith(f"{PREFIX}{larger} is {bounds.shown(low)}; it must be at least ")
    assert f"{PREFIX}{smaller}, which is {bounds.shown(high)}." in refused.value.detail


def test_the_rungs_are_those_of_the_ladder() -> None:
    """One list of standard heights."""
    assert BOUNDS["PLAN_MAX_RUNG"] == OneOf(STANDARD_HEIGHTS)
