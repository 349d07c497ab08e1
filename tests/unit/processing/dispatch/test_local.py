import json
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest
from sqlalchemy import Connection

from penstock.catalog import claims, generations, tasks
from penstock.catalog.claims import Claim, Outcome
from penstock.catalog.words import TaskKind, TaskState
from penstock.storage.local import LocalStore
from penstock.video.errors import ToolError
from penstock.video.lifecycle import VideoState
from tests.simulation.scripted import Moment, Script, ScriptedMedia
from tests.simulation.workshop import Workshop, await_that, silence


class Tight(LocalStore):
    """A store whose disk is as full as the test says."""

    free = 0

    def free_bytes(self) -> int:
        """See the port."""
        return self.free


def test_a_full_disk_holds_the_queue_and_loses_nothing(
    workshop: Workshop, media: ScriptedMedia, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is claimed below the reserve, the service says why, and goes on by itself when there is room."""
    monkeypatch.setattr("penstock.processing.dispatch.local._PAUSED", 0.02)
    outputs = Tight(workshop.folder / "outputs")
    workshop.outputs = outputs
    workshop.config = replace(workshop.config, disk_reserve=1000)
    video_id = workshop.upload(clip)
    with workshop.service(media) as service:
        connection = HTTPConnection("127.0.0.1", service.endpoint.port, timeout=60)
        connection.request("GET", "/status")
        answer = connection.getresponse()
        found = {item["name"]: item["code"] for item in json.loads(answer.read())["dependencies"]}
        connection.close()
        assert (answer.status, found["disk"]) == (503, "storage_full")
        assert [task.attempt for task in workshop.tasks(video_id)] == [0]
        outputs.free = 10**12
        await_that(lambda: workshop.video(video_id).state is VideoState.READY, what="ready")
    assert not any(task.failures for task in workshop.tasks(video_id))


def test_a_process_that_was_stopped_for_a_while_goes_on(workshop: Workshop, clip: bytes) -> None:
    """Its lease ran out while it slept: it renews it and claims again, instead of waiting to be started anew."""
    slept: list[bool] = []

    def begun(moment: Moment) -> None:
        if moment.operation == "inspect" and not slept:
            slept.append(True)
            silence(workshop.catalog, service.runs.now()[0].task.worker_id or "")

    with workshop.service(ScriptedMedia(begun=begun)) as service:
        video_id = workshop.upload(clip)
        workshop.ring()
        await_that(lambda: workshop.video(video_id).state is VideoState.READY, what="ready")
    assert slept


def test_work_that_pins_other_tools_waits_for_them(workshop: Workshop, clip: bytes) -> None:
    """A process with other tools leaves it alone; one with the right ones does it."""
    video_id = workshop.upload(clip)
    workshop.room(ScriptedMedia("right"), slot=7).do(workshop.tasks(video_id)[0])
    with workshop.service(ScriptedMedia("wrong")):
        other = workshop.upload(Script("other").to_bytes())
        workshop.ring()
        await_that(lambda: workshop.video(other).state is VideoState.READY, what="the other video")
    waiting = {task.kind for task in workshop.tasks(video_id) if task.state is TaskState.QUEUED}
    assert {TaskKind.TRANSCODE, TaskKind.AUDIO, TaskKind.SCAN} <= waiting
    with workshop.service(ScriptedMedia("right")):
        await_that(lambda: workshop.video(video_id).state is VideoState.READY, what="ready")
    with workshop.catalog.read() as tx:
        assert len(generations.listing(tx, video_id)) == 1


def test_tools_that_vanish_hold_the_queue_and_cost_nothing(
    workshop: Workshop, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is claimed while no tool can be started, the service says why, and goes on by itself once one can."""
    monkeypatch.setattr("penstock.processing.dispatch.local._PAUSED", 0.02)
    monkeypatch.setattr("penstock.processing.tooling._SOONEST", 0.02)
    monkeypatch.setattr("penstock.processing.tooling._LATEST", 0.02)
    gone = [True]

    def begun(_: Moment) -> None:
        if gone[0]:
            raise ToolError("A media process could not be started: No such file or directory")

    def code() -> object:
        connection = HTTPConnection("127.0.0.1", service.endpoint.port, timeout=60)
        connection.request("GET", "/status")
        dependencies = json.loads(connection.getresponse().read())["dependencies"]
        connection.close()
        return next(item["code"] for item in dependencies if item["name"] == "tools")

    video_id = workshop.upload(clip)
    with workshop.service(ScriptedMedia(begun=begun)) as service:
        await_that(lambda: code() == "tool_unusable", what="paused")
        await_that(lambda: workshop.tasks(video_id)[0].state is TaskState.QUEUED, what="given back")
        gone[0] = False
        await_that(lambda: workshop.video(video_id).state is VideoState.READY, what="ready")
        assert code() is None
    assert [task.attempt for task in workshop.tasks(video_id) if task.kind is TaskKind.INSPECT] == [2]
    assert not any(task.failures for task in workshop.tasks(video_id))


def test_whoever_loses_what_is_urgent_takes_what_is_left(
    workshop: Workshop, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is claimed before anything else is looked for; that another process was faster must not hold the rest back."""
    claim = claims.claim

    def slower(tx: Connection, task_id: str, worker_id: str, **policy: Any) -> Claim:
        task = tasks.get(tx, task_id)
        others = tasks.listing(tx, video_id=task.video_id, kinds=[TaskKind.AUDIO, TaskKind.SCAN])
        if task.kind is TaskKind.TRANSCODE and any(other.state is not TaskState.DONE for other in others):
            return Claim(Outcome.BUSY)
        return claim(tx, task_id, worker_id, **policy)

    monkeypatch.setattr("penstock.processing.dispatch.local.claims.claim", slower)
    with workshop.service(ScriptedMedia()):
        video_id = workshop.upload(clip)
        workshop.ring()
        await_that(lambda: workshop.video(video_id).state is VideoState.READY, what="ready")
