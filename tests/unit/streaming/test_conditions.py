"""Ranges and preconditions of RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.streaming.conditions import (
    ByteRange,
    NotSatisfiable,
    accepts_gzip,
    not_modified,
    requested_range,
)

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"bytes=0-499", ByteRange(0, 500)),
        (b"bytes=500-", ByteRange(500, 1000)),
        (b"bytes=-1", ByteRange(999, 1000)),
        (b"bytes=-5000", ByteRange(0, 1000)),
        (b"bytes=999-5000", ByteRange(999, 1000)),
        (b"Bytes= 0-0 ", ByteRange(0, 1)),
    ],
)
def test_a_range_is_cut_to_the_object(header: bytes, expected: ByteRange) -> None:
    """First and last positions are inclusive on the wire; what lies beyond the end is left away."""
    assert requested_range(header, None, size=SIZE, etag="a") == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"bytes=",
        b"bytes=-",
        b"bytes=5-4",
        b"items=0-1",
        b"bytes=0-1,5-9",
        b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(5000)),
        b"bytes=" + b"9" * 5000 + b"-",
        b"bytes=0x0-5",
        b"bytes=\xb2-5",
    ],
)
def test_what_is_not_one_valid_range_is_ignored(header: bytes | None) -> None:
    """The whole object answers malformed ranges, other units, and any number of ranges at once."""
    assert requested_range(header, None, size=SIZE, etag="a") is None


@pytest.mark.parametrize(
    "header", [b"bytes=1000-", b"bytes=1000-2000", b"bytes=-0", b"bytes=9999999999999999999-"]
)
def test_a_range_beyond_the_end_cannot_be_satisfied(header: bytes) -> None:
    """A well-formed range that holds no byte of the object is refused."""
    with pytest.raises(NotSatisfiable):
        requested_range(header, None, size=SIZE, etag="a")


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        (b'"a"', True),
        (b' "a" ', True),
        (b'"b"', False),
        (b'W/"a"', False),
        (b"Fri, 20 Nov 2026 22:30:00 GMT", False),
    ],
)
def test_a_range_applies_only_to_the_version_that_the_client_has(condition: bytes, applies: bool) -> None:
    """``If-Range`` compares strongly; a date names no version here."""
    found = requested_range(b"bytes=0-0", condition, size=SIZE, etag="a")
    assert (found is not None) == applies


@given(st.binary(max_size=80), st.integers(0, 10**6))
def test_a_range_always_lies_within_the_object(header: bytes, size: int) -> None:
    """Whatever arrives, what is sent is a part of the object, never an empty one."""
    try:
        found = requested_range(b"bytes=" + header, None, size=size, etag="a")
    except NotSatisfiable:
        return
    assert found is None or 0 <= found.start < found.end <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        (b'"a"', True),
        (b'W/"a"', True),
        (b'"x", "a"', True),
        (b"*", True),
        (b'"b"', False),
        (b"a", False),
        (b'"a",' * 5000, False),
    ],
)
def test_a_copy_that_is_current_needs_no_body(header: bytes | None, expected: bool) -> None:
    """Any tag in the list may be the current one; a list of absurd length is not searched."""
    assert not_modified(header, "a") is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        (b"gzip, deflate, br", True),
        (b"br;q=1.0, GZIP;q=0.5", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"gzip; q=0.001", True),
        (b"identity", False),
        (b"gzipped", False),
    ],
)
def test_compression_is_what_the_client_accepts(header: bytes | None, expected: bool) -> None:
    """A weight of zero is a refusal."""
    assert accepts_gzip(header) is expected
