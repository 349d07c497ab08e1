from typing import Any

from penstock.catalog.records import Task
from penstock.catalog.words import TaskKind, TaskState
from penstock.processing.runs import Run, Runs, StopReason
from penstock.processing.slots import Lane

PLACES = {Lane.URGENT: 1, Lane.ENCODE: 2, Lane.AUDIO: 2, Lane.LIGHT: 2}


def task(number: int = 1, **more: Any) -> Task:
    """A claimed task."""
    given: dict[str, Any] = dict.fromkeys(Task.__dataclass_fields__)
    given |= {
        "id": f"task-{number}",
        "kind": TaskKind.TRANSCODE,
        "state": TaskState.CLAIMED,
        "attempt": 1,
        "worker_id": "me",
        "not_before": 0,
        "queued_at": 1000,
    }
    return Task(**{**given, **more})


def test_places_are_taken_and_freed() -> None:
    """A run takes a place of its lane until it is removed."""
    runs = Runs(PLACES, 100)
    run = Run(task(), Lane.ENCODE, memory=70)
    runs.add(run)
    assert runs.free() == {**PLACES, Lane.ENCODE: 1}
    assert runs.now() == [run]
    runs.remove(run)
    assert runs.free() == PLACES
    assert runs.wait_idle(0)


def test_a_run_that_wants_to_be_alone_leaves_no_place() -> None:
    """It may be what kills its process: nobody shall die with it."""
    runs = Runs(PLACES, 100)
    runs.add(Run(task(), Lane.ENCODE, alone=True))
    assert set(runs.free().values()) == {0}
    assert not runs.wait_idle(0)


def test_the_first_reason_to_stop_stands() -> None:
    """A claim that is gone is not handed back because the process ends afterwards."""
    runs = Runs(PLACES, 100)
    run = Run(task(), Lane.ENCODE)
    runs.add(run)
    run.stop(StopReason.CLAIM_GONE)
    runs.stop_all(StopReason.SHUTDOWN)
    assert run.cancel.is_set()
    assert run.stopped is StopReason.CLAIM_GONE


def test_an_old_run_does_not_free_the_place_of_a_new_one() -> None:
    """A zombie of the same task in the same process ends after its successor has begun."""
    runs = Runs(PLACES, 100)
    old, new = Run(task(), Lane.ENCODE), Run(task(attempt=2), Lane.ENCODE)
    runs.add(old)
    runs.add(new)
    runs.remove(old)
    assert runs.now() == [new]


def test_waiting_is_counted_from_when_a_task_could_be_claimed() -> None:
    """A back-off is no delay of the dispatcher."""
    assert Run(task(claimed_at=1500), Lane.ENCODE).waited == 0.5
    assert Run(task(claimed_at=1500, not_before=1400), Lane.ENCODE).waited == 0.1
