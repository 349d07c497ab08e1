import hashlib
from pathlib import Path

import pytest

from penstock.ffmpeg.outputs import EncodedInit, EncodedSegment, EncodedTrack
from penstock.ffmpeg.writing import RungWriter, SoundWriter, TrackWriter
from penstock.video.errors import ToolFailed
from penstock.video.plan import Chunk, Settings, plan
from penstock.video.timeline import Keyframe
from tests.unit.ffmpeg.fragmented import fragment, init, sound_entry
from tests.unit.video.sources import source

PLAN = plan(source(), Settings())
CHUNK = Chunk(1, first_frame=100, frames=130, first_segment=2, segments=2, seek=None, last=True)


def group(first_frame: int, frames: int) -> bytes:
    """A fragment of a keyframe interval, as the encoder writes it: 400 ticks per frame."""
    return fragment(first_frame * 400, [90] * frames)


def written(writer: TrackWriter, data: bytes) -> EncodedTrack:
    """What becomes of an encoder's whole output."""
    writer.feed(data)
    return writer.close()


CHUNKS_BYTES = init() + group(100, 50) + group(150, 50) + group(200, 30)


def writer(
    folder: Path,
    announced: list[EncodedInit | EncodedSegment] | None = None,
    *,
    pinned: str | None = None,
    chunk: Chunk = CHUNK,
) -> RungWriter:
    """A writer for the chunk that tells what it announces."""
    assert PLAN.grid is not None
    heard = announced.append if announced is not None else None
    return RungWriter("720p", folder, PLAN.grid, chunk, pinned, heard, heard)


def test_fragments_become_numbered_segments_on_the_grid(tmp_path: Path) -> None:
    """Two keyframe intervals to a segment, the last one short; each file is complete when it is announced."""
    announced: list[EncodedInit | EncodedSegment] = []
    writing = writer(tmp_path, announced)
    writing.feed(CHUNKS_BYTES)
    track = writing.close()
    assert announced == [track.init, *track.segments]
    assert [(s.number, s.start, s.duration, s.frames) for s in track.segments] == [
        (2, 40_000, 40_000, 100),
        (3, 80_000, 12_000, 30),
    ]
    assert (track.init.codecs, track.init.timescale, track.frames) == ("avc1.64001f", 10_000, 130)
    items: list[EncodedInit | EncodedSegment] = [track.init, *track.segments]
    for item in items:
        data = item.path.read_bytes()
        assert (item.size, item.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(("tail", "segments"), [(1, [101]), (11, [111]), (12, [100, 12])])
def test_a_last_picture_or_two_belong_to_the_segment_before(
    tmp_path: Path, tail: int, segments: list[int]
) -> None:
    """A tail shorter than a quarter of a keyframe interval is no segment of its own, and none of its frames is lost."""
    chunk = Chunk(
        1, first_frame=100, frames=100 + tail, first_segment=2, segments=len(segments), seek=None, last=True
    )
    track = written(
        writer(tmp_path, chunk=chunk), init() + group(100, 50) + group(150, 50) + group(200, tail)
    )
    assert [segment.frames for segment in track.segments] == segments
    assert track.segments[0].duration == segments[0] * 400
    assert [frame.duration for frame in track.segments[-1].keyframes][-1] == tail * 400


def test_keyframes_are_found_by_their_byte_ranges(tmp_path: Path) -> None:
    """For trick play: each range begins at a fragment and ends with its first picture."""
    writing = writer(tmp_path)
    writing.feed(CHUNKS_BYTES)
    segment = writing.close().segments[0]
    first, second = segment.keyframes
    assert isinstance(first, Keyframe)
    data = segment.path.read_bytes()
    assert data[second.offset + 4 : second.offset + 8] == b"moof"
    assert (first.offset, first.duration, second.duration) == (0, 20_000, 20_000)
    assert data[: first.length].endswith(b"mdat" + bytes(90))


def test_fragments_are_numbered_over_the_whole_video(tmp_path: Path) -> None:
    """A chunk's encoder counts from one; the joined track must not."""
    writing = writer(tmp_path)
    writing.feed(CHUNKS_BYTES)
    numbers = []
    for segment in writing.close().segments:
        data = segment.path.read_bytes()
        numbers += [
            int.from_bytes(data[frame.offset + 20 : frame.offset + 24]) for frame in segment.keyframes
        ]
    assert numbers == [3, 4, 5]


@pytest.mark.parametrize(
    "data",
    [
        init() + group(100, 50) + group(150, 50) + group(200, 29),
        init() + group(100, 50) + group(150, 50) + group(200, 31),
        init() + group(101, 50),
        init() + group(100, 50) + group(151, 50),
        init() + fragment(40_000, [90] * 50, keyframe=False),
        init() + fragment(40_000, [90] * 50, offsets=[400, *[0] * 49]),
        init(),
    ],
)
def test_frames_that_differ_from_the_plan_are_refused(tmp_path: Path, data: bytes) -> None:
    """One too few, one too many, out of place, not beginning with a keyframe, not there at all."""
    writing = writer(tmp_path)
    with pytest.raises(ToolFailed) as failure:
        written(writing, data)
    assert failure.value.code == "frames_missing"


def test_an_init_segment_other_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """Chunks from different tools must not be joined."""
    first = writer(tmp_path / "a")
    first.feed(CHUNKS_BYTES)
    pinned = first.close().init.sha256
    same = writer(tmp_path / "b", pinned=pinned)
    same.feed(CHUNKS_BYTES)
    other = writer(tmp_path / "c", pinned=pinned)
    with pytest.raises(ToolFailed) as failure:
        other.feed(CHUNKS_BYTES.replace(b"\x64\x00\x1f", b"\x64\x00\x20"))
    assert failure.value.code == "init_mismatch"


def test_a_clock_other_than_the_grids_is_refused(tmp_path: Path) -> None:
    """Its times would mean something else."""
    with pytest.raises(ToolFailed):
        writer(tmp_path).feed(init(12_800) + group(100, 50))


def test_what_a_listener_raises_reaches_the_caller(tmp_path: Path) -> None:
    """A full store, a lost claim: the run must end."""
    assert PLAN.grid is not None

    def refuse(_: EncodedSegment) -> None:
        raise OSError(28, "No space left on device")

    writing = RungWriter("720p", tmp_path, PLAN.grid, CHUNK, None, None, refuse)
    with pytest.raises(OSError, match="No space"):
        writing.feed(CHUNKS_BYTES)


SOUND = init(48_000, entry=sound_entry(2))


def test_every_fragment_of_sound_is_a_segment(tmp_path: Path) -> None:
    """With its real duration, which need not be the video's."""
    announced: list[EncodedSegment] = []
    writing = SoundWriter(PLAN.audio[0], tmp_path, None, announced.append)
    writing.feed(SOUND + fragment(0, [9] * 188, duration=1024) + fragment(192_512, [9] * 62, duration=1024))
    track = writing.close()
    assert [(s.number, s.start, s.duration, s.frames) for s in announced] == [
        (1, 0, 192_512, 188),
        (2, 192_512, 63_488, 62),
    ]
    assert track.segments == tuple(announced)
    assert all(segment.keyframes == () for segment in announced)


@pytest.mark.parametrize(
    "data", [SOUND, SOUND + fragment(0, [9], duration=1024) + fragment(2048, [9], duration=1024)]
)
def test_sound_with_a_hole_or_without_anything_is_refused(tmp_path: Path, data: bytes) -> None:
    """A player would fall out of step."""
    writing = SoundWriter(PLAN.audio[0], tmp_path, None, None)
    with pytest.raises(ToolFailed):
        written(writing, data)


@pytest.mark.parametrize(("tail", "frames"), [(1, [188, 189]), (2, [188, 190]), (3, [188, 188, 3])])
def test_a_last_packet_or_two_of_sound_belong_to_the_segment_before(
    tmp_path: Path, tail: int, frames: list[int]
) -> None:
    """A segment is announced once it is known that it is not the last; nothing is lost at the end."""
    announced: list[EncodedSegment] = []
    writing = SoundWriter(PLAN.audio[0], tmp_path, None, announced.append)
    writing.feed(SOUND + fragment(0, [9] * 188, duration=1024) + fragment(192_512, [9] * 188, duration=1024))
    assert [segment.frames for segment in announced] == [188]
    writing.feed(fragment(385_024, [9] * tail, duration=1024))
    track = writing.close()
    assert [segment.frames for segment in track.segments] == frames
    assert sum(segment.duration for segment in track.segments) == (376 + tail) * 1024
