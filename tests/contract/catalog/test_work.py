"""Tasks under random claims, losses, zombies, failures, retries and deletions, against a model of who may do what."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.catalog import Catalog, claims, events, generations, tasks, videos, workers
from penstock.catalog.claims import Outcome
from penstock.catalog.records import NewTask
from penstock.catalog.retries import RetryPolicy
from penstock.catalog.words import TaskKind, TaskState
from penstock.video.errors import StaleClaim
from penstock.video.lifecycle import GenerationState, VideoState
from tests.contract.catalog import scenes

SETTINGS = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
POLICY = RetryPolicy(max_failures=2, backoff_ms=0, alone_after_losses=1, dead_after_losses=2)
QUEUED, CLAIMED, DONE, DEAD = TaskState.QUEUED, TaskState.CLAIMED, TaskState.DONE, TaskState.DEAD


@dataclass(slots=True)
class Model:
    """What a task should be."""

    required: bool
    state: TaskState = QUEUED
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    worker: str | None = None

    def queue(self, *, afresh: bool = False) -> None:
        """Back in the queue, with its budgets restored or not."""
        self.state, self.worker = QUEUED, None
        if afresh:
            self.failures = self.losses = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A claim that was given at some time; it may be long gone."""

    task_id: str
    worker_id: str
    attempt: int


@dataclass(slots=True)
class World:
    """One video's tasks, and the workers."""

    video_id: str = ""
    generation_id: str = ""
    video: VideoState = VideoState.PROCESSING
    tasks: dict[str, Model] = field(default_factory=dict)
    alive: dict[str, bool] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)


picks = st.integers(0, 10**6)


class WorkMachine(RuleBasedStateMachine):
    """The catalog's claims and a model of them, given the same random acts."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__()
        self.catalog = catalog
        self.world = World()

    @initialize()
    def a_video_is_being_encoded(self) -> None:
        """Three required chunks and a poster that the video can do without; two workers."""
        scene = scenes.encoding(self.catalog, chunks=3)
        with self.catalog.write() as tx:
            tasks.enqueue(tx, scene.generation.id, [NewTask(kind=TaskKind.POSTER, required=False)])
            queued = tasks.listing(tx, generation_id=scene.generation.id, state=QUEUED)
        model = {task.id: Model(required=task.required) for task in queued}
        self.world = World(scene.video.id, scene.generation.id, tasks=model)
        for slot in range(2):
            self.world.alive[scenes.worker(self.catalog, scene.video.id, slot).id] = True

    @rule(pick=picks, who=picks)
    def a_worker_wants_a_task(self, pick: int, who: int) -> None:
        """It gets what is queued, or what a lost worker held."""
        task_id = self._task(pick)
        living = [worker_id for worker_id, alive in self.world.alive.items() if alive]
        if not living:
            return
        worker_id = living[who % len(living)]
        model = self.world.tasks[task_id]
        if model.state is CLAIMED and not self.world.alive[model.worker or ""]:
            self._lose(task_id)
        expected = {QUEUED: Outcome.TAKEN, DONE: Outcome.FINISHED, DEAD: Outcome.FINISHED}.get(
            model.state, Outcome.OWN if model.worker == worker_id else Outcome.BUSY
        )
        with self.catalog.write() as tx:
            claim = claims.claim(tx, task_id, worker_id, policy=POLICY)
        assert claim.outcome is expected
        if claim.task is not None:
            model.state, model.worker, model.attempt = CLAIMED, worker_id, model.attempt + 1
            assert claim.alone == (model.losses >= POLICY.alone_after_losses)
            self.world.held.append(Held(task_id, worker_id, model.attempt))

    @precondition(lambda self: self.world.held)
    @rule(pick=picks, permanent=st.booleans(), act=st.sampled_from(["commit", "fail", "progress", "release"]))
    def somebody_who_held_a_claim_acts_on_it(self, pick: int, permanent: bool, act: str) -> None:
        """It counts exactly when the claim is still in force; a zombie is refused and changes nothing."""
        held = self.world.held[pick % len(self.world.held)]
        model = self.world.tasks[held.task_id]
        valid = (model.state, model.worker, model.attempt) == (CLAIMED, held.worker_id, held.attempt)
        try:
            with self.catalog.write() as tx:
                claim = (tx, held.task_id, held.worker_id, held.attempt)
                match act:
                    case "commit":
                        claims.commit(*claim)
                    case "fail":
                        claims.fail(*claim, code="x", message="X.", permanent=permanent, policy=POLICY)
                    case "progress":
                        claims.progress(*claim, 0.5)
                    case _:
                        claims.release(*claim)
        except StaleClaim:
            assert not valid
            return
        assert valid
        if act == "commit":
            model.state = DONE
        elif act == "release":
            model.queue()
        elif act == "fail":
            model.failures += 1
            if permanent or model.failures >= POLICY.max_failures:
                self._die(held.task_id)
            else:
                model.queue()

    @rule(pick=picks)
    def a_worker_falls_silent(self, pick: int) -> None:
        """Its lease runs out."""
        worker_id = list(self.world.alive)[pick % len(self.world.alive)]
        with self.catalog.write() as tx:
            workers.renew(tx, worker_id, lease_ms=-1)
        self.world.alive[worker_id] = False

    @rule(pick=picks)
    def a_worker_speaks(self, pick: int) -> None:
        """A heartbeat, perhaps after a silence, names the claims that are left."""
        worker_id = list(self.world.alive)[pick % len(self.world.alive)]
        with self.catalog.write() as tx:
            left = workers.renew(tx, worker_id)
        self.world.alive[worker_id] = True
        assert left == {
            task_id: model.attempt
            for task_id, model in self.world.tasks.items()
            if model.state is CLAIMED and model.worker == worker_id
        }

    @rule()
    def the_reaper_comes(self) -> None:
        """It takes from the lost, and from them alone."""
        mine = [
            task_id
            for task_id, model in self.world.tasks.items()
            if model.state is CLAIMED and not self.world.alive[model.worker or ""]
        ]
        for task_id in self.world.tasks:
            with self.catalog.write() as tx:
                reaped = claims.reap(tx, task_id, policy=POLICY)
            still = (
                self.world.tasks[task_id].state is CLAIMED
            )  # the death of one may have called the others off
            assert (reaped is not None) == (task_id in mine and still)
            if reaped is not None:
                self._lose(task_id)

    @precondition(lambda self: self.world.video is VideoState.FAILED)
    @rule()
    def the_owner_retries(self) -> None:
        """Under the same plan: what is done stays, the rest begins afresh with higher attempts."""
        with self.catalog.write() as tx:
            videos.retry(tx, self.world.video_id, who="test")
            generations.begin(
                tx,
                self.world.generation_id,
                plan="{}",
                plan_digest=scenes.sha256("{}"),
                tool_fingerprint=None,
                tracks=(),
                work_total=0.0,
                who="test",
            )
        self.world.video = VideoState.PROCESSING
        for model in self.world.tasks.values():
            if model.state is DEAD:
                model.queue(afresh=True)

    @rule(really=st.integers(0, 9).map(lambda n: n == 0))
    def the_owner_deletes(self, really: bool) -> None:
        """The end of everything, now and then."""
        if really:
            with self.catalog.write() as tx:
                videos.delete(tx, self.world.video_id, who="test")
            self.world.video = VideoState.DELETED
            self._call_off()

    @invariant()
    def the_records_agree(self) -> None:
        """Tasks, generation, video and history are as the model has them."""
        if not self.world.video_id:
            return
        with self.catalog.read() as tx:
            found = {task.id: task for task in tasks.listing(tx, video_id=self.world.video_id)}
            video = videos.get(tx, self.world.video_id)
            generation = generations.get(tx, self.world.generation_id)
            history = events.listing(tx, self.world.video_id)
        for task_id, model in self.world.tasks.items():
            task = found[task_id]
            assert (task.state, task.attempt) == (model.state, model.attempt)
            assert (task.failures, task.losses) == (model.failures, model.losses)
            if model.state is not DONE:
                assert task.worker_id == model.worker
        assert video.state is self.world.video
        assert (video.error_code is not None) == (video.state is VideoState.FAILED)
        assert (
            generation.state
            is {
                VideoState.PROCESSING: GenerationState.ENCODING,
                VideoState.FAILED: GenerationState.FAILED,
                VideoState.DELETED: GenerationState.CANCELLED,
            }[video.state]
        )
        assert [event.number for event in history] == list(range(1, video.events + 1))

    def _task(self, pick: int) -> str:
        return sorted(self.world.tasks)[pick % len(self.world.tasks)]

    def _lose(self, task_id: str) -> None:
        model = self.world.tasks[task_id]
        model.losses += 1
        if model.losses >= POLICY.dead_after_losses:
            self._die(task_id)
        else:
            model.queue()

    def _die(self, task_id: str) -> None:
        model = self.world.tasks[task_id]
        model.state, model.worker = DEAD, None
        if model.required and self.world.video is VideoState.PROCESSING:
            self.world.video = VideoState.FAILED
            self._call_off()

    def _call_off(self) -> None:
        for model in self.world.tasks.values():
            if model.state in {QUEUED, CLAIMED}:
                model.state, model.worker = DEAD, None


def test_only_a_claim_in_force_counts(catalog: Catalog) -> None:
    """Whatever happens to workers, videos and tasks, the catalog admits exactly the acts that the model does."""

    class Machine(WorkMachine):
        def __init__(self) -> None:
            super().__init__(catalog)

    run_state_machine_as_test(Machine, settings=SETTINGS)
