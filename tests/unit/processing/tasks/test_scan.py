import hashlib
from fractions import Fraction

import pytest

from penstock.catalog import artefacts, generations
from penstock.catalog.words import TaskKind, TaskState
from penstock.processing.scanned import Scanned
from penstock.video.lifecycle import VideoState
from penstock.video.plan import ScanResult
from tests.simulation.scripted import Script
from tests.simulation.workshop import Room, Workshop


def scan(workshop: Workshop, room: Room, source: bytes, **upload: str) -> str:
    """A video that was inspected and scanned."""
    video_id = workshop.upload(source, **upload)
    for kind in (TaskKind.INSPECT, TaskKind.SCAN):
        room.do(next(task for task in workshop.tasks(video_id) if task.kind is kind))
    return video_id


def test_the_packet_index_is_an_object_the_sums_are_a_record(workshop: Workshop, room: Room) -> None:
    """What a chunk's task needs it gets with the task; the whole index is there for who wants it."""
    video_id = scan(workshop, room, Script("long", frames=700, header_frames=700).to_bytes())
    (task,) = (task for task in workshop.tasks(video_id) if task.kind is TaskKind.SCAN)
    with workshop.catalog.read() as tx:
        text = generations.scan(tx, task.generation_id)
        stored = {item.name: item for item in artefacts.listing(tx, task.generation_id)}
    assert text is not None
    sums = Scanned.from_json(text)
    assert (sums.source_frames, sums.frames, sums.duration, sums.truncated) == (700, 700, Fraction(28), False)
    index = ScanResult.from_json(workshop.outputs.get(sums.packet_index))
    assert len(index.keyframes) == 14
    assert not stored["packet-index.json"].public


def test_all_chunks_are_queued_and_cover_every_frame(workshop: Workshop, room: Room) -> None:
    """The first stays the task it was."""
    video_id = scan(workshop, room, Script("long", frames=1000, header_frames=1000).to_bytes())
    chunks = [task for task in workshop.tasks(video_id) if task.kind is TaskKind.TRANSCODE]
    assert [task.index for task in chunks] == [0, 1, 2, 3]
    assert sum(task.payload["chunk"]["frames"] for task in chunks) == 1000
    assert [task.urgent for task in chunks] == [True, False, False, False]
    assert all(task.work > 0 for task in chunks)


def test_a_digest_that_nobody_computed_is_computed(workshop: Workshop, room: Room, clip: bytes) -> None:
    """And noted with the video; where it was computed on arrival, nothing is read again."""
    video_id = scan(workshop, room, clip)
    assert workshop.video(video_id).source_sha256 == hashlib.sha256(clip).hexdigest()
    other = Script("other").to_bytes()
    known = scan(workshop, room, other, sha256="f" * 64)
    assert workshop.video(known).source_sha256 == "f" * 64


@pytest.mark.parametrize("wrong", [False, True])
def test_a_declared_digest_is_held_against_the_bytes(
    workshop: Workshop, room: Room, clip: bytes, wrong: bool
) -> None:
    """Wrong: the video fails with the code that an upload would have had; its chunks are called off."""
    declared = "0" * 64 if wrong else hashlib.sha256(clip).hexdigest()
    video_id = scan(workshop, room, clip, declared=declared)
    if wrong:
        video = workshop.video(video_id)
        assert (video.state, video.error_code) == (VideoState.FAILED, "digest_mismatch")
        assert TaskState.QUEUED not in {task.state for task in workshop.tasks(video_id)}
    else:
        room.work()
        assert workshop.video(video_id).state is VideoState.READY


def test_an_end_before_the_promised_one_is_said(workshop: Workshop, room: Room) -> None:
    """The packets' count wins, for the length and for the chunks."""
    video_id = scan(workshop, room, Script("cut", frames=300, header_frames=700).to_bytes())
    video = workshop.video(video_id)
    assert (video.truncated, video.duration_ms) == (True, 12_000)
    room.work()
    assert workshop.versions(video_id)[-1].planned_duration == pytest.approx(12, abs=0.1)
