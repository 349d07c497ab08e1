import asyncio

import pytest

from penstock.membership.members import Change, Record
from penstock.membership.precedence import State
from penstock.membership.watching import WATCHER_LIMIT, History, kind_of
from tests.unit.membership.puppet import node_id, record


def change(before: Record | None, after: Record | None) -> Change:
    """As the core notifies it."""
    return Change(before, after, node_id(1), "because")


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (None, State.ALIVE, "joined"),
        (None, State.DEAD, "heard_dead"),
        (None, State.LEFT, "left"),
        (State.ALIVE, State.ALIVE, "updated"),
        (State.ALIVE, State.SUSPECT, "suspected"),
        (State.SUSPECT, State.ALIVE, "recovered"),
        (State.SUSPECT, State.DEAD, "died"),
        (State.DEAD, State.ALIVE, "returned"),
        (State.LEFT, State.ALIVE, "returned"),
        (State.ALIVE, State.LEFT, "left"),
        (State.DEAD, None, "forgotten"),
    ],
)
def test_each_change_has_a_name(before: State | None, after: State | None, kind: str) -> None:
    """One word of a small vocabulary."""
    held = record(2, state=before) if before is not None else None
    then = record(2, state=after) if after is not None else None
    assert kind_of(change(held, then)) == kind


def test_events_are_numbered_and_the_last_are_kept() -> None:
    """Older ones are gone, and asking for them says so."""
    history = History(3)
    for _ in range(5):
        history.add(change(None, record(2)))
    assert [event.number for event in history.recent(10)] == [3, 4, 5]
    assert [event.number for event in history.since(3) or []] == [4, 5]
    assert history.since(5) == []
    assert history.since(2) is not None
    assert history.since(1) is None
    assert history.since(6) is None


def test_a_watcher_gets_every_event_in_order() -> None:
    """From when it began to watch."""

    async def scenario() -> list[int]:
        history = History(10)
        history.add(change(None, record(2)))
        with history.watch() as watcher:
            for _ in range(3):
                history.add(change(None, record(2)))
            return [event.number for _ in range(3) if (event := await watcher.next(5))]

    assert asyncio.run(scenario()) == [2, 3, 4]


def test_a_watcher_that_falls_behind_is_told() -> None:
    """Its buffer is bounded: it must begin again."""

    async def scenario() -> tuple[bool, object]:
        history = History(10)
        with history.watch() as watcher:
            for _ in range(WATCHER_LIMIT + 1):
                history.add(change(None, record(2)))
            return watcher.lost, await watcher.next(5)

    assert asyncio.run(scenario()) == (True, None)


def test_watchers_end_with_the_node() -> None:
    """Nobody waits for ever."""

    async def scenario() -> object:
        history = History(10)
        with history.watch() as watcher:
            history.close()
            return await watcher.next(60)

    assert asyncio.run(scenario()) is None
