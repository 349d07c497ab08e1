"""The benchmarks of membership in a small form, from fixed seeds: every row they print, and that it keeps its goal here too."""

import json
from pathlib import Path

import pytest

from bench.membership import detection, failures, lifeguard, quiet, scale
from bench.membership.report import Result, run


@pytest.mark.parametrize(
    "results",
    [
        lambda: detection.rows(runs=6),
        lambda: quiet.rows(count=16),
        lambda: scale.rows(few=100, many=300, joiners=100),
        lambda: failures.rows(count=20, seeds=1, crowd=20),
    ],
    ids=["detection", "quiet", "scale", "failures"],
)
def test_a_small_cluster_keeps_every_goal(results: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Each row is printed with its anchor, its goal and what was measured, and none is missed."""
    assert callable(results)
    assert run(results()) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert lines
    assert all(line.endswith("| kept |") for line in lines)


def test_a_missed_goal_is_said_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status tells what the table tells."""
    assert run([Result("speed", "1", "2", "3", kept=False)]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_protections_keep_healthy_nodes_alive_where_swim_does_not() -> None:
    """A quarter of 32 nodes blocked for 16 s again and again: plain SWIM buries healthy nodes, ours none that healthy ones raised."""
    number = next(number for number in range(432) if lifeguard.cell(number)[:2] == (8, 16.384))
    everywhere, _ = lifeguard.false_positives(lifeguard.SWIM, number, nodes=32, seconds=60)
    ours, healthy = lifeguard.false_positives(lifeguard.OURS, number, nodes=32, seconds=60)
    assert everywhere > 100
    assert ours <= 0.015 * everywhere
    assert healthy == 0


def test_runs_take_every_cell_of_the_grid_once_before_any_twice() -> None:
    """And each prefix is spread over how many are blocked and for how long."""
    cells = [lifeguard.cell(number) for number in range(lifeguard.GRID)]
    assert len(set(cells)) == lifeguard.GRID
    assert len({cell[:2] for cell in cells[:54]}) == 54
    assert lifeguard.cell(lifeguard.GRID) == cells[0]


def test_runs_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    """However often it is interrupted, the experiment goes on where it was; the order keeps configurations abreast."""
    file = tmp_path / "runs.jsonl"
    todo = list(lifeguard.missing(lifeguard.load(file), 20, 5))
    assert (
        len(todo)
        == len(set(todo))
        == 20 * len(lifeguard.CONFIGURATIONS) + 2 * 20 + 5 * (len(lifeguard.CONFIGURATIONS) - 2)
    )
    name, kind, number = todo[1]
    assert kind == "run"
    file.write_text(json.dumps({"configuration": name, "run": number, "everywhere": 3, "healthy": 1}) + "\n")
    found = lifeguard.load(file)
    assert found[name].runs == {number: (3, 1)}
    assert list(lifeguard.missing(found, 20, 5)) == [todo[0], *todo[2:]]


def test_shares_compare_the_same_runs(tmp_path: Path) -> None:
    """A configuration with fewer runs is held against SWIM's in those, not in all."""
    file = tmp_path / "runs.jsonl"
    entries = [
        {"configuration": lifeguard.BASE, "run": 0, "everywhere": 10, "healthy": 9},
        {"configuration": lifeguard.BASE, "run": 1, "everywhere": 1000, "healthy": 9},
        {"configuration": lifeguard.DEFAULT, "run": 0, "everywhere": 1, "healthy": 0},
    ]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert lifeguard.share_of(lifeguard.load(file), lifeguard.DEFAULT) == (0.1, [0])


def test_the_page_says_what_the_runs_came_to() -> None:
    """No figure of the experiment without the runs behind it: python -m bench.membership.lifeguard --report."""
    page = lifeguard.PAGE.read_text()
    assert lifeguard.BEGIN in page
    assert lifeguard.written(page, lifeguard.load()) == page
