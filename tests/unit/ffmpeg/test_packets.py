from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ffmpeg.packets import PacketReader
from penstock.video.errors import MediaError
from penstock.video.plan import Plan, ScanResult, Settings, plan
from tests.unit.video.sources import picture, source

# As ffprobe writes it: two streams, pictures decoded in another order than shown, one before an edit list's beginning.
LISTED = (
    b"0,-512,-1024,512,KD_\n1,0,0,1024,K__\n0,0,-512,512,K__\n0,1024,0,512,___\n0,512,512,512,___\n"
    b"1,1024,1024,1024,K__\n0,1536,1024,512,K__,\n\n0,1/12800,1,1/48000\n0,1/12800,\n1,1/48000\n"
)
FOUND = ScanResult(Fraction(1, 12800), (0, 1536), 4, last=1536, end=2048, truncated=False)


def short() -> Plan:
    """The plan of a source that claims to last 0.16 seconds."""
    stream = picture(duration=Fraction(4, 25), header_frames=4)
    return plan(source(video=(stream,), duration=Fraction(4, 25)), Settings())


@given(cuts=st.lists(st.integers(min_value=0, max_value=len(LISTED)), max_size=10))
def test_packets_are_read_however_the_pipe_cuts_them(cuts: list[int]) -> None:
    """Keyframes, count, last picture and end, of the chosen stream alone."""
    reader = PacketReader(short(), 100)
    edges = [0, *sorted(cuts), len(LISTED)]
    for start, end in pairwise(edges):
        reader.feed(LISTED[start:end])
    assert reader.result() == FOUND


def test_a_header_that_claims_more_than_a_second_more_is_called_out() -> None:
    """All streams together end early: the file was cut."""
    reader = PacketReader(replace(short(), scan_end=Fraction(2)), 100)
    reader.feed(LISTED)
    assert reader.result() == replace(FOUND, truncated=True)


def test_a_clock_that_begins_again_is_called_out() -> None:
    """Two recordings in one file: the second lies under the first. Reordered pictures and a jitter are no such thing."""
    for fall, lost in ((25, False), (27, True)):
        reader = PacketReader(short(), 1000)
        times = [*range(100), *range(100 - fall, 130 - fall)]
        reader.feed(b"".join(b"0,%d,%d,1,K__\n" % (time, time) for time in times) + b"0,1/25\n")
        found = reader.result()
        assert found is not None
        assert found.truncated is lost


def test_a_clock_that_jumps_by_hours_ends_a_recording() -> None:
    """What follows in a transport stream is another clock's; a gap of minutes, and one mad time, are no such thing."""
    hour = 3600 * 90_000
    for after, frames, end in (
        ([600 * 90_000], 101, 600 * 90_000 + 3_600),
        ([5 * hour, 5 * hour + 3_600], 100, 360_000),
        ([5 * hour, 360_000], 101, 363_600),
    ):
        reader = PacketReader(replace(short(), container="mpegts", scan_end=None), 1000)
        times = [*range(0, 360_000, 3_600), *after]
        reader.feed(b"".join(b"0,%d,%d,3600,K__\n" % (time, time) for time in times) + b"0,1/90000\n")
        found = reader.result()
        assert found is not None
        assert (found.frames, found.end, found.truncated) == (frames, end, frames < len(times))
        assert found.last == end - 3_600


def test_decode_times_stand_in_where_a_container_has_no_others() -> None:
    """AVI does not say when a picture is shown, and some packets have no time at all."""
    reader = PacketReader(short(), 100)
    reader.feed(b"0,N/A,0,1,K__\n0,N/A,1,1,___\n0,N/A,N/A,N/A,___\n0,N/A,2,N/A,___\n0,1001/24000\n")
    assert reader.result() == ScanResult(Fraction(1001, 24000), (0,), 3, last=2, end=2, truncated=False)


def test_a_stream_without_packets_has_no_result() -> None:
    """Nothing to show."""
    reader = PacketReader(short(), 100)
    reader.feed(b"1,0,0,1024,K__\n0,1/12800\n1,1/48000\n")
    assert reader.result() is None


def test_too_many_packets_are_refused_while_reading() -> None:
    """A file cannot make the scan run on for ever."""
    reader = PacketReader(short(), 3)
    with pytest.raises(MediaError) as refusal:
        reader.feed(LISTED)
    assert refusal.value.code == "media_too_many_packets"
