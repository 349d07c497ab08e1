from collections.abc import Callable
from pathlib import Path

import pytest

from bench.pairs import Figures, Ledger, Pair, ratio, ratios, stamp, turned


def pair(ours: float, theirs: float, *, stamp: str = "now") -> Pair:
    """A repeat of two contenders, by their seconds."""
    return Pair("case", stamp, ("a", "b"), {"a": {"wall": ours}, "b": {"wall": theirs}}, 0.5, "2026-11-21")


def told(calls: list[str], name: str, seconds: float) -> Callable[[], Figures]:
    """A contender that notes that it ran."""

    def run() -> Figures:
        calls.append(name)
        return {"wall": seconds}

    return run


def test_a_ratio_is_of_neighbours_and_not_of_medians() -> None:
    """What slowed one repeat down slowed both contenders down, so its ratio counts like any other."""
    pairs = [pair(1.0, 2.0), pair(30.0, 60.0), pair(1.5, 2.0)]
    assert ratios(pairs, "a", "b", "wall") == [0.5, 0.5, 0.75]
    assert ratio(pairs, "a", "b", "wall") == 0.5


def test_the_order_turns() -> None:
    """Nobody is always first, and two repeats that follow each other are mirror images."""
    names = ["a", "b", "c"]
    orders = [turned(names, repeat) for repeat in range(6)]
    assert {order[0] for order in orders} == {"a", "b", "c"}
    assert all(orders[n] == tuple(reversed(orders[n + 1])) for n in (0, 2, 4))


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """What was measured is not measured again; the repeat that was interrupted is, with all its contenders."""
    calls: list[str] = []
    path = tmp_path / "results.jsonl"

    def fails() -> Figures:
        raise KeyboardInterrupt

    Ledger(path, "now").run("case", {"a": told(calls, "a", 1), "b": told(calls, "b", 2)}, 1)
    with pytest.raises(KeyboardInterrupt):
        Ledger(path, "now").run("case", {"a": told(calls, "a", 1), "b": fails}, 2)
    calls.clear()
    pairs = Ledger(path, "now").run("case", {"a": told(calls, "a", 1), "b": told(calls, "b", 2)}, 2)
    assert calls == ["b", "a"]
    assert [each.order for each in pairs] == [("a", "b"), ("b", "a")]


def test_a_line_that_was_cut_short_spoils_nothing(tmp_path: Path) -> None:
    """A machine that stopped while it wrote costs that repeat and no other."""
    path = tmp_path / "results.jsonl"
    ledger = Ledger(path, "now")
    ledger.add(pair(1, 2))
    with path.open("a") as file:
        file.write('{"case": "ca')
    assert ledger.pairs("case") == [pair(1, 2)]
    ledger.add(pair(3, 4))
    assert ledger.pairs("case") == [pair(1, 2), pair(3, 4)]


def test_other_code_is_not_mixed_in(tmp_path: Path) -> None:
    """Repeats count only with the code and the tools that they were made with; they stay for whoever goes back."""
    path = tmp_path / "results.jsonl"
    Ledger(path, "before").add(pair(1, 2, stamp="before"))
    Ledger(path, "now").add(pair(3, 4))
    assert [each.stamp for each in Ledger(path, "now").pairs("case")] == ["now"]
    assert [each.stamp for each in Ledger(path, "before").pairs("case")] == ["before"]


def test_beginning_anew_forgets_one_case(tmp_path: Path) -> None:
    """Other cases of the same file keep what was measured."""
    ledger = Ledger(tmp_path / "results.jsonl", "now")
    ledger.add(pair(1, 2))
    ledger.run("other", {"a": lambda: {"wall": 1.0}}, 1)
    ledger.forget("case")
    assert not ledger.pairs("case")
    assert len(ledger.pairs("other")) == 1


def test_a_room_that_is_gone_is_told() -> None:
    """What was renamed would otherwise change without any benchmark noticing."""
    assert stamp(["video"]) != stamp(["storage"])
    with pytest.raises(FileNotFoundError):
        stamp(["video", "videos.py"])
