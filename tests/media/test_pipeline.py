import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest

from penstock.catalog import Catalog, CatalogConfig, generations
from penstock.catalog.words import TaskKind, TaskState
from penstock.ffmpeg.tools import Tools
from penstock.processing.media import Media
from penstock.video.lifecycle import VideoState
from penstock.video.plan import Settings
from penstock.video.timeline import TimelineState, TrackKind
from tests.media.conftest import Make
from tests.servers.databases import sqlite_template
from tests.simulation import invariants
from tests.simulation.invariants import Reader
from tests.simulation.process import config
from tests.simulation.workshop import Workshop, await_that, media_processes

__all__ = ["sqlite_template"]

_ENDED = {VideoState.READY, VideoState.FAILED}
_ROOT = Path(__file__).parents[2]


@pytest.fixture
def workshop(tmp_path: Path, sqlite_template: Path) -> Iterator[Workshop]:
    """A machine without a processing process yet."""
    shutil.copy(sqlite_template, tmp_path / "catalog.db")
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path}/catalog.db"))
    yield Workshop(tmp_path, catalog, config=config(tmp_path))
    catalog.close()


@pytest.fixture
def media(tools: Tools) -> Media:
    """The real tools."""
    return Media(tools)


@pytest.fixture
def long(clips: Path) -> Path:
    """Half a minute: seventeen chunks with the settings of these tests."""
    return clips / "car-detection.mp4"


@contextmanager
def process(workshop: Workshop) -> Iterator[subprocess.Popen[str]]:
    """A processing process of its own, ready; killed at the end if it still runs."""
    command = [sys.executable, "-m", "tests.simulation.process", str(workshop.folder)]
    with (
        (workshop.folder / "log").open("a") as log,
        subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as running,
    ):
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def processed(workshop: Workshop, source: bytes | Path) -> str:
    """Uploads, waits until processing has ended, and returns the video's id."""
    video_id = workshop.upload(source)
    workshop.ring()
    await_that(lambda: workshop.video(video_id).state in _ENDED, what="the end of processing")
    return video_id


@pytest.mark.parametrize(
    ("clip", "rungs", "audio", "captions"),
    [
        ("bigbuckbunny.mp4", ["240p", "360p"], ["audio-0", "audio-1"], []),
        ("sample_with_srt.mkv", ["240p", "360p"], ["audio-0"], ["captions-0.vtt"]),
        ("bbb_176x144_128kbps_15fps_h263.3gp", ["144p"], [], []),
        ("bbb_1ch_8kHz_aac_lc.m4a", [], ["audio-0"], []),
        ("hdr10-av1.mp4", ["240p", "360p"], ["audio-0"], []),
        ("sample_edit_list.mp4", ["240p", "360p"], ["audio-0"], []),
        ("bbb_first_750ms.ts", ["240p", "360p"], ["audio-0"], []),
    ],
)
def test_a_clip_becomes_ready_with_all_that_it_holds(
    workshop: Workshop,
    media: Media,
    clips: Path,
    clip: str,
    rungs: list[str],
    audio: list[str],
    captions: list[str],
) -> None:
    """Every stage runs, and every object that the frozen timeline names is there with its digest."""
    with workshop.service(media):
        video_id = processed(workshop, clips / clip)
    invariants.check_ready(workshop, video_id)
    frozen = workshop.versions(video_id)[-1]
    assert [track.name for track in frozen.video_tracks] == rungs
    assert [track.name for track in frozen.audio_tracks] == audio
    assert [item.name for item in frozen.captions] == captions
    assert ("poster.jpg" in [item.name for item in frozen.artefacts]) == bool(rungs)


def test_the_length_and_the_grid_are_those_of_the_source(
    workshop: Workshop, media: Media, clips: Path
) -> None:
    """132 frames of 1/25 s stay 132 frames in every rung; segments meet without a gap."""
    with workshop.service(media):
        video_id = processed(workshop, clips / "bigbuckbunny.mp4")
    frozen = workshop.versions(video_id)[-1]
    for track in frozen.video_tracks:
        assert track.end == Fraction(132, 25)
        assert track.frame_rate == 25
    video = workshop.video(video_id)
    assert (video.width, video.height, video.duration_ms, video.truncated) == (1280, 720, 5280, False)


def test_chapters_are_kept(workshop: Workshop, media: Media, clips: Path) -> None:
    """A source with chapters has them beside its tracks."""
    with workshop.service(media):
        video_id = processed(workshop, clips / "sample_with_chapters.mp4")
    assert workshop.versions(video_id)[-1].artefact("chapters.json") is not None


def test_the_same_source_twice_gives_the_same_bytes(workshop: Workshop, media: Media, clips: Path) -> None:
    """Two videos of one source differ in their keys alone."""
    with workshop.service(media):
        twice = [processed(workshop, clips / "sample_with_srt.mkv") for _ in range(2)]
    made = []
    for video_id in twice:
        frozen = workshop.versions(video_id)[-1]
        etags = {
            (track.name, segment.number): segment.etag
            for track in frozen.tracks
            for segment in track.segments
        }
        etags |= {(track.name, 0): track.init.etag for track in frozen.tracks}
        etags |= {(item.name, 0): item.etag for item in (*frozen.artefacts, *frozen.captions)}
        made.append(etags)
    assert made[0] == made[1]
    assert len(made[0]) > 10


def test_a_long_video_plays_while_it_is_processed(workshop: Workshop, media: Media, long: Path) -> None:
    """Its timeline grows from the first segments on; whoever follows it never sees a step back nor a missing object."""
    with workshop.service(media):
        video_id = workshop.upload(long)
        workshop.ring()
        await_that(lambda: workshop.video(video_id).playable, what="early play")
        assert workshop.video(video_id).state is VideoState.PROCESSING
        generation_id = workshop.video(video_id).current_generation_id
        assert generation_id is not None
        reader = Reader(workshop, video_id, generation_id)
        progress = []

        def follow() -> bool:
            reader.look()
            with workshop.catalog.read() as tx:
                progress.append(generations.get(tx, generation_id).progress)
            return workshop.video(video_id).state in _ENDED

        await_that(follow, what="the end of processing")
        reader.look()
    invariants.check_ready(workshop, video_id)
    assert progress == sorted(progress)
    versions = workshop.versions(video_id)
    assert [version.state for version in versions[:-1]] == [TimelineState.GROWING] * (len(versions) - 1)
    prefixes = [version.prefix() for version in versions]
    assert prefixes == sorted(prefixes)
    assert len(set(prefixes)) > 2
    assert {version.target_duration for version in versions} == {versions[0].target_duration}


def test_a_killed_encoder_costs_its_chunk_a_try(workshop: Workshop, media: Media, long: Path) -> None:
    """FFmpeg dies in the middle of a chunk: that chunk is encoded again, and the video becomes ready."""
    with workshop.service(media) as service:
        video_id = workshop.upload(long)
        workshop.ring()

        def chunk_runs() -> bool:
            busy = [
                run for run in service.runs.now() if run.task.kind is TaskKind.TRANSCODE and run.task.index
            ]
            return bool(busy) and busy[0].progress > 0

        def chunk_broke() -> bool:
            if chunk_runs():
                for pid in media_processes(os.getpid()):
                    # One inside a sandbox dies with the one around it.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return any(task.failures for task in workshop.tasks(video_id))

        await_that(chunk_broke, what="a chunk whose encoder was killed before it was done")
        await_that(lambda: workshop.video(video_id).state in _ENDED, what="the end of processing")
    invariants.check_ready(workshop, video_id)
    assert any(task.failures for task in workshop.tasks(video_id))


def test_a_killed_process_resumes_where_it_was(workshop: Workshop, long: Path) -> None:
    """``kill -9`` in the middle: its tools die too, what was done stays done, the rest is taken over at once."""
    video_id = workshop.upload(long)
    with process(workshop) as first:
        chunks = {TaskKind.TRANSCODE}

        def done() -> list[int]:
            tasks = [task for task in workshop.tasks(video_id) if task.kind in chunks]
            return [task.index for task in tasks if task.state is TaskState.DONE]

        await_that(lambda: len(done()) >= 3, what="three finished chunks")
        tools = media_processes(first.pid)
        first.kill()
        first.wait()
        await_that(lambda: not tools & _living(), what="the end of the tools")
    before = {task.id: task for task in workshop.tasks(video_id)}
    interrupted = [task for task in before.values() if task.state is TaskState.CLAIMED]
    assert interrupted
    with process(workshop):
        await_that(lambda: workshop.video(video_id).state in _ENDED, what="the end of processing")
    invariants.check_ready(workshop, video_id)
    for task in workshop.tasks(video_id):
        if task.id in before and before[task.id].state is TaskState.DONE:
            assert task.attempt == before[task.id].attempt
    assert all(
        task.losses == 1 for task in workshop.tasks(video_id) if task.id in {each.id for each in interrupted}
    )


def test_a_process_that_is_told_to_stop_hands_its_work_back(workshop: Workshop, long: Path) -> None:
    """SIGTERM in the middle: the tools end, claims go back to the queue uncounted, and the process ends well."""
    video_id = workshop.upload(long)
    with process(workshop) as running:
        await_that(lambda: media_processes(running.pid), what="an encoder")
        await_that(lambda: len(workshop.tasks(video_id)) > 5, what="chunks")
        tools = media_processes(running.pid)
        running.terminate()
        assert running.wait(timeout=60) == 0
        assert not tools & _living()
    tasks = workshop.tasks(video_id)
    assert {task.state for task in tasks} <= {TaskState.QUEUED, TaskState.DONE}
    assert not any(task.failures or task.losses for task in tasks)


def test_deleting_ends_the_encoders(workshop: Workshop, media: Media, long: Path) -> None:
    """A video that is deleted while it is encoded occupies no processor any more, and players are told."""
    with workshop.service(media):
        video_id = workshop.upload(long)
        workshop.ring()
        await_that(lambda: workshop.video(video_id).playable, what="early play")
        await_that(lambda: media_processes(os.getpid()), what="an encoder")
        generation_id = workshop.video(video_id).current_generation_id
        workshop.delete(video_id)
        workshop.ring()
        await_that(lambda: not media_processes(os.getpid()), what="the end of the encoders", patience=30)
        await_that(
            lambda: workshop.versions(video_id, generation_id)[-1].state is TimelineState.DELETED,
            what="a tombstone",
        )
    assert {task.state for task in workshop.tasks(video_id)} <= {TaskState.DEAD, TaskState.DONE}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"This is a text that somebody called a video.\n" * 100, "media_not_recognised"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "media_playlist_refused"),
    ],
)
def test_what_is_no_video_fails_with_its_code(
    workshop: Workshop, media: Media, content: bytes, code: str
) -> None:
    """The owner is told what is wrong with the file; it is looked at once, and no tool runs on."""
    with workshop.service(media):
        video_id = processed(workshop, content)
    video = workshop.video(video_id)
    assert (video.state, video.error_code) == (VideoState.FAILED, code)
    assert video.error_message
    (task,) = workshop.tasks(video_id)
    assert (task.state, task.attempt) == (TaskState.DEAD, 1)


def test_a_file_without_its_index_fails_with_its_code(
    workshop: Workshop, media: Media, make: Make, clips: Path
) -> None:
    """The first half of a clip whose index is at its end is told apart from other damage."""
    whole = make("late.mp4", "-i", clips / "bigbuckbunny.mp4", "-c", "copy").read_bytes()
    with workshop.service(media):
        video_id = processed(workshop, whole[: len(whole) // 2])
    assert workshop.video(video_id).error_code == "media_no_moov"


def test_a_truncated_source_is_kept_as_far_as_it_goes(
    workshop: Workshop, media: Media, make: Make, clips: Path
) -> None:
    """What decodes becomes the video, and the video says that it is cut short."""
    whole = make("whole.mkv", "-i", clips / "car-detection.mp4", "-c", "copy")
    with workshop.service(media):
        video_id = processed(workshop, whole.read_bytes()[: whole.stat().st_size * 2 // 5])
    invariants.check_ready(workshop, video_id)
    video = workshop.video(video_id)
    assert video.truncated
    assert video.duration_ms is not None
    assert 3_000 < video.duration_ms < 25_000


def test_a_wrong_digest_fails_the_video(workshop: Workshop, media: Media, clips: Path) -> None:
    """Where nobody saw all bytes arrive, the scan holds them against what the client declared."""
    video_id = workshop.upload(clips / "bbb_176x144_128kbps_15fps_h263.3gp", declared="0" * 64)
    with workshop.service(media):
        await_that(lambda: workshop.video(video_id).state in _ENDED, what="the end of processing")
    assert workshop.video(video_id).error_code == "digest_mismatch"


def test_quality_settings_decide_the_ladder(workshop: Workshop, media: Media, clips: Path) -> None:
    """With the settings that ship, a 720p source has every rung up to its own and segments of four seconds."""
    workshop.plan_with(Settings())
    with workshop.service(media):
        video_id = processed(workshop, clips / "bigbuckbunny.mp4")
    invariants.check_ready(workshop, video_id)
    frozen = workshop.versions(video_id)[-1]
    assert [track.name for track in frozen.video_tracks] == ["240p", "360p", "480p", "720p"]
    assert [
        segment.duration / track.timescale for track in frozen.video_tracks for segment in track.segments[:1]
    ] == [4.0] * 4
    assert all(track.kind is TrackKind.VIDEO for track in frozen.video_tracks)


def _living() -> set[int]:
    return media_processes(1) | media_processes(os.getpid())
