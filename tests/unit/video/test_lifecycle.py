from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.video import lifecycle
from penstock.video.errors import IllegalTransition
from penstock.video.lifecycle import (
    FINAL_GENERATION_STATES,
    FINAL_VIDEO_STATES,
    GENERATION_TRANSITIONS,
    VIDEO_TRANSITIONS,
    GenerationEvent,
    GenerationState,
    VideoEvent,
    VideoState,
)

TABLES = {
    "video": (VIDEO_TRANSITIONS, VideoState, VideoEvent, VideoState.PENDING, FINAL_VIDEO_STATES),
    "generation": (
        GENERATION_TRANSITIONS,
        GenerationState,
        GenerationEvent,
        GenerationState.PLANNED,
        FINAL_GENERATION_STATES,
    ),
}
each_table = pytest.mark.parametrize(
    ("table", "states", "events", "initial", "final"), list(TABLES.values()), ids=list(TABLES)
)
Table = Mapping[tuple[Any, Any], Any]


@each_table
def test_every_state_is_reached_and_every_event_used(
    table: Table, states: type[StrEnum], events: type[StrEnum], initial: StrEnum, final: frozenset[StrEnum]
) -> None:
    """No word of the vocabulary is idle: each state can come about, and each event leads somewhere."""
    reached = {initial}
    while more := {target for (state, _), target in table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(states)
    assert {event for _, event in table} == set(events)


@each_table
def test_nothing_leaves_a_final_state_and_something_leaves_all_others(
    table: Table, states: type[StrEnum], events: type[StrEnum], initial: StrEnum, final: frozenset[StrEnum]
) -> None:
    """Final means final, and nothing else is a dead end."""
    assert {state for state, _ in table} == set(states) - final


def test_every_video_can_be_deleted_until_it_is() -> None:
    """Whatever a video is going through, its owner can end it."""
    for state in set(VideoState) - FINAL_VIDEO_STATES:
        assert lifecycle.advance(VIDEO_TRANSITIONS, state, VideoEvent.DELETED) is VideoState.DELETED


def test_ready_is_left_by_deletion_alone() -> None:
    """A later processing, even one that fails, never takes a ready video away."""
    leaving = {
        event
        for (state, event), target in VIDEO_TRANSITIONS.items()
        if state is not target and state is VideoState.READY
    }
    assert leaving == {VideoEvent.DELETED}


@given(st.sampled_from(VideoState), st.sampled_from(VideoEvent))
def test_a_step_is_a_row_of_the_table_or_refused(state: VideoState, event: VideoEvent) -> None:
    """A refusal names the event, the state and what would be legal."""
    if (state, event) in VIDEO_TRANSITIONS:
        assert lifecycle.advance(VIDEO_TRANSITIONS, state, event) is VIDEO_TRANSITIONS[state, event]
        return
    with pytest.raises(IllegalTransition) as raised:
        lifecycle.advance(VIDEO_TRANSITIONS, state, event)
    detail = raised.value.detail
    assert f"'{event}'" in detail
    assert f"'{state}'" in detail
    legal = [known for known_state, known in VIDEO_TRANSITIONS if known_state is state]
    assert all(known in detail for known in legal)
    assert ("final" in detail) == (state in FINAL_VIDEO_STATES)


def test_only_what_is_processing_or_ready_can_be_played() -> None:
    """Failure and deletion end play, whatever was published before."""
    assert {state for state in VideoState if lifecycle.may_be_playable(state)} == {
        VideoState.PROCESSING,
        VideoState.READY,
    }


@each_table
def test_the_diagram_has_one_line_per_row(
    table: Table, states: type[StrEnum], events: type[StrEnum], initial: StrEnum, final: frozenset[StrEnum]
) -> None:
    """What the documentation shows is the whole table and nothing else."""
    lines = lifecycle.diagram(table, initial, final).splitlines()
    assert lines[:2] == ["stateDiagram-v2", f"    [*] --> {initial}"]
    rows = [f"    {state} --> {target}: {event}" for (state, event), target in table.items()]
    assert lines[2:] == rows + [f"    {state} --> [*]" for state in sorted(final)]
