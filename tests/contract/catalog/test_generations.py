import pytest

from penstock.catalog import Catalog, claims, events, generations, queue, segments, tasks, uploads, videos
from penstock.catalog.records import Generation, NewTask, Task
from penstock.catalog.words import TaskKind, TaskState, Transport, Visibility
from penstock.video.errors import Conflict, IllegalTransition, NotFound
from penstock.video.identity import new_id
from penstock.video.lifecycle import GenerationState, VideoState
from tests.contract.catalog import scenes


def fail_for_good(catalog: Catalog, task: Task) -> None:
    """The claimed task is the end of its video."""
    assert task.worker_id is not None
    with catalog.write() as tx:
        claims.fail(
            tx, task.id, task.worker_id, task.attempt, code="bad", message="Bad input.", permanent=True
        )


def ready(catalog: Catalog, login: str = "ann") -> scenes.Encoding:
    """A video that went all the way."""
    scene = scenes.encoding(catalog, login=login)
    for chunk in scene.chunks:
        scenes.finish(catalog, scenes.take(catalog, chunk.id, scene.worker))
    with catalog.write() as tx:
        generations.take_version(tx, scene.generation.id, prefix_ms=8000)
        generations.freeze(tx, scene.generation.id, who="publish")
    return scene


def inspect_again(catalog: Catalog, scene: scenes.Encoding, plan: str) -> Generation:
    """The queued ``inspect`` of the video's current generation comes to this plan."""
    with catalog.read() as tx:
        current = videos.get(tx, scene.video.id).current_generation_id
        [task] = tasks.listing(tx, generation_id=current, kinds=[TaskKind.INSPECT])
    assert task.state is TaskState.QUEUED
    return scenes.begin(catalog, scenes.take(catalog, task.id, scene.worker), plan=plan)


def test_inspection_starts_the_generation_and_its_video(catalog: Catalog) -> None:
    """With the plan the generation encodes, the video is processing, and the plan is stored as it was written."""
    scene = scenes.encoding(catalog)
    assert (scene.generation.number, scene.generation.state) == (1, GenerationState.ENCODING)
    assert scene.video.state is VideoState.PROCESSING
    assert scene.video.inspected_at is not None
    with catalog.read() as tx:
        assert generations.plan(tx, scene.generation.id) == "{}"
        assert generations.scan(tx, scene.generation.id) is None
        assert [track.name for track in segments.tracks(tx, scene.generation.id)] == [
            "240p",
            "audio-0",
        ]


def test_a_retry_under_the_same_plan_keeps_what_is_done(catalog: Catalog) -> None:
    """Finished tasks stay done, the others are queued again with fresh budgets, and attempts keep rising."""
    scene = scenes.encoding(catalog, chunks=3)
    kept = scenes.finish(catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker))
    fail_for_good(catalog, scenes.take(catalog, scene.chunks[1].id, scene.worker))
    with catalog.write() as tx:
        video = videos.retry(tx, scene.video.id, who="account:ann")
    assert (video.state, video.error_code, video.playable) == (VideoState.UPLOADED, None, False)
    resumed = inspect_again(catalog, scene, "{}")
    assert (resumed.id, resumed.state, resumed.error_code) == (
        scene.generation.id,
        GenerationState.ENCODING,
        None,
    )
    with catalog.read() as tx:
        first, second, third = tasks.listing(tx, generation_id=resumed.id, kinds=[TaskKind.TRANSCODE])
        assert videos.get(tx, scene.video.id).state is VideoState.PROCESSING
    assert first == kept
    assert (second.state, second.attempt, second.failures, second.error_code) == (
        TaskState.QUEUED,
        1,
        0,
        None,
    )
    assert (third.state, third.attempt) == (TaskState.QUEUED, 0)
    assert scenes.take(catalog, second.id, scene.worker).attempt == 2


def test_a_retry_under_another_plan_opens_a_new_generation(catalog: Catalog) -> None:
    """What was planned otherwise is given up whole; the video goes on with generation two."""
    scene = scenes.encoding(catalog)
    fail_for_good(catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker))
    with catalog.write() as tx:
        videos.retry(tx, scene.video.id, who="account:ann")
    following = inspect_again(catalog, scene, '{"other":1}')
    assert (following.number, following.state) == (2, GenerationState.ENCODING)
    with catalog.read() as tx:
        assert generations.get(tx, scene.generation.id).state is GenerationState.CANCELLED
        assert tasks.outstanding(tx, scene.generation.id) == 0
        assert videos.get(tx, scene.video.id).current_generation_id == following.id
        assert [generation.number for generation in generations.listing(tx, scene.video.id)] == [1, 2]


def test_an_inspection_that_fails_can_be_retried(catalog: Catalog) -> None:
    """A video that never had a plan starts over in the same generation."""
    done = scenes.uploaded(catalog, scenes.owner(catalog))
    assert done.task_id is not None
    mine = scenes.worker(catalog)
    fail_for_good(catalog, scenes.take(catalog, done.task_id, mine))
    with catalog.write() as tx:
        assert videos.get(tx, done.video.id).state is VideoState.FAILED
        videos.retry(tx, done.video.id, who="account:ann")
    task = scenes.take(catalog, done.task_id, mine)
    assert task.attempt == 2
    assert scenes.begin(catalog, task).number == 1


def test_only_a_failed_video_can_be_retried(catalog: Catalog) -> None:
    """Retrying a video that is under way or ready changes nothing."""
    for video_id in (scenes.encoding(catalog).video.id, ready(catalog).video.id):
        with pytest.raises(IllegalTransition), catalog.write() as tx:
            videos.retry(tx, video_id, who="account:ann")


def test_without_its_source_a_video_cannot_be_retried(catalog: Catalog) -> None:
    """Where sources are dropped after processing the answer says what to do."""
    scene = scenes.encoding(catalog)
    fail_for_good(catalog, scenes.take(catalog, scene.chunks[0].id, scene.worker))
    with catalog.write() as tx:
        videos.record(tx, scene.video.id, source_dropped_at=1)
    with pytest.raises(Conflict) as raised, catalog.write() as tx:
        videos.retry(tx, scene.video.id, who="account:ann")
    assert raised.value.code == "source_dropped"


def test_freezing_makes_the_video_ready(catalog: Catalog) -> None:
    """The frozen generation is the one players are sent to; ready implies playable and whole progress."""
    scene = ready(catalog)
    with catalog.read() as tx:
        video, generation = videos.get(tx, scene.video.id), generations.get(tx, scene.generation.id)
    assert (video.state, video.playable, video.published_generation_id) == (
        VideoState.READY,
        True,
        generation.id,
    )
    assert (generation.state, generation.progress) == (GenerationState.PUBLISHED, 1.0)
    assert video.ready_at is not None
    assert generation.frozen_at is not None


def test_a_later_generation_replaces_the_earlier_in_one_step(catalog: Catalog) -> None:
    """A ready video is made anew beside the one that plays; with the freeze the new one plays and the old is retired."""
    scene = ready(catalog)
    with catalog.write() as tx:
        before = videos.get(tx, scene.video.id)
        later = videos.reprocess(tx, scene.video.id, who="account:ann")
        video = videos.get(tx, scene.video.id)
        assert (video.published_generation_id, video.ready_at) == (scene.generation.id, before.ready_at)
        assert before.started_at is not None
        assert video.started_at is not None
        assert video.started_at > before.started_at
        with pytest.raises(Conflict) as raised:
            videos.reprocess(tx, scene.video.id, who="account:ann")
    assert raised.value.code == "already_processing"
    assert later.number == 2
    assert inspect_again(catalog, scene, '{"av1":1}').id == later.id
    with catalog.write() as tx:
        assert videos.get(tx, scene.video.id).state is VideoState.READY
        generations.freeze(tx, later.id, who="publish")
    with catalog.read() as tx:
        assert videos.timings(videos.get(tx, scene.video.id))["ready"] < 60
        states = [generation.state for generation in generations.listing(tx, scene.video.id)]
        assert videos.get(tx, scene.video.id).published_generation_id == later.id
    assert states == [GenerationState.RETIRED, GenerationState.PUBLISHED]


def test_a_later_generation_that_fails_leaves_the_video_ready(catalog: Catalog) -> None:
    """What plays goes on playing."""
    scene = ready(catalog)
    with catalog.write() as tx:
        later = videos.reprocess(tx, scene.video.id, who="account:ann")
        [task] = tasks.listing(tx, generation_id=later.id)
    fail_for_good(catalog, scenes.take(catalog, task.id, scene.worker))
    with catalog.write() as tx:
        video = videos.get(tx, scene.video.id)
        assert generations.get(tx, later.id).state is GenerationState.FAILED
        assert (video.state, video.playable, video.error_code) == (VideoState.READY, True, None)
        assert video.published_generation_id == scene.generation.id
        assert videos.reprocess(tx, scene.video.id, who="account:ann").number == 3


def test_failing_twice_fails_once(catalog: Catalog) -> None:
    """A second reason comes too late to be the reason."""
    scene = scenes.encoding(catalog)
    with catalog.write() as tx:
        generations.fail(tx, scene.generation.id, code="first", message="First.", who="test")
        generations.fail(tx, scene.generation.id, code="second", message="Second.", who="test")
        assert videos.get(tx, scene.video.id).error_code == "first"


def test_tools_that_are_gone_lead_to_a_new_plan(catalog: Catalog) -> None:
    """A generation that no living worker has the tools for is found and given up for one that is planned anew."""
    done = scenes.uploaded(catalog, scenes.owner(catalog))
    assert done.task_id is not None
    old = scenes.worker(catalog, "old", tools="a" * 64)
    generation = scenes.begin(catalog, scenes.take(catalog, done.task_id, old), tools="a" * 64)
    with catalog.write() as tx:
        assert videos.mark_playable(tx, done.video.id, generation.id, who="test")
        assert generations.stranded(tx) == []
    scenes.silence(catalog, old)
    scenes.worker(catalog, "new", tools="b" * 64)
    with catalog.write() as tx:
        assert [item.id for item in generations.stranded(tx)] == [generation.id]
        following = generations.replan(tx, generation.id, who="relay", why="no node has the tools any more")
        assert generations.stranded(tx) == []
        video = videos.get(tx, done.video.id)
        [task] = tasks.listing(tx, generation_id=following.id)
    assert (video.state, video.playable, video.current_generation_id) == (
        VideoState.PROCESSING,
        False,
        following.id,
    )
    assert (task.kind, task.state, task.urgent) == (TaskKind.INSPECT, TaskState.QUEUED, True)


def test_versions_rise_and_remember_the_first(catalog: Catalog) -> None:
    """Each timeline version has the next number; the time of the first stays, and the prefix only grows."""
    scene = scenes.encoding(catalog)
    with catalog.write() as tx:
        first = generations.take_version(tx, scene.generation.id, prefix_ms=4000)
        generations.mark_playable(tx, scene.generation.id)
        second = generations.take_version(tx, scene.generation.id, prefix_ms=2000)
        generations.record_scan(tx, scene.generation.id, scan='{"a":1}', frames_total=480, work_total=99.0)
        after = generations.get(tx, scene.generation.id)
        assert generations.scan(tx, scene.generation.id) == '{"a":1}'
    assert (first.timeline_version, second.timeline_version) == (1, 2)
    assert first.first_published_at == second.first_published_at == first.published_at
    assert (second.published_prefix_ms, after.frames_total, after.work_total) == (4000, 480, 99.0)
    assert after.playable_at is not None


def test_ended_generations_owe_their_players_a_tombstone(catalog: Catalog) -> None:
    """Failure and deletion are told once each, and only where something was published."""
    published, silent = scenes.encoding(catalog), scenes.encoding(catalog, login="ben")
    owing = generations.owing_tombstone
    with catalog.write() as tx:
        generations.take_version(tx, published.generation.id)
        for scene in (published, silent):
            generations.fail(tx, scene.generation.id, code="bad", message="Bad.", who="test")
        assert [(generation.id, kind) for generation, kind in owing(tx)] == [
            (published.generation.id, "failed")
        ]
        generations.tombstoned(tx, published.generation.id, "failed")
        assert owing(tx) == []
        videos.delete(tx, published.video.id, who="test")
        assert [(generation.id, kind) for generation, kind in owing(tx)] == [
            (published.generation.id, "deleted")
        ]
        generations.tombstoned(tx, published.generation.id, "deleted")
        assert owing(tx) == []


def test_a_retried_generation_may_owe_again(catalog: Catalog) -> None:
    """A second failure is told like the first; while it is being retried nothing is owed."""
    scene = scenes.encoding(catalog)
    with catalog.write() as tx:
        generations.take_version(tx, scene.generation.id)
        generations.fail(tx, scene.generation.id, code="bad", message="Bad.", who="test")
        generations.tombstoned(tx, scene.generation.id, "failed")
        videos.retry(tx, scene.video.id, who="test")
        assert generations.owing_tombstone(tx) == []
        generations.fail(tx, scene.generation.id, code="bad", message="Bad.", who="test")
        assert [kind for _, kind in generations.owing_tombstone(tx)] == ["failed"]


def test_deleting_ends_everything_in_one_step(catalog: Catalog) -> None:
    """Tasks, generation and objects go with the video; deleting again gives the same answer without a second event."""
    scene = scenes.encoding(catalog)
    running = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    with catalog.write() as tx:
        deleted = videos.delete(tx, scene.video.id, who="account:ann", why="asked")
        count = len(events.listing(tx, scene.video.id))
        assert videos.delete(tx, scene.video.id, who="account:ann") == deleted
        assert len(events.listing(tx, scene.video.id)) == count
        assert tasks.outstanding(tx, scene.generation.id) == 0
        assert queue.depth(tx) == []  # called off is not given up
        assert generations.get(tx, scene.generation.id).state is GenerationState.CANCELLED
        prefixes = scenes.listed_garbage(tx)
    assert (deleted.state, deleted.playable) == (VideoState.DELETED, False)
    assert {
        ("sources", f"{deleted.id}/"),
        ("outputs", f"{deleted.id}/"),
        ("outputs", running.prefix),
    } <= prefixes


def test_enqueuing_in_no_generation_is_refused(catalog: Catalog) -> None:
    """Nothing waits where nothing will come."""
    with catalog.write() as tx:
        with pytest.raises(NotFound):
            tasks.enqueue(tx, new_id(), [NewTask(kind=TaskKind.POSTER)])
        assert tasks.enqueue(tx, new_id(), []) == []
        with pytest.raises(NotFound):
            generations.get(tx, new_id())
        with pytest.raises(NotFound):
            tasks.get(tx, new_id())


def test_many_chunks_are_queued_at_once(catalog: Catalog) -> None:
    """Ten hours of video are a few thousand tasks in one step."""
    scene = scenes.encoding(catalog, chunks=2500)
    with catalog.read() as tx:
        assert tasks.outstanding(tx, scene.generation.id) == 2500
        queued = tasks.listing(tx, generation_id=scene.generation.id, state=TaskState.QUEUED)
    assert [task.index for task in queued] == list(range(2500))


def test_a_trace_goes_from_the_upload_to_every_task(catalog: Catalog) -> None:
    """Whatever is queued later, by whom ever, belongs to the trace that the upload began."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ann = scenes.owner(catalog)
    with catalog.write() as tx:
        video = videos.create(
            tx,
            owner_id=ann.id,
            title="T",
            filename="t",
            visibility=Visibility.PRIVATE,
            who="test",
            traceparent=trace,
        )
        upload = uploads.create(tx, video, transport=Transport.PUT, life_ms=scenes.HOUR_MS)
        done = uploads.complete(tx, upload.id, size=1, who="test")
        generation = generations.get(tx, done.video.current_generation_id or "")
        tasks.enqueue(tx, generation.id, [NewTask(kind=TaskKind.POSTER)])
        queued = tasks.listing(tx, video_id=video.id)
    assert generation.traceparent == trace
    assert [task.traceparent for task in queued] == [trace, trace]
