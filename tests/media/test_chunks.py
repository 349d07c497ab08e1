from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from penstock.ffmpeg.config import Isolation
from penstock.ffmpeg.encode import encode_chunk
from penstock.ffmpeg.outputs import ChunkOutput, EncodedInit, EncodedSegment
from penstock.ffmpeg.tools import Tools
from penstock.ffmpeg.verify import check_rung, pictures, source_pictures
from penstock.video.errors import Cancelled, ToolFailed
from penstock.video.plan import Chunk, Settings
from tests.media.conftest import Make
from tests.media.whole import Planned, joined_rungs, planned

CLIPS = {
    "bigbuckbunny.mp4": 132,
    "car-detection.mp4": 377,
    "bbb_176x144_128kbps_15fps_h263.3gp": 15,
    "bbb_642x642_768kbps_30fps_vp9.webm": 90,
    "bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4": 120,
    "bbb_first_750ms.ts": 18,  # 16 packets
    "hdr10-av1.mp4": 127,
    "sample.avi": 98,  # 96 packets: two empty ones are shown as the picture before
    "sample_edit_list.mp4": 77,
    "sample_fragmented.mp4": 32,  # 30 pictures that begin two frames after the sound
    "sample_with_chapters.mp4": 30,
    "sample_with_srt.mkv": 30,
}


@dataclass(frozen=True, slots=True)
class Processed:
    """A clip, its chunks encoded and joined, and the same in one run."""

    work: Planned
    expected_frames: int
    chunked: dict[str, Path]
    whole: dict[str, Path]


@pytest.fixture(scope="module", params=CLIPS)
def processed(
    request: pytest.FixtureRequest, tools: Tools, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> Processed:
    """Each clip, encoded twice."""
    folder = tmp_path_factory.mktemp("processed")
    work = planned(tools, clips / request.param)
    (folder / "whole").mkdir()
    return Processed(
        work,
        CLIPS[request.param],
        joined_rungs(tools, work, work.chunks, folder),
        joined_rungs(tools, work, (work.all_at_once,), folder / "whole"),
    )


def test_the_encoders_of_chunks_get_the_very_pictures_of_a_whole_run(
    tools: Tools, processed: Processed
) -> None:
    """Same samples at the same times, in every rung, wherever the chunks are cut and however they seek."""
    work = processed.work
    whole = source_pictures(tools, work.source, work.plan, work.all_at_once)
    chunked = [source_pictures(tools, work.source, work.plan, chunk) for chunk in work.chunks]
    assert len(chunked) > 1 or work.frames < 15
    for rung, expected in enumerate(whole):
        assert len(expected) == processed.expected_frames
        assert [picture for chunk in chunked for picture in chunk[rung]] == expected


def test_joined_chunks_decode_to_the_frames_and_times_of_a_whole_run(
    tools: Tools, processed: Processed
) -> None:
    """As many frames, each at its place on the grid, none lost at a join."""
    grid = processed.work.plan.grid
    assert grid is not None
    expected = [n / grid.rate for n in range(processed.expected_frames)]
    for name in processed.chunked:
        assert [picture.time for picture in pictures(tools, processed.chunked[name])] == expected
        assert [picture.time for picture in pictures(tools, processed.whole[name])] == expected


def test_chunks_of_120_pictures_a_second_join(tools: Tools, make: Make, tmp_path: Path) -> None:
    """Every other picture lies between two frames of the grid: what is checked rounds it as the filters do."""
    fast = make(
        "fast.mp4",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=160x90:rate=120:duration=5",
        "-c:v",
        "libx264",
        "-g",
        "60",
    )
    work = planned(tools, fast)
    assert work.plan.grid is not None
    assert work.plan.grid.rate == 60
    assert len(work.chunks) > 1
    for joined in joined_rungs(tools, work, work.chunks, tmp_path).values():
        assert len(pictures(tools, joined)) == work.frames


def test_every_joined_frame_shows_what_the_source_shows_then(tools: Tools, processed: Processed) -> None:
    """A frame that stood at its neighbour's place would look like noise beside the source."""
    work = processed.work
    largest = work.plan.rungs[
        -1
    ].name  # the others are made of it, and their pictures were compared before encoding
    check = check_rung(tools, work.source, work.plan, largest, work.frames, processed.chunked[largest])
    assert check.passed, check


@pytest.fixture(scope="module")
def car(tools: Tools, clips: Path) -> Planned:
    """The longest clip: several chunks, keyframes 4.8 s apart."""
    return planned(tools, clips / "car-detection.mp4")


def digests(output: ChunkOutput) -> list[str]:
    """Of every object of a chunk."""
    return [
        digest
        for track in output.tracks
        for digest in (track.init.sha256, *(s.sha256 for s in track.segments))
    ]


def test_the_same_chunk_encoded_twice_is_the_same_bytes(tools: Tools, car: Planned, tmp_path: Path) -> None:
    """Whatever the isolation: so a retry, or another node, makes the same objects."""
    chunk = car.chunks[2]
    first = encode_chunk(tools, car.source, car.plan, chunk, tmp_path / "a")
    bare = replace(tools, isolation=Isolation.NONE)
    second = encode_chunk(bare, car.source, car.plan, chunk, tmp_path / "b")
    assert digests(first) == digests(second)


def test_init_segments_are_the_same_in_every_chunk(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """Even in one of a single frame, where nothing is reordered."""
    work = planned(tools, clips / "bbb_176x144_128kbps_15fps_h263.3gp")
    chunk = work.all_at_once
    single = replace(chunk, first_frame=8, first_segment=2, frames=1, segments=1, last=False)
    whole = encode_chunk(tools, work.source, work.plan, chunk, tmp_path / "a")
    last = encode_chunk(tools, work.source, work.plan, single, tmp_path / "b")
    assert [track.init.sha256 for track in whole.tracks] == [track.init.sha256 for track in last.tracks]


def test_init_segments_do_not_tell_how_many_threads_encoded(
    tools: Tools, clips: Path, tmp_path: Path
) -> None:
    """The first chunk of a large rung has more than those that follow, and they share one."""
    work = planned(tools, clips / "bigbuckbunny.mp4", Settings())
    first = replace(work.all_at_once, frames=10, segments=1, last=False)
    large = work.plan.rungs[-1]
    assert large.threads != large.first_threads
    outputs = [
        encode_chunk(tools, work.source, work.plan, replace(first, index=index), tmp_path / str(index))
        for index in (0, 1)
    ]
    inits, others = ([track.init.sha256 for track in output.tracks] for output in outputs)
    assert inits == others


def test_segments_are_announced_while_the_chunk_is_encoded(
    tools: Tools, car: Planned, tmp_path: Path
) -> None:
    """Each rung's init segment first, files complete, progress rising to one."""
    heard: list[EncodedInit | EncodedSegment] = []
    progress: list[float] = []
    chunk = car.chunks[1]
    output = encode_chunk(
        tools,
        car.source,
        car.plan,
        chunk,
        tmp_path,
        on_init=heard.append,
        on_segment=heard.append,
        on_progress=progress.append,
    )
    for track in output.tracks:
        of_track = [item for item in heard if item.track == track.init.track]
        assert of_track == [track.init, *track.segments]
        assert [s.number for s in track.segments] == list(
            range(chunk.first_segment, chunk.first_segment + chunk.segments)
        )
        assert all(len(s.keyframes) == 1 for s in track.segments)
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_cancelling_stops_an_encode_where_it_is(tools: Tools, car: Planned, tmp_path: Path) -> None:
    """A deleted video costs nothing more."""
    cancel = Event()
    with pytest.raises(Cancelled):
        encode_chunk(
            tools,
            car.source,
            car.plan,
            car.all_at_once,
            tmp_path,
            on_segment=lambda _: cancel.set(),
            cancel=cancel,
        )


@pytest.mark.parametrize(
    "change",
    [{"frames": 5000, "last": False}, {"frames": 5000}, {"seek": Fraction(24)}],
)
def test_a_chunk_that_differs_from_the_plan_is_refused(
    tools: Tools, car: Planned, tmp_path: Path, change: dict[str, object]
) -> None:
    """More frames than there are, though the tool ends well; or a seek that lands behind the chunk's beginning."""
    chunk = next(chunk for chunk in car.chunks if chunk.first_frame / Fraction(25, 2) > 21)
    wrong: Chunk = replace(chunk, **change)  # type: ignore[arg-type]
    with pytest.raises(ToolFailed) as failure:
        encode_chunk(tools, car.source, car.plan, wrong, tmp_path)
    assert failure.value.code == "frames_missing"


def test_another_init_segment_than_the_pinned_one_is_refused(
    tools: Tools, car: Planned, tmp_path: Path
) -> None:
    """It was another tool that made the chunks before."""
    with pytest.raises(ToolFailed) as failure:
        encode_chunk(tools, car.source, car.plan, car.chunks[0], tmp_path, pinned={"240p": "0" * 64})
    assert failure.value.code == "init_mismatch"
