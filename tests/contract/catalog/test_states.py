from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from penstock.catalog import Catalog, events, generations, states, videos
from penstock.video import lifecycle
from penstock.video.errors import Conflict, IllegalTransition, NotFound
from penstock.video.identity import new_id
from penstock.video.lifecycle import GenerationEvent, GenerationState, VideoEvent, VideoState
from tests.contract.catalog import scenes

SETTINGS = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class Undone(Exception):
    """What ends a transaction that is to leave nothing."""


class LifecycleMachine(RuleBasedStateMachine):
    """The tables and the records, given the same random events."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__()
        self.catalog = catalog
        self.state = VideoState.PENDING
        self.version = 1
        self.generation_state = GenerationState.PLANNED
        self.generation_version = 1
        self.steps: list[tuple[str, str | None, str]] = []

    @initialize()
    def a_pending_video_with_a_generation(self) -> None:
        """Where every example begins."""
        self.video_id = scenes.pending(self.catalog, scenes.owner(self.catalog)).id
        with self.catalog.write() as tx:
            self.generation_id = generations.open_next(tx, self.video_id).id
        self.steps = [("created", None, VideoState.PENDING)]

    @rule(
        event=st.sampled_from(VideoEvent), stale=st.integers(min_value=0, max_value=5).map(lambda n: n == 0)
    )
    def something_happens_to_the_video(self, event: VideoEvent, stale: bool) -> None:
        """Any event, sometimes by somebody who saw an earlier version."""
        expected = self.version - 1 if stale else self.version
        target = lifecycle.VIDEO_TRANSITIONS.get((self.state, event))
        if target is None or stale:
            with pytest.raises(IllegalTransition if target is None else Conflict), self.catalog.write() as tx:
                videos.advance(tx, self.video_id, event, who="test", expected_version=expected)
            return
        with self.catalog.write() as tx:
            after = videos.advance(tx, self.video_id, event, who="test", expected_version=expected)
        assert after.state is target
        self.steps.append((event, self.state, target))
        self.state, self.version = target, self.version + 1

    @rule(event=st.sampled_from(GenerationEvent))
    def something_happens_to_the_generation(self, event: GenerationEvent) -> None:
        """Any event."""
        target = lifecycle.GENERATION_TRANSITIONS.get((self.generation_state, event))
        if target is None:
            with pytest.raises(IllegalTransition), self.catalog.write() as tx:
                generations.advance(tx, self.generation_id, event, who="test")
            return
        with self.catalog.write() as tx:
            generations.advance(tx, self.generation_id, event, who="test")
        self.steps.append((f"generation_{event}", self.generation_state, target))
        self.generation_state, self.generation_version = target, self.generation_version + 1

    @rule()
    def a_step_is_undone(self) -> None:
        """A transaction that fails after its step leaves neither the state nor the event."""
        legal = [event for state, event in lifecycle.VIDEO_TRANSITIONS if state is self.state]
        if legal:
            with suppress(Undone), self.catalog.write() as tx:
                videos.advance(tx, self.video_id, legal[0], who="test")
                raise Undone

    @invariant()
    def the_record_agrees(self) -> None:
        """What is recorded is what the table led to, and the history tells each step."""
        with self.catalog.read() as tx:
            video = videos.get(tx, self.video_id)
            generation = generations.get(tx, self.generation_id)
            history = events.listing(tx, self.video_id)
        assert (video.state, video.version) == (self.state, self.version)
        assert (generation.state, generation.version) == (self.generation_state, self.generation_version)
        assert [(event.event, event.from_state, event.to_state) for event in history] == self.steps
        assert [event.number for event in history] == list(range(1, len(self.steps) + 1))
        assert video.events == len(history)
        assert not video.playable or lifecycle.may_be_playable(video.state)
        assert video.playable or video.state is not VideoState.READY
        assert (video.deleted_at is not None) == (video.state is VideoState.DELETED)


def test_table_and_records_agree(catalog: Catalog) -> None:
    """Whatever happens, a record's state is what the table says, every change left one event and the version rose by one."""

    class Machine(LifecycleMachine):
        def __init__(self) -> None:
            super().__init__(catalog)

    run_state_machine_as_test(Machine, settings=SETTINGS)


def test_an_unknown_video_or_generation_is_not_found(catalog: Catalog) -> None:
    """Each lookup names what is missing."""
    with catalog.write() as tx:
        with pytest.raises(NotFound) as video:
            videos.advance(tx, new_id(), VideoEvent.DELETED, who="test")
        with pytest.raises(NotFound) as generation:
            states.lock_generation(tx, new_id())
        with pytest.raises(NotFound):
            events.append(tx, new_id(), "something", who="test")
    assert (video.value.code, generation.value.code) == ("video_not_found", "generation_not_found")


def test_an_event_says_who_when_why_and_about_what(catalog: Catalog) -> None:
    """The history alone explains a failure."""
    done = scenes.uploaded(catalog, scenes.owner(catalog))
    with catalog.write() as tx:
        videos.advance(
            tx,
            done.video.id,
            VideoEvent.FAILED,
            who="worker:w",
            why="The file is encrypted.",
            generation_id=done.video.current_generation_id,
            task_id=done.task_id,
            data={"code": "media_encrypted"},
        )
        last = events.listing(tx, done.video.id)[-1]
    assert (last.who, last.event, last.from_state, last.to_state) == (
        "worker:w",
        "failed",
        "uploaded",
        "failed",
    )
    assert (last.why, last.data) == ("The file is encrypted.", {"code": "media_encrypted"})
    assert (last.generation_id, last.task_id) == (done.video.current_generation_id, done.task_id)
    assert last.at >= done.video.created_at


def test_a_follower_gets_what_it_lacks(catalog: Catalog) -> None:
    """Reading on from the last number seen gives each line once, in order."""
    video = scenes.pending(catalog, scenes.owner(catalog))
    seen = 0
    names: list[str] = []
    for step in range(3):
        with catalog.write() as tx:
            events.append(tx, video.id, f"step_{step}", who="test")
        with catalog.read() as tx:
            for event in events.listing(tx, video.id, after=seen, limit=2):
                names.append(event.event)
                seen = event.number
    assert names == ["created", "step_0", "step_1", "step_2"]
