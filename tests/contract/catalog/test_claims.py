import pytest

from penstock.catalog import (
    Catalog,
    accounts,
    claims,
    events,
    garbage,
    generations,
    queue,
    schema,
    tasks,
    videos,
    workers,
)
from penstock.catalog.claims import DeadNodes, Outcome
from penstock.catalog.records import NewTask, Task, Worker
from penstock.catalog.retries import RetryPolicy
from penstock.catalog.words import TaskKind, TaskState
from penstock.video.errors import Conflict, StaleClaim
from penstock.video.identity import new_id
from penstock.video.lifecycle import GenerationState, VideoState
from tests.contract.catalog import scenes


def outcome(catalog: Catalog, task: Task, who: Worker, **options: object) -> Outcome:
    """What a wish to claim comes to."""
    with catalog.write() as tx:
        return claims.claim(tx, task.id, who.id, **options).outcome  # type: ignore[arg-type]


def again(catalog: Catalog, task: Task) -> Task:
    """The task as it is now."""
    with catalog.read() as tx:
        return tasks.get(tx, task.id)


def fail(catalog: Catalog, task: Task, *, permanent: bool = False, **options: object) -> Task:
    """The claimed attempt ends badly."""
    assert task.worker_id is not None
    with catalog.write() as tx:
        return claims.fail(
            tx,
            task.id,
            task.worker_id,
            task.attempt,
            code="tool_failed",
            message="It fell over.",
            permanent=permanent,
            **options,  # type: ignore[arg-type]
        )


NOW = RetryPolicy(backoff_ms=0)


def test_a_claim_gives_a_new_attempt(catalog: Catalog) -> None:
    """A queued task becomes the worker's, with attempt one and a place of its own for its objects."""
    scene = scenes.encoding(catalog)
    with catalog.write() as tx:
        claim = claims.claim(tx, scene.chunks[0].id, scene.worker.id, message_id="m1")
    assert claim.outcome is Outcome.TAKEN
    assert claim.task is not None
    assert not claim.alone
    assert (claim.task.state, claim.task.attempt, claim.task.message_id) == (TaskState.CLAIMED, 1, "m1")
    assert claim.task.prefix == f"{scene.video.id}/{claim.task.id}.1/"


def test_what_cannot_be_claimed_is_said(catalog: Catalog) -> None:
    """A running, a finished, a dead and an unknown task are each refused by name, and nothing changes."""
    scene = scenes.encoding(catalog, required=False)
    other = scenes.worker(catalog, "node-2")
    first, second = scene.chunks
    held = scenes.take(catalog, first.id, scene.worker)
    assert outcome(catalog, first, scene.worker) is Outcome.OWN
    assert outcome(catalog, first, other) is Outcome.BUSY
    assert again(catalog, first) == held
    scenes.finish(catalog, held)
    assert outcome(catalog, first, other) is Outcome.FINISHED
    fail(catalog, scenes.take(catalog, second.id, scene.worker), permanent=True)
    assert outcome(catalog, second, other) is Outcome.FINISHED
    with catalog.write() as tx:
        assert claims.claim(tx, new_id(), other.id).outcome is Outcome.MISSING


def test_a_worker_without_a_lease_may_not_claim(catalog: Catalog) -> None:
    """Whoever the database holds for dead must renew before it takes work."""
    scene = scenes.encoding(catalog)
    scenes.silence(catalog, scene.worker)
    with pytest.raises(Conflict) as raised:
        outcome(catalog, scene.chunks[0], scene.worker)
    assert raised.value.code == "worker_lease_expired"


def test_only_the_pinned_tools_may_claim(catalog: Catalog) -> None:
    """A plan that counts on one tool build is not worked on by another."""
    scene = scenes.encoding(catalog, chunks=0)
    with catalog.write() as tx:
        [task_id] = tasks.enqueue(
            tx, scene.generation.id, [NewTask(kind=TaskKind.TRANSCODE, tool_fingerprint="build-a")]
        )
        task = tasks.get(tx, task_id)
    a, b = scenes.worker(catalog, "a", tools="build-a"), scenes.worker(catalog, "b", tools="build-b")
    assert outcome(catalog, task, b) is Outcome.FOREIGN_TOOLS
    assert outcome(catalog, task, a) is Outcome.TAKEN


def test_an_expired_lease_frees_the_task(catalog: Catalog) -> None:
    """When the owner's lease runs out another takes over, with a higher attempt, a counted loss and an event."""
    scene = scenes.encoding(catalog)
    other = scenes.worker(catalog, "node-2")
    scenes.take(catalog, scene.chunks[0].id, scene.worker)
    scenes.silence(catalog, scene.worker)
    assert outcome(catalog, scene.chunks[0], other) is Outcome.TAKEN
    task = again(catalog, scene.chunks[0])
    assert (task.worker_id, task.attempt, task.losses, task.failures) == (other.id, 2, 1, 0)
    with catalog.read() as tx:
        last = events.listing(tx, scene.video.id)[-1]
    assert last.event == "task_taken_over"
    assert last.data["lost_worker"] == scene.worker.id


def test_a_silent_worker_of_a_dead_node_loses_its_tasks(catalog: Catalog) -> None:
    """Another's word counts long before the lease has run out, once the worker has missed its heartbeats."""
    scene = scenes.encoding(catalog)
    other = scenes.worker(catalog, "node-2")
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    scenes.miss_heartbeats(catalog, scene.worker)
    elsewhere, here = DeadNodes({"node-9"}), DeadNodes({scene.worker.node_id})
    assert outcome(catalog, task, other, dead=elsewhere) is Outcome.BUSY
    with catalog.write() as tx:
        assert claims.lost(tx, dead=elsewhere) == []
        assert claims.lost(tx, dead=here) == [task.id]
        assert claims.reap(tx, task.id, dead=elsewhere) is None
    assert outcome(catalog, task, other, dead=here) is Outcome.TAKEN
    assert again(catalog, task).losses == 1
    with pytest.raises(StaleClaim):
        scenes.finish(catalog, task)


def test_a_worker_that_is_wrongly_held_dead_keeps_its_tasks(catalog: Catalog) -> None:
    """However often its node is declared dead: it renews its lease, so nothing is taken and no loss is counted."""
    scene = scenes.encoding(catalog)
    other = scenes.worker(catalog, "node-2")
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    wrong = DeadNodes({scene.worker.node_id})
    for _ in range(6):  # more than what a task may lose
        assert outcome(catalog, task, other, dead=wrong) is Outcome.BUSY
        with catalog.write() as tx:
            assert claims.lost(tx, dead=wrong) == []
            assert claims.reap(tx, task.id, dead=wrong) is None
            workers.renew(tx, scene.worker.id)
    assert again(catalog, task) == task


def test_who_took_over_from_a_dead_node_is_told_in_the_history(catalog: Catalog) -> None:
    """An operator reads which word it was."""
    scene = scenes.encoding(catalog)
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    scenes.miss_heartbeats(catalog, scene.worker)
    with catalog.write() as tx:
        assert claims.reap(tx, task.id, dead=DeadNodes({scene.worker.node_id})) is not None
        last = events.listing(tx, scene.video.id)[-1]
    assert (last.event, last.why) == ("task_taken_over", "its node was declared dead")


def test_a_later_boot_of_the_slot_frees_its_tasks(catalog: Catalog) -> None:
    """A process that holds the slot's lock knows that the one before it is gone."""
    scene = scenes.encoding(catalog)
    scenes.take(catalog, scene.chunks[0].id, scene.worker)
    neighbour = scenes.worker(catalog, scene.worker.node_id, slot=1)
    assert outcome(catalog, scene.chunks[0], neighbour) is Outcome.BUSY
    successor = scenes.worker(catalog, scene.worker.node_id, slot=0)
    assert successor.boot == scene.worker.boot + 1
    assert outcome(catalog, scene.chunks[0], successor) is Outcome.TAKEN


def test_a_redelivered_message_frees_its_own_claim(catalog: Catalog) -> None:
    """The broker gives a message again only when its receiver is gone; another message, or a first delivery, proves nothing."""
    scene = scenes.encoding(catalog)
    other = scenes.worker(catalog, "node-2")
    task = scene.chunks[0]
    assert outcome(catalog, task, scene.worker, message_id="m1") is Outcome.TAKEN
    assert outcome(catalog, task, other, message_id="m2", redelivered=True) is Outcome.BUSY
    assert outcome(catalog, task, other, message_id="m1") is Outcome.BUSY
    assert outcome(catalog, task, scene.worker, message_id="m1", redelivered=True) is Outcome.OWN
    assert outcome(catalog, task, other, message_id="m1", redelivered=True) is Outcome.TAKEN


def test_a_zombie_is_refused(catalog: Catalog) -> None:
    """Once another attempt has begun, the earlier one can neither commit, report progress, fail nor give back."""
    scene = scenes.encoding(catalog)
    zombie = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    scenes.silence(catalog, scene.worker)
    other = scenes.worker(catalog, "node-2")
    scenes.take(catalog, zombie.id, other)
    before = again(catalog, zombie)
    with pytest.raises(StaleClaim):
        scenes.finish(catalog, zombie)
    with pytest.raises(StaleClaim):
        fail(catalog, zombie)
    with pytest.raises(StaleClaim), catalog.write() as tx:
        claims.progress(tx, zombie.id, scene.worker.id, zombie.attempt, 0.5)
    with pytest.raises(StaleClaim), catalog.write() as tx:
        claims.release(tx, zombie.id, scene.worker.id, zombie.attempt)
    with pytest.raises(StaleClaim), catalog.write() as tx:
        claims.hold(tx, new_id(), scene.worker.id, 1)
    assert again(catalog, zombie) == before


def test_an_earlier_attempt_of_the_same_worker_is_refused(catalog: Catalog) -> None:
    """The worker alone is no fence: its own earlier attempt is a zombie too."""
    scene = scenes.encoding(catalog)
    first = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    fail(catalog, first, policy=NOW)
    second = scenes.take(catalog, first.id, scene.worker)
    with pytest.raises(StaleClaim):
        scenes.finish(catalog, first)
    assert scenes.finish(catalog, second).state is TaskState.DONE


def test_a_late_commit_counts_while_nobody_took_over(catalog: Catalog) -> None:
    """An expired lease alone throws no finished work away."""
    scene = scenes.encoding(catalog)
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    scenes.silence(catalog, scene.worker)
    assert scenes.finish(catalog, task).state is TaskState.DONE


def test_a_commit_queues_its_follow_ups_once(catalog: Catalog) -> None:
    """Follow-ups are unique by generation, kind and index, whoever asks for them."""
    scene = scenes.encoding(catalog)
    follow_ups = [NewTask(kind=TaskKind.PUBLISH), NewTask(kind=TaskKind.TRANSCODE, index=0)]
    for chunk in scene.chunks:
        task = scenes.take(catalog, chunk.id, scene.worker)
        with catalog.write() as tx:
            claims.commit(
                tx, task.id, scene.worker.id, task.attempt, result={"frames": 96}, follow_ups=follow_ups
            )
    with catalog.read() as tx:
        found = tasks.listing(
            tx, generation_id=scene.generation.id, kinds=[TaskKind.TRANSCODE, TaskKind.PUBLISH]
        )
    assert [(task.kind, task.index, task.state) for task in found] == [
        (TaskKind.PUBLISH, 0, TaskState.QUEUED),
        (TaskKind.TRANSCODE, 0, TaskState.DONE),
        (TaskKind.TRANSCODE, 1, TaskState.DONE),
    ]
    assert found[1].result == {"frames": 96}


def test_a_transient_failure_waits_longer_each_time(catalog: Catalog) -> None:
    """A failed task is queued again after a back-off that doubles, and cannot be claimed before."""
    scene = scenes.encoding(catalog)
    task = fail(
        catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker), policy=RetryPolicy(backoff_ms=60_000)
    )
    assert (task.state, task.failures, task.error_code) == (TaskState.QUEUED, 1, "tool_failed")
    assert task.not_before > task.created_at + 59_000
    assert outcome(catalog, task, scene.worker) is Outcome.EARLY
    policy = RetryPolicy(backoff_ms=2_000, backoff_limit_ms=300_000)
    assert [policy.delay_ms(n) for n in (1, 2, 3, 4, 5)] == [2_000, 4_000, 8_000, 16_000, 32_000]
    assert policy.delay_ms(1_000) == 300_000


def test_a_task_that_keeps_failing_dies_and_fails_its_video(catalog: Catalog) -> None:
    """After the budget is spent a required task is dead, its reason is the video's, and the rest is called off."""
    scene = scenes.encoding(catalog)
    policy = RetryPolicy(max_failures=3, backoff_ms=0)
    task = scene.chunks[0]
    for _ in range(3):
        task = fail(catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker), policy=policy)
    assert (task.state, task.failures, task.attempt) == (TaskState.DEAD, 3, 3)
    with catalog.read() as tx:
        video, generation = videos.get(tx, scene.video.id), generations.get(tx, scene.generation.id)
        given_up = [each for each in queue.depth(tx) if each.state is TaskState.DEAD]
        assert [each.count for each in given_up] == [1]
        names = [event.event for event in events.listing(tx, video.id)]
    assert (video.state, video.error_code, video.error_message) == (
        VideoState.FAILED,
        "tool_failed",
        "It fell over.",
    )
    assert generation.state is GenerationState.FAILED
    assert again(catalog, scene.chunks[1]).error_code == tasks.CANCELLED
    assert names[-5:] == ["task_failed", "task_failed", "task_dead", "generation_failed", "failed"]


def test_a_permanent_failure_is_not_tried_again(catalog: Catalog) -> None:
    """Bad input fails at once."""
    scene = scenes.encoding(catalog)
    task = fail(catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker), permanent=True)
    assert (task.state, task.failures) == (TaskState.DEAD, 1)


def test_what_a_video_can_do_without_may_die(catalog: Catalog) -> None:
    """A dead task that is not required leaves the video as it is."""
    scene = scenes.encoding(catalog, required=False)
    task = fail(catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker), permanent=True)
    with catalog.write() as tx:
        assert videos.get(tx, scene.video.id).state is VideoState.PROCESSING
    assert again(catalog, task).state is TaskState.DEAD
    assert again(catalog, scene.chunks[1]).state is TaskState.QUEUED


def test_a_cause_outside_the_task_spends_no_budget(catalog: Catalog) -> None:
    """A full disk makes a task wait, however often; it does not kill it."""
    scene = scenes.encoding(catalog)
    task = scene.chunks[0]
    for _ in range(8):
        task = fail(
            catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker), counted=False, policy=NOW
        )
    assert (task.state, task.failures, task.attempt) == (TaskState.QUEUED, 0, 8)


def test_a_cause_outside_the_task_is_waited_for_ever_longer(catalog: Catalog) -> None:
    """Or an outage of two minutes would use up the patience of every task that it touches."""
    scene = scenes.encoding(catalog)
    waits = []
    for _ in range(4):
        claimed = scenes.take(catalog, scene.chunks[0].id, scene.worker)
        fail(catalog, claimed, counted=False)
        with catalog.write() as tx:
            waits.append(events.listing(tx, scene.video.id)[-1].data["again_in_ms"])
            tasks.hasten(tx, claimed.generation_id, claimed.kind, claimed.index)
    assert waits == [2_000, 4_000, 8_000, 16_000]


def test_a_task_that_costs_workers_runs_alone_and_then_dies(catalog: Catalog) -> None:
    """After three lost workers a task runs alone, so that no neighbour dies with it; after five it is dead."""
    scene = scenes.encoding(catalog)
    alone = []
    for _ in range(5):
        mine = scenes.worker(catalog)
        with catalog.write() as tx:
            claim = claims.claim(tx, scene.chunks[0].id, mine.id)
        assert claim.outcome is Outcome.TAKEN
        alone.append(claim.alone)
        scenes.silence(catalog, mine)
        with catalog.write() as tx:
            assert claims.lost(tx) == [scene.chunks[0].id]
            claims.reap(tx, scene.chunks[0].id)
    task = again(catalog, scene.chunks[0])
    assert alone == [False, False, False, True, True]
    assert (task.state, task.losses, task.error_code, task.attempt) == (TaskState.DEAD, 5, "worker_lost", 5)
    with catalog.read() as tx:
        assert videos.get(tx, scene.video.id).error_code == "worker_lost"


def test_a_claim_that_kills_for_the_last_time_is_buried(catalog: Catalog) -> None:
    """Taking over a task whose losses are spent buries it instead of giving it to the next victim."""
    scene = scenes.encoding(catalog)
    scenes.take(catalog, scene.chunks[0].id, scene.worker)
    scenes.silence(catalog, scene.worker)
    other = scenes.worker(catalog, "node-2")
    assert (
        outcome(catalog, scene.chunks[0], other, policy=RetryPolicy(dead_after_losses=1)) is Outcome.FINISHED
    )
    assert again(catalog, scene.chunks[0]).state is TaskState.DEAD


def test_the_reaper_leaves_the_living_alone(catalog: Catalog) -> None:
    """Only tasks whose worker is lost under the lock are queued again."""
    scene = scenes.encoding(catalog)
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    with catalog.write() as tx:
        assert claims.lost(tx) == []
        assert claims.reap(tx, task.id) is None
        assert claims.reap(tx, scene.chunks[1].id) is None
        assert claims.reap(tx, new_id()) is None
    assert again(catalog, task) == task
    with catalog.write() as tx:
        workers.leave(tx, scene.worker.id)
        reaped = claims.reap(tx, task.id)
    assert reaped is not None
    assert (reaped.state, reaped.announced_at, reaped.losses) == (TaskState.QUEUED, None, 1)


def test_a_released_claim_costs_nothing(catalog: Catalog) -> None:
    """A process that stops in order gives its tasks back uncounted, and they wait for nobody."""
    scene = scenes.encoding(catalog)
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    with catalog.write() as tx:
        claims.release(tx, task.id, scene.worker.id, task.attempt)
    task = again(catalog, task)
    assert (task.state, task.failures, task.losses, task.worker_id) == (TaskState.QUEUED, 0, 0, None)
    assert scenes.take(catalog, task.id, scene.worker).attempt == 2


def test_a_heartbeat_tells_which_claims_are_left(catalog: Catalog) -> None:
    """What was deleted or taken over is missing from the answer, and its run stops."""
    scene = scenes.encoding(catalog)
    first, second = (scenes.take(catalog, chunk.id, scene.worker) for chunk in scene.chunks)
    with catalog.write() as tx:
        assert workers.renew(tx, scene.worker.id) == {first.id: 1, second.id: 1}
    with catalog.write() as tx:
        videos.delete(tx, scene.video.id, who="account:ann")
    with catalog.write() as tx:
        assert workers.renew(tx, scene.worker.id) == {}
    with pytest.raises(StaleClaim):
        scenes.finish(catalog, first)


def test_progress_rises_with_work_and_never_goes_back(catalog: Catalog) -> None:
    """Progress is the share of the estimated work that is done, runs included; a failed run takes nothing away."""
    scene = scenes.encoding(catalog, chunks=4)
    seen = []

    def note() -> None:
        with catalog.read() as tx:
            seen.append(generations.get(tx, scene.generation.id).progress)

    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    for value in (0.25, 0.75):
        with catalog.write() as tx:
            claims.progress(tx, task.id, scene.worker.id, task.attempt, value)
        note()
    fail(catalog, task, policy=NOW)
    note()
    again = scenes.take(catalog, task.id, scene.worker)
    with catalog.write() as tx:  # it begins anew, and has done less than the run before it
        claims.progress(tx, again.id, scene.worker.id, again.attempt, 0.1)
    note()
    scenes.finish(catalog, again)
    for chunk in scene.chunks[1:]:
        scenes.finish(catalog, scenes.take(catalog, chunk.id, scene.worker))
        note()
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[1] == seen[2] == seen[3] < 0.5
    assert seen[-1] == 0.99
    with catalog.write() as tx:
        assert generations.freeze(tx, scene.generation.id, who="test").progress == 1.0


def test_progress_says_nothing_before_the_plan(catalog: Catalog) -> None:
    """A finished inspection is not a finished video."""
    done = scenes.uploaded(catalog, scenes.owner(catalog))
    assert done.task_id is not None
    task = scenes.finish(catalog, scenes.take(catalog, done.task_id, scenes.worker(catalog)))
    with catalog.read() as tx:
        assert generations.get(tx, task.generation_id).progress == 0.0


def test_an_ended_attempt_is_given_to_the_collector(catalog: Catalog) -> None:
    """Whatever a failed or lost attempt wrote is listed as garbage, by its own prefix."""
    scene = scenes.encoding(catalog)
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    fail(catalog, task, policy=NOW)
    with catalog.write() as tx:
        assert garbage.due(tx) == []  # a zombie may still be writing
        assert scenes.listed_garbage(tx) == {("outputs", task.prefix)}


def test_finished_work_counts_for_its_account(catalog: Catalog) -> None:
    """What a task took is what the fair order goes by."""
    scene = scenes.encoding(catalog)
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    with catalog.write() as tx:
        tx.execute(
            schema.tasks.update()
            .where(schema.tasks.c.id == task.id)
            .values(claimed_at=(task.claimed_at or 0) - 90_000)
        )
    scenes.finish(catalog, task)
    with catalog.read() as tx:
        assert accounts.get(tx, task.account_id).served == pytest.approx(90, abs=20)
