import json
import os
import signal
import threading
from dataclasses import replace
from http.client import HTTPConnection

import pytest
from structlog.testing import capture_logs

from penstock.catalog import claims, clock, workers
from penstock.catalog.words import TaskKind, TaskState
from penstock.processing.config import ProcessingConfig
from penstock.processing.service import ProcessingService
from penstock.video.errors import StaleClaim
from penstock.video.lifecycle import VideoState
from tests.simulation import invariants
from tests.simulation.declared import DeclaredLiveness
from tests.simulation.scripted import Moment, Script, ScriptedMedia
from tests.simulation.workshop import Workshop, await_that


@pytest.fixture
def config(config: ProcessingConfig) -> ProcessingConfig:
    """A service that would notice nothing by itself for an hour: what happens is because somebody rang."""
    return replace(config, sweep=3600.0, collect=3600.0, heartbeat=3600.0, lease=7200.0, shutdown=30.0)


def is_ready(workshop: Workshop, video_id: str) -> bool:
    """Whether it has come to its end."""
    return workshop.video(video_id).state is VideoState.READY


def test_a_ring_is_all_it_takes(workshop: Workshop, media: ScriptedMedia, clip: bytes) -> None:
    """From the upload's ring on every stage starts the next, without anybody polling."""
    with workshop.service(media):
        video_id = workshop.upload(clip)
        workshop.ring()
        await_that(lambda: is_ready(workshop, video_id), what="ready")
    invariants.check_ready(workshop, video_id)


def test_what_waited_is_found_at_the_start(workshop: Workshop, media: ScriptedMedia, clip: bytes) -> None:
    """Uploads that were acknowledged while nothing processed need no ring."""
    videos = [workshop.upload(clip), workshop.upload(Script("other").to_bytes(), login="b")]
    with workshop.service(media):
        await_that(lambda: all(is_ready(workshop, each) for each in videos), what="ready")


def test_a_lost_ring_is_made_good_by_the_sweep(workshop: Workshop, media: ScriptedMedia, clip: bytes) -> None:
    """Nobody rang: it takes a little longer."""
    workshop.config = replace(workshop.config, sweep=0.05)
    with workshop.service(media):
        video_id = workshop.upload(clip)
        await_that(lambda: is_ready(workshop, video_id), what="ready")


def test_a_due_retry_needs_no_ring(workshop: Workshop, clip: bytes) -> None:
    """The dispatcher knows when the next back-off has passed."""
    workshop.config = replace(workshop.config, retry_base=0.05)
    broken: list[str] = []

    def begun(moment: Moment) -> None:
        if moment.operation == "inspect" and not broken:
            broken.append(moment.operation)
            raise RuntimeError

    with workshop.service(ScriptedMedia(begun=begun)):
        video_id = workshop.upload(clip)
        workshop.ring()
        await_that(lambda: is_ready(workshop, video_id), what="ready")
    assert max(task.failures for task in workshop.tasks(video_id)) == 1


def test_a_dead_predecessors_work_is_taken_over_at_once(
    workshop: Workshop, media: ScriptedMedia, clip: bytes
) -> None:
    """The slot's lock is free, so its holder is dead: nobody waits for a lease of two hours."""
    video_id = workshop.upload(clip)
    dead = workshop.room(ScriptedMedia())
    assert dead.claim(workshop.tasks(video_id)[0]) is not None
    with workshop.service(media):
        await_that(lambda: is_ready(workshop, video_id), what="ready")
    assert max(task.losses for task in workshop.tasks(video_id)) == 1


def test_a_delete_ends_the_run_at_once(workshop: Workshop) -> None:
    """The ring of the deletion is enough, however long the heartbeat is."""
    running = threading.Event()
    cancelled = threading.Event()
    video_id = workshop.upload(Script("endless").to_bytes())

    def begun(moment: Moment) -> None:
        running.set()
        assert moment.cancel.wait(60)
        cancelled.set()

    with workshop.service(ScriptedMedia(begun=begun)):
        assert running.wait(60)
        workshop.delete(video_id)
        workshop.ring()
        assert cancelled.wait(60)
    assert [task.state for task in workshop.tasks(video_id)] == [TaskState.DEAD]


def test_an_end_is_bounded_and_hands_back(workshop: Workshop) -> None:
    """What runs is called off and released; the worker leaves, and the next one begins where this one ended."""
    running = threading.Event()

    def begun(moment: Moment) -> None:
        if moment.operation == "audio":
            running.set()
            assert moment.cancel.wait(60)

    video_id = workshop.upload(Script("clip").to_bytes())
    with capture_logs() as logs, workshop.service(ScriptedMedia(begun=begun)):
        assert running.wait(60)
    (audio,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.AUDIO)
    assert (audio.state, audio.failures, audio.losses) == (TaskState.QUEUED, 0, 0)
    stopped = next(line for line in logs if line["event"] == "service_stopped")
    assert stopped["clean"]
    with workshop.catalog.read() as tx:
        assert workers.live(tx) == []
    with workshop.service(ScriptedMedia()):
        await_that(lambda: is_ready(workshop, video_id), what="ready")


def test_sigterm_ends_a_service_that_runs(workshop: Workshop, media: ScriptedMedia) -> None:
    """``run`` returns in order, and the handlers are those of before."""
    before = signal.getsignal(signal.SIGTERM)
    service = ProcessingService(
        workshop.config,
        catalog=workshop.catalog,
        sources=workshop.sources,
        outputs=workshop.outputs,
        media=media,
        version="test",
    )
    ready = []

    def on_ready() -> None:
        ready.append(service.endpoint.port)
        threading.Timer(0, os.kill, (os.getpid(), signal.SIGTERM)).start()

    service.run(on_ready)
    assert ready
    assert signal.getsignal(signal.SIGTERM) is before


def test_status_tells_what_runs(workshop: Workshop) -> None:
    """An operator sees the slots and the tasks in them."""
    running, done = threading.Event(), threading.Event()

    def begun(moment: Moment) -> None:
        if moment.operation == "inspect":
            running.set()
            assert done.wait(60)

    video_id = workshop.upload(Script("clip").to_bytes())
    with workshop.service(ScriptedMedia(begun=begun)) as service:
        assert running.wait(60)
        connection = HTTPConnection("127.0.0.1", service.endpoint.port, timeout=60)
        connection.request("GET", "/status")
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        done.set()
    assert answer.status == 200
    assert [(task["video_id"], task["kind"]) for task in found["processing"]["running"]] == [
        (video_id, "inspect")
    ]
    assert found["processing"]["slots"]["urgent"]["free"] == 0
    assert [each["name"] for each in found["dependencies"]] == ["catalog", "outputs", "disk", "tools"]


def test_progress_within_a_chunk_reaches_the_records(workshop: Workshop) -> None:
    """A long chunk shows how far it is before it is done."""
    workshop.config = replace(workshop.config, heartbeat=0.02)
    seen = threading.Event()

    def begun(moment: Moment) -> None:
        if moment.operation == "chunk":
            moment.progress(0.5)
            assert seen.wait(60)

    video_id = workshop.upload(Script("clip", audio=0).to_bytes())
    with workshop.service(ScriptedMedia(begun=begun)):
        await_that(
            lambda: any(task.progress == 0.5 for task in workshop.tasks(video_id)),
            what="progress in the records",
        )
        seen.set()
        await_that(lambda: is_ready(workshop, video_id), what="ready")


def test_two_processes_work_off_a_flood(workshop: Workshop) -> None:
    """Many threads of two processes on one set of records: all is done once, and nothing waits for a sweep."""
    media = [ScriptedMedia(), ScriptedMedia()]
    videos = [
        workshop.upload(
            Script(f"video {number}", frames=700, header_frames=700, audio=2).to_bytes(), login=login
        )
        for number, login in enumerate("abcabcab")
    ]
    with capture_logs() as logs, workshop.service(media[0]), workshop.service(media[1]):
        await_that(lambda: all(is_ready(workshop, each) for each in videos), what="ready")
    for video_id in videos:
        invariants.check_ready(workshop, video_id)
    encoded = [chunk for each in media for chunk in each.encoded]
    assert len(encoded) == len(set(encoded)) == 8 * 3
    assert not [line for line in logs if line["log_level"] in {"warning", "error"}]


def test_a_dead_nodes_claim_is_taken_over_long_before_its_lease(
    workshop: Workshop, media: ScriptedMedia, clip: bytes
) -> None:
    """Once membership's word comes: neither the lease of two hours nor the sweep of one is waited for. The zombie is refused."""
    workshop.config = replace(workshop.config, heartbeat=0.05)
    liveness = DeclaredLiveness()
    mine = workshop.config
    workshop.config = replace(mine, node="node-2")
    dead = workshop.room(media)
    workshop.config = mine
    video_id = workshop.upload(clip)
    held = dead.claim(workshop.tasks(video_id)[0])
    assert held is not None
    with workshop.service(media, liveness=liveness):
        claimed_at = workshop.tasks(video_id)[0].claimed_at
        assert claimed_at is not None
        await_that(lambda: _now(workshop) - claimed_at > 1000, what="node-2 has missed its heartbeats")
        assert [task.losses for task in workshop.tasks(video_id)] == [0]
        liveness.declare("node-2")
        await_that(lambda: is_ready(workshop, video_id), what="ready")
    assert held.task.worker_id is not None
    with pytest.raises(StaleClaim), workshop.catalog.write() as tx:
        claims.commit(tx, held.task.id, held.task.worker_id, held.task.attempt)
    assert {task.losses for task in workshop.tasks(video_id) if task.id == held.task.id} == {1}
    invariants.check_ready(workshop, video_id)


def test_a_false_declaration_takes_nothing(workshop: Workshop) -> None:
    """Two services, each hearing that the other is dead, again and again: every task is done once, and none is lost."""
    config = replace(workshop.config, heartbeat=0.2, sweep=0.05)
    words = [DeclaredLiveness(), DeclaredLiveness()]
    video_id = workshop.upload(Script("clip", frames=700, header_frames=700, audio=2).to_bytes())
    for number, liveness in enumerate(words):
        liveness.declare(f"machine-{1 - number}")
    media = [ScriptedMedia(), ScriptedMedia()]
    workshop.config = replace(config, node="machine-0")
    with workshop.service(media[0], liveness=words[0]):
        workshop.config = replace(config, node="machine-1")
        with workshop.service(media[1], liveness=words[1]):
            await_that(lambda: is_ready(workshop, video_id), what="ready")
    assert {task.losses for task in workshop.tasks(video_id)} == {0}
    invariants.check_ready(workshop, video_id)


def _now(workshop: Workshop) -> int:
    """Milliseconds on the database's clock."""
    with workshop.catalog.read() as tx:
        return clock.now(tx)
