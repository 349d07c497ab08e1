"""What one video's records and history must say of each other, whatever happened; no object is looked at.

A :class:`Story` is what one transaction saw. On PostgreSQL each of its statements sees its own moment, so a fault counts
only where a second look finds it again, see ``audit``.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.audit.findings import Fault, Finding
from penstock.catalog import artefacts, clock, events, garbage, generations, segments, tasks, uploads, videos
from penstock.catalog.records import (
    ArtefactRecord,
    Event,
    Garbage,
    Generation,
    Task,
    TrackRecord,
    Upload,
    Video,
)
from penstock.catalog.words import TaskKind, TaskState, UploadState
from penstock.video import lifecycle
from penstock.video.errors import IllegalTransition
from penstock.video.lifecycle import GenerationEvent, GenerationState, VideoEvent, VideoState

_PAGE = 1000  # events that are held at once
_LONGEST_WAIT_MS = 24 * 3_600_000  # no task is ever told to wait so long
_GENERATION = "generation_"

_UNFINISHED = (GenerationState.PLANNED, GenerationState.ENCODING)
_LIVE = (TaskState.QUEUED, TaskState.CLAIMED)


@dataclass(frozen=True, slots=True)
class Story:
    """One video's records, all but its segments, which a long video has tens of thousands of."""

    now: int
    video: Video
    generations: Collection[Generation]
    tasks: Mapping[str, Task]
    uploads: Collection[Upload]
    tracks: Mapping[str, Collection[TrackRecord]]  # by generation
    artefacts: Mapping[str, Collection[ArtefactRecord]]
    garbage: Collection[Garbage]  # what the collector has been given of it

    @property
    def current(self) -> Generation | None:
        """The generation being made, or the last that was."""
        return next((g for g in self.generations if g.id == self.video.current_generation_id), None)


def read(tx: Connection, video_id: str) -> Story:
    """The story as it stands."""
    known = generations.listing(tx, video_id)
    video = videos.get(tx, video_id)
    return Story(
        now=clock.now(tx),
        video=video,
        generations=known,
        tasks={task.id: task for task in tasks.listing(tx, video_id=video_id)},
        uploads=uploads.for_video(tx, video_id),
        tracks={g.id: segments.tracks(tx, g.id) for g in known},
        artefacts={g.id: artefacts.listing(tx, g.id) for g in known},
        garbage=garbage.of_video(tx, video_id),
    )


def check(tx: Connection, story: Story) -> Iterator[Finding]:
    """Everything that the records alone can tell."""
    yield from _history(tx, story)
    yield from _upload(story)
    yield from _moving(story)
    yield from _tasks(story)
    for generation in story.generations:
        if generation.state is GenerationState.PUBLISHED:
            yield from _whole(tx, story, generation)
    yield from _once(tx, story)
    video = story.video
    if video.playable != (video.state is VideoState.READY) and (
        video.state is VideoState.READY or not lifecycle.may_be_playable(video.state)
    ):
        yield _of(story, Fault.PLAYABLE_DIFFERS, f"It is {video.state}, and playable: {video.playable}.")
    if video.playable and video.published_generation_id is None:
        yield _of(story, Fault.PLAYABLE_DIFFERS, "It is playable, and no generation is published.")


def _of(story: Story, code: Fault, what: str, where: str | None = None) -> Finding:
    return Finding(code, what, where or f"video {story.video.id}", story.video.id)


class _Replay:
    """The history played again: each line must be a step of the table from where the one before it left off."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.number = 0
        self.video: str = VideoState.PENDING
        self.steps = 0
        self.generations: dict[str, GenerationState] = defaultdict(lambda: GenerationState.PLANNED)
        self.generation_steps: dict[str, int] = defaultdict(int)

    def line(self, event: Event) -> Iterator[Finding]:
        self.number += 1
        where = f"event {event.number} of video {event.video_id}"
        if event.number != self.number:
            yield _of(self._story, Fault.EVENT_MISSING, f"Line {self.number} is not there.", where)
            self.number = event.number
        if event.to_state is None or event.from_state is None:
            return  # no step
        try:
            if event.event.startswith(_GENERATION):
                self._generation(event)
            else:
                self._video(event)
        except (IllegalTransition, ValueError):
            step = f"'{event.event}' led from {event.from_state} to {event.to_state}"
            yield _of(self._story, Fault.EVENT_ILLEGAL, f"{step}, which no table has.", where)

    def _video(self, event: Event) -> None:
        before, self.video = self.video, event.to_state or ""
        self.steps += 1
        target = lifecycle.advance(
            lifecycle.VIDEO_TRANSITIONS, VideoState(event.from_state or ""), VideoEvent(event.event)
        )
        if (event.from_state, event.to_state) != (before, target):
            raise ValueError(event.event)

    def _generation(self, event: Event) -> None:
        generation_id = event.generation_id or ""
        before = self.generations[generation_id]
        self.generations[generation_id] = GenerationState(event.to_state or "")
        self.generation_steps[generation_id] += 1
        target = lifecycle.advance(
            lifecycle.GENERATION_TRANSITIONS,
            GenerationState(event.from_state or ""),
            GenerationEvent(event.event.removeprefix(_GENERATION)),
        )
        if (event.from_state, event.to_state) != (before, target):
            raise ValueError(event.event)


def _history(tx: Connection, story: Story) -> Iterator[Finding]:
    replay = _Replay(story)
    while page := events.listing(tx, story.video.id, after=replay.number, limit=_PAGE):
        for event in page:
            yield from replay.line(event)
    video = story.video
    if replay.number != video.events:
        yield _of(
            story,
            Fault.EVENT_MISSING,
            f"The history has {replay.number} lines, the record counts {video.events}.",
        )
    if (replay.video, replay.steps + 1) != (video.state, video.version):
        said = f"{replay.video} after {replay.steps} steps"
        yield _of(
            story,
            Fault.STATE_DIFFERS,
            f"The record says {video.state} in version {video.version}; its history leads to {said}.",
        )
    for generation in story.generations:
        state, steps = replay.generations[generation.id], replay.generation_steps[generation.id]
        if (state, steps + 1) != (generation.state, generation.version):
            yield _of(
                story,
                Fault.STATE_DIFFERS,
                f"The record says {generation.state} in version {generation.version}; its history leads to {state} after {steps} steps.",
                f"generation {generation.id}",
            )


def _upload(story: Story) -> Iterator[Finding]:
    for upload in story.uploads:
        if upload.state is UploadState.COMPLETED and story.video.state is VideoState.PENDING:
            yield _of(
                story,
                Fault.UPLOAD_UNRECORDED,
                "The session is complete, its video still waits for it.",
                f"upload {upload.id}",
            )


def _moving(story: Story) -> Iterator[Finding]:
    """A state that nothing will ever move."""
    video, current = story.video, story.current
    if video.state is VideoState.PENDING:
        if not any(upload.state is UploadState.OPEN for upload in story.uploads):
            yield _of(story, Fault.VIDEO_STUCK, "It waits for an upload that has ended.")
        return
    working = video.state in {VideoState.UPLOADED, VideoState.PROCESSING}
    if working and (current is None or current.state not in _UNFINISHED):
        stands = "no generation" if current is None else f"a generation that is {current.state}"
        yield _of(story, Fault.VIDEO_STUCK, f"It is {video.state} with {stands}.")
        return
    for generation in story.generations:
        if generation.state not in _UNFINISHED:
            continue
        alive = [t for t in story.tasks.values() if t.generation_id == generation.id and t.state in _LIVE]
        if not alive:
            yield _of(
                story,
                Fault.VIDEO_STUCK,
                f"Generation {generation.number} is {generation.state} and has no task left.",
                f"generation {generation.id}",
            )
        for task in alive:
            if task.state is TaskState.QUEUED and task.not_before > story.now + _LONGEST_WAIT_MS:
                days = (task.not_before - story.now) / 86_400_000
                yield _of(
                    story,
                    Fault.VIDEO_STUCK,
                    f"A task waits for {days:.0f} days: the clock was wrong.",
                    f"task {task.id}",
                )


def _tasks(story: Story) -> Iterator[Finding]:
    states = {generation.id: generation.state for generation in story.generations}
    for task in story.tasks.values():
        name, state = f"{task.kind} {task.index}", states.get(task.generation_id)
        where = f"task {task.id}"
        if task.state in _LIVE and state not in _UNFINISHED:
            yield _of(
                story, Fault.TASK_LEFT_OVER, f"{name} is {task.state}; its generation is {state}.", where
            )
        if task.state is TaskState.DONE and (
            not task.attempt or task.ended_at is None or task.result is None
        ):
            yield _of(story, Fault.TASK_UNFINISHED, f"{name} is done and says nothing of how.", where)
        if state is GenerationState.PUBLISHED and task.required and task.state is not TaskState.DONE:
            yield _of(
                story, Fault.TASK_UNFINISHED, f"{name} is {task.state} in a published generation.", where
            )
        if task.kind is TaskKind.PUBLISH and task.state is TaskState.DONE and state in _UNFINISHED:
            yield _of(story, Fault.TASK_UNFINISHED, f"{name} is done; its generation is {state}.", where)


def _whole(tx: Connection, story: Story, generation: Generation) -> Iterator[Finding]:
    totals = segments.totals(tx, generation.id)
    for track in story.tracks[generation.id]:
        count, _ = totals.get(track.name, (0, 0))
        if not track.complete or track.contiguous != count or track.segments_total != count:
            yield _of(
                story,
                Fault.TRACK_INCOMPLETE,
                f"{count} of {track.segments_total} segments are recorded, {track.contiguous} without a gap.",
                f"track {track.name} of generation {generation.id}",
            )


def _once(tx: Connection, story: Story) -> Iterator[Finding]:
    """What a finished task recorded comes from the one attempt that finished; no record names an attempt that never was."""
    by_task: dict[str, set[int]] = defaultdict(set)
    for generation in story.generations:
        for prefix in segments.prefixes(tx, generation.id):
            task_id, _, attempt = prefix.split("/")[1].rpartition(".")
            by_task[task_id].add(int(attempt))
    for task_id, attempts in by_task.items():
        task = story.tasks.get(task_id)
        where = f"task {task_id}"
        if task is None or max(attempts) > task.attempt:
            yield _of(
                story,
                Fault.TASK_COMMITTED_TWICE,
                "Segments are recorded of an attempt that the task never had.",
                where,
            )
        elif task.kind is TaskKind.TRANSCODE and (
            task.state is not TaskState.DONE or attempts != {task.attempt}
        ):
            # A chunk is recorded at once, or not at all.
            yield _of(
                story,
                Fault.TASK_COMMITTED_TWICE,
                f"Segments are recorded of attempts {sorted(attempts)}; the task is {task.state} in attempt {task.attempt}.",
                where,
            )
