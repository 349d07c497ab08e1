import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ffmpeg.fragments import Fragment, FragmentMalformed, FragmentReader, InitSegment
from tests.unit.ffmpeg.fragmented import box, fragment, init, sound_entry

PICTURES = (
    init()
    + fragment(0, [500, 30, 20], offsets=[0, 400, -400])
    + fragment(1200, [400, 10])
    + fragment(2000, [300])
)


def read(data: bytes, *, delay: int = 0) -> tuple[InitSegment, list[Fragment]]:
    """Everything in some bytes."""
    reader = FragmentReader(delay)
    found = list(reader.feed(data))
    reader.close()
    first, *rest = found
    assert isinstance(first, InitSegment)
    return first, [item for item in rest if isinstance(item, Fragment)]


def test_an_init_segment_tells_clock_and_codec() -> None:
    """The codec string comes from the decoder's own configuration (RFC 6381)."""
    first, _ = read(PICTURES)
    assert (first.timescale, first.codecs) == (10_000, "avc1.64001f")
    assert first.data == init()


@pytest.mark.parametrize(("object_type", "codecs"), [(2, "mp4a.40.2"), (5, "mp4a.40.5")])
def test_sound_tells_its_object_type(object_type: int, codecs: str) -> None:
    """AAC-LC is 40.2."""
    first, _ = read(init(48_000, entry=sound_entry(object_type)))
    assert (first.timescale, first.codecs) == (48_000, codecs)


def test_a_fragment_tells_times_and_where_its_keyframe_ends() -> None:
    """Times as shown, in decode order; bytes from the beginning through the first picture."""
    _, (first, second, third) = read(PICTURES)
    assert (first.start, first.duration, first.times) == (0, 1200, (0, 800, 400))
    assert (second.start, second.duration, second.times) == (1200, 800, (1200, 1600))
    assert (third.start, third.duration, third.times) == (2000, 400, (2000,))
    assert first.starts_with_keyframe
    assert third.starts_with_keyframe
    data = first.head + first.body
    assert data[: first.keyframe_length].endswith(bytes(500))
    assert data[first.keyframe_length :] == b"\1" * 30 + b"\2" * 20


def test_a_delay_makes_offsets_unsigned_and_an_edit_list_takes_it_back() -> None:
    """Two pictures of reordering: offsets rise by it, and the init segment says that the show begins so much later."""
    first, delayed = read(PICTURES, delay=800)
    assert b"edts" in first.data
    assert int.from_bytes(first.data[first.data.index(b"elst") + 16 :][:4]) == 800
    for before, after in zip(read(PICTURES)[1], delayed, strict=True):
        assert after.times == before.times
        assert after.start == before.start
        assert after.body == before.body
        assert after.keyframe_length - before.keyframe_length == len(after.head) - len(before.head)
    raw_first, raw = read(first.data + b"".join(item.head + item.body for item in delayed))
    assert raw_first == first
    assert (raw_first.media_time, [item.times for item in raw]) == (
        800,
        [(0, 800, 400), (1200, 1600), (2000,)],
    )


def test_more_reordering_than_allowed_for_is_refused() -> None:
    """The edit list of the init segment would be wrong."""
    with pytest.raises(FragmentMalformed):
        read(PICTURES, delay=300)


def test_fragments_are_renumbered() -> None:
    """Only the sequence number changes."""
    _, (first, *_) = read(PICTURES)
    renumbered = first.numbered(77)
    assert int.from_bytes(renumbered[20:24]) == 77
    assert renumbered[:20] + renumbered[24:] == first.head[:20] + first.head[24:]
    assert first.size == len(renumbered + first.body)


@given(
    cuts=st.lists(st.integers(min_value=0, max_value=len(PICTURES)), max_size=30),
    delay=st.sampled_from([0, 800]),
)
def test_values_come_out_however_the_pipe_cuts_the_bytes(cuts: list[int], delay: int) -> None:
    """And each as soon as its last byte is there."""
    reader = FragmentReader(delay)
    found: list[InitSegment | Fragment] = []
    for start, end in pairwise([0, *sorted(cuts), len(PICTURES)]):
        found += reader.feed(PICTURES[start:end])
    reader.close()
    whole_init, whole = read(PICTURES, delay=delay)
    assert found == [whole_init, *whole]


@pytest.mark.parametrize(
    "data",
    [
        PICTURES[:-1],
        init() + fragment(0, [5])[:-13],
        b"",
        b"no MP4 at all, but text",
        fragment(0, [5]),
        init() + box(b"mdat", bytes(20)),
        box(b"ftyp", bytes(8)) + box(b"moov", box(b"trak", bytes(20))),
        init() + box(b"moof", box(b"mfhd", bytes(8)), box(b"traf", bytes(0))) + box(b"mdat", bytes(20)),
        init(entry=box(b"xyz1", bytes(100))),
        init(entry=box(b"mp4a", bytes(28), box(b"esds", bytes(40)))),
        init() + fragment(0, []),
        init() + b"\0\0\0\3moof" + bytes(20),
        init() + b"\xff\xff\xff\xffmoof" + bytes(20),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    """With an error of the tree, whatever the bytes are."""
    with pytest.raises(FragmentMalformed):
        read(data)


@given(noise=st.binary(max_size=400), place=st.integers(min_value=0, max_value=len(PICTURES)))
def test_noise_never_breaks_the_reader(noise: bytes, place: int) -> None:
    """Broken bytes are refused or read as something; nothing else is raised."""
    with contextlib.suppress(FragmentMalformed):
        read(PICTURES[:place] + noise + PICTURES[place + len(noise) :], delay=800)
