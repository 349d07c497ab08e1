from fractions import Fraction

import pytest

from penstock.catalog import generations, segments, videos
from penstock.catalog.words import TaskKind, TaskState
from penstock.storage.local import LocalStore
from penstock.video.lifecycle import GenerationState, VideoState
from penstock.video.plan import Plan, Settings
from tests.simulation import invariants
from tests.simulation.scripted import Script, ScriptedMedia, breaking
from tests.simulation.workshop import Room, Workshop


def kinds(workshop: Workshop, video_id: str) -> list[tuple[str, bool, bool]]:
    """Kind, required and urgent of every task."""
    return [(str(task.kind), task.required, task.urgent) for task in workshop.tasks(video_id)]


def test_inspection_begins_all_that_can_begin(workshop: Workshop, room: Room) -> None:
    """First chunk, sound, scan, poster and captions are queued with the plan; early play's are urgent."""
    video_id = workshop.upload(Script("clip", audio=2, subtitles=1).to_bytes())
    room.do(workshop.tasks(video_id)[0])
    video = workshop.video(video_id)
    assert (video.state, video.width, video.height, video.duration_ms) == (
        VideoState.PROCESSING,
        640,
        360,
        10_000,
    )
    assert kinds(workshop, video_id) == [
        ("audio", True, True),
        ("audio", True, True),
        ("captions", False, False),
        ("inspect", True, True),
        ("poster", False, False),
        ("scan", True, False),
        ("transcode", True, True),
    ]
    assert video.current_generation_id is not None
    with workshop.catalog.read() as tx:
        generation = generations.get(tx, video.current_generation_id)
        plan = Plan.from_json(generations.plan(tx, generation.id) or "")
        tracks = segments.tracks(tx, generation.id)
    assert generation.state is GenerationState.ENCODING
    assert generation.plan_digest == plan.digest()
    assert plan.fingerprint == "scripted"
    assert [track.name for track in tracks] == ["240p", "360p", "audio-0", "audio-1"]
    assert tracks[0].frame_rate == Fraction(25)


def test_a_header_that_cannot_be_believed_begins_with_the_scan(workshop: Workshop, room: Room) -> None:
    """A source shorter than a first chunk has none before its packets are known."""
    video_id = workshop.upload(Script("blink", frames=30, header_frames=30).to_bytes())
    room.do(workshop.tasks(video_id)[0])
    assert "transcode" not in [kind for kind, _, _ in kinds(workshop, video_id)]
    room.work()
    invariants.check_ready(workshop, video_id)


def test_a_refused_source_is_final(workshop: Workshop, room: Room) -> None:
    """Its owner sees the code; nothing else was queued."""
    video_id = workshop.upload(Script("bad", refused="media_encrypted").to_bytes())
    room.work()
    video = workshop.video(video_id)
    assert (video.state, video.error_code) == (VideoState.FAILED, "media_encrypted")
    assert len(workshop.tasks(video_id)) == 1


def test_a_retry_under_the_same_plan_keeps_what_is_done(workshop: Workshop, media: ScriptedMedia) -> None:
    """Only what failed is done again, in the same generation; attempts go on rising."""
    video_id = workshop.upload(Script("clip").to_bytes())
    workshop.room(ScriptedMedia(begun=breaking("audio")), slot=1).work()
    assert workshop.video(video_id).state is VideoState.FAILED
    before = workshop.video(video_id).current_generation_id
    done = {task.id: task.attempt for task in workshop.tasks(video_id) if task.state is TaskState.DONE}
    with workshop.catalog.write() as tx:
        videos.retry(tx, video_id, who="test")
    workshop.room(media, slot=2).work()
    invariants.check_ready(workshop, video_id)
    assert workshop.video(video_id).current_generation_id == before
    for task in workshop.tasks(video_id):
        if task.id in done and task.kind is not TaskKind.INSPECT:
            assert task.attempt == done[task.id]


def test_a_retry_under_another_plan_begins_anew(workshop: Workshop) -> None:
    """After a change of settings the old generation ends and a new one takes its place."""
    video_id = workshop.upload(Script("clip").to_bytes())
    workshop.room(ScriptedMedia(begun=breaking("audio")), slot=1).work()
    before = workshop.video(video_id).current_generation_id
    with workshop.catalog.write() as tx:
        videos.retry(tx, video_id, who="test")
    workshop.plan_with(Settings(max_rung=240))
    workshop.room(ScriptedMedia(), slot=2).work()
    invariants.check_ready(workshop, video_id)
    assert workshop.video(video_id).current_generation_id != before
    assert [track.name for track in workshop.versions(video_id)[-1].video_tracks] == ["240p"]


def test_a_missing_source_is_final(workshop: Workshop, room: Room, clip: bytes) -> None:
    """Nothing is tried again that cannot come back."""
    video_id = workshop.upload(clip)
    workshop.sources.delete([info.key for info in workshop.sources.list("")])
    room.work()
    (task,) = workshop.tasks(video_id)
    assert (task.state, task.error_code, task.attempt) == (TaskState.DEAD, "source_missing", 1)


def test_a_source_elsewhere_is_fetched(workshop: Workshop, media: ScriptedMedia, clip: bytes) -> None:
    """A store that has no files of this machine gives its bytes, into scratch."""

    class Elsewhere(LocalStore):
        """As an object store over a network."""

        def local_path(self, key: str) -> None:  # type: ignore[override]
            """There is none."""

    video_id = workshop.upload(clip)
    workshop.sources = Elsewhere(workshop.folder / "sources")
    workshop.room(media).work()
    invariants.check_ready(workshop, video_id)


@pytest.mark.parametrize("login", ["ann", "bob"])
def test_tasks_belong_to_the_videos_owner(workshop: Workshop, room: Room, clip: bytes, login: str) -> None:
    """Fairness is between accounts."""
    video_id = workshop.upload(clip, login=login)
    room.work()
    assert {task.account_id for task in workshop.tasks(video_id)} == {workshop.account(login).id}
