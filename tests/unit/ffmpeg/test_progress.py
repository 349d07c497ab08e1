from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.ffmpeg.progress import Progress, ProgressParser

REPORT = (
    b"frame=12\nfps=24.1\nstream_0_0_q=28.0\nbitrate=N/A\ntotal_size=777\nout_time_us=N/A\nspeed=N/A\nprogress=continue\n"
    b"frame=50\nfps=24.9\nout_time_us=2000000\nspeed=1.04x\nprogress=continue\n"
    b"frame=100\nout_time_us=4000000\nspeed=0.99x\nprogress=end\n"
)
BLOCKS = [
    Progress(12, None, None, done=False),
    Progress(50, 2.0, 1.04, done=False),
    Progress(100, 4.0, 0.99, done=True),
]


@given(cuts=st.lists(st.integers(min_value=0, max_value=len(REPORT)), max_size=20))
def test_blocks_are_read_however_the_pipe_cuts_them(cuts: list[int]) -> None:
    """A read may end anywhere."""
    parser = ProgressParser()
    edges = [0, *sorted(cuts), len(REPORT)]
    pieces = [REPORT[start:end] for start, end in pairwise(edges)]
    assert [block for piece in pieces for block in parser.feed(piece)] == BLOCKS


def test_sound_has_no_frames() -> None:
    """FFmpeg leaves the key out, and an unknown key harms nothing."""
    (block,) = ProgressParser().feed(b"new_key=1=2\nout_time_us=1500000\nprogress=continue\n")
    assert block == Progress(0, 1.5, None, done=False)
