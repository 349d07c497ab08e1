"""How results are shown: one line per measure, with what others reach, what was aimed for, and what was measured."""

import gc
from collections.abc import Iterable
from dataclasses import dataclass

import structlog


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table."""

    measure: str
    anchor: str
    goal: str
    measured: str
    kept: bool | None  # None: there is no goal to compare with


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of all lie, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(results: Iterable[Result]) -> int:
    """Prints each result as soon as it is there; 1 where a goal is missed."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    gc.disable()  # a world's objects die with it; looking for circles among millions that live costs a tenth of the time
    try:
        return _print(results)
    finally:
        gc.enable()
        structlog.configure(**before)


def _print(results: Iterable[Result]) -> int:
    missed = 0
    print("| measure | anchor | goal | measured | |\n| --- | --- | --- | --- | --- |", flush=True)
    for result in results:
        verdict = {True: "kept", False: "MISSED", None: ""}[result.kept]
        missed += result.kept is False
        print(
            f"| {result.measure} | {result.anchor} | {result.goal} | {result.measured} | {verdict} |",
            flush=True,
        )
        gc.collect()
    return 1 if missed else 0
