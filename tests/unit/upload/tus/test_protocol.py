import base64
import hashlib

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from penstock.upload.tus import protocol
from penstock.upload.tus.protocol import HeaderInvalid, OffsetDiffers, Patch, Standing
from penstock.video.errors import InvalidRequest, TooLarge, UnsupportedMedia

MOST = 1000
NAMES = ["upload-length", "upload-defer-length", "upload-offset", "upload-metadata", "upload-checksum"]
NAMES += [
    "upload-concat",
    "content-type",
    "content-length",
    "transfer-encoding",
    "tus-resumable",
]
_VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40),
    st.sampled_from(["0", "1", "10", "999", "1000", "1001", "-1", "1.0.0", protocol.CONTENT_TYPE]),
    st.integers().map(str),
    st.binary(max_size=30).map(lambda data: f"sha1 {base64.b64encode(data).decode()}"),
    st.binary(max_size=30).map(lambda data: f"filename {base64.b64encode(data).decode()},x"),
)


@given(headers=st.dictionaries(st.sampled_from(NAMES), _VALUES))
def test_whatever_a_header_says_is_understood_or_refused(headers: dict[str, str]) -> None:
    """No header leads to anything but a value within the limits or a refusal that says which header is at fault."""
    try:
        made = protocol.creation(headers, max_size=MOST)
    except (HeaderInvalid, InvalidRequest, TooLarge, UnsupportedMedia):
        event("creation refused")
    else:
        assert made.length is None or 0 < made.length <= MOST
        assert all(key for key in made.metadata)
    try:
        asked = protocol.patch(headers, max_size=MOST)
    except (HeaderInvalid, InvalidRequest, TooLarge, UnsupportedMedia):
        event("bytes refused")
    else:
        assert asked.offset >= 0
        assert headers["content-type"].strip().lower() == protocol.CONTENT_TYPE


@given(
    offset=st.integers(0, MOST),
    length=st.none() | st.integers(1, MOST),
    asked=st.integers(0, MOST),
    said=st.none() | st.integers(1, MOST),
    announced=st.none() | st.integers(0, 2 * MOST),
)
def test_no_more_than_is_missing_is_let_in(
    offset: int, length: int | None, asked: int, said: int | None, announced: int | None
) -> None:
    """Bytes go where the upload stands, and never beyond its length, once it is said, or the limit."""
    if length is not None and offset > length:
        offset = length
    standing = Standing(offset, length)
    try:
        room = protocol.check_offset(Patch(asked, said), standing, announced, max_size=MOST)
    except OffsetDiffers:
        assert asked != offset
    except HeaderInvalid:
        assert said is not None
        assert said < offset or (length is not None and said != length)
    except (InvalidRequest, TooLarge):
        assert announced is not None
        assert announced > (length or said or MOST) - offset
    else:
        assert asked == offset
        assert offset + room == (length or said or MOST)
        assert announced is None or announced <= room
        assert protocol.settle_length(Patch(asked, said), standing) == (length or said)


@given(values=st.dictionaries(st.text("abcXYZ-_", min_size=1, max_size=9), st.text(max_size=30), max_size=5))
def test_metadata_comes_back_as_it_was_sent(values: dict[str, str]) -> None:
    """Any text, empty ones included."""
    pairs = [f"{key} {base64.b64encode(text.encode()).decode()}".strip() for key, text in values.items()]
    assert protocol.metadata(",".join(pairs)) == values


def test_what_is_offered_is_what_the_protocol_calls_it() -> None:
    """No extension is claimed that is not there."""
    offered = protocol.options(5)
    assert "concatenation" not in offered["tus-extension"]
    assert offered["tus-max-size"] == "5"
    assert offered["tus-version"] == "1.0.0"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_checksum_is_compared(algorithm: str) -> None:
    """Equal bytes pass in any division; others do not."""
    digest = base64.b64encode(hashlib.new(algorithm, b"one two").digest()).decode()
    headers = {
        "content-type": protocol.CONTENT_TYPE,
        "upload-offset": "0",
        "upload-checksum": f"{algorithm} {digest}",
    }
    checksum = protocol.patch(headers, max_size=9).checksum
    assert checksum is not None
    running = checksum.begin()
    running.update(b"one ")
    with pytest.raises(protocol.ChecksumDiffers):
        checksum.check(running)
    running.update(b"two")
    checksum.check(running)


def test_the_end_of_an_upload_is_told_in_http_s_own_form() -> None:
    """RFC 9110, section 5.6.7; one that is complete has no end."""
    assert (
        protocol.moved(Standing(1, 2, 784_111_777_000))["upload-expires"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    )
    assert "upload-expires" not in protocol.moved(Standing(2, 2))
