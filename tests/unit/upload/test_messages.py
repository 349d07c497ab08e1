import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.upload.config import UploadConfig
from penstock.upload.messages import ClaimedPart, Complete, Described, Initiate
from penstock.web_api.config import WebConfig


@pytest.mark.parametrize(
    ("given_name", "kept", "title"),
    [
        ("holiday.mp4", "holiday.mp4", "holiday"),
        ("/home/olga/holiday.mp4", "holiday.mp4", "holiday"),
        ("C:\\Users\\olga\\holiday.tar.gz", "holiday.tar.gz", "holiday.tar"),
        ("../../etc/passwd", "passwd", "passwd"),
        (".mp4", ".mp4", ".mp4"),
        ("Ferien in Süd-Tirol.mov", "Ferien in Süd-Tirol.mov", "Ferien in Süd-Tirol"),
    ],
)
def test_a_file_s_name_is_its_last_part(given_name: str, kept: str, title: str) -> None:
    """Of a path only the name is kept, and without a title its stem is shown."""
    described = Described(filename=given_name)
    assert (described.filename, described.shown_title()) == (kept, title)


@given(filename=st.text(max_size=300), title=st.none() | st.text(max_size=300))
def test_accepted_text_can_be_stored(filename: str, title: str | None) -> None:
    """Whatever is accepted is short, one line, and text that any database can hold."""
    try:
        described = Described(filename=filename, title=title)
    except ValidationError:
        return
    for text in (described.filename, described.shown_title()):
        assert 0 < len(text) <= 255
        text.encode()
        assert not any(character in text for character in "\0\n\r\x1b\x7f\x85")
    assert "/" not in described.filename
    assert len(described.shown_title()) <= 200


def test_half_a_surrogate_pair_is_refused() -> None:
    """What JSON can spell and UTF-8 cannot is no name."""
    for text in ("a\ud800", "\udfff"):
        with pytest.raises(ValidationError):
            Described(filename=text)
        with pytest.raises(ValidationError):
            Described(filename="a", title=text)


def test_digests_are_compared_in_lower_case() -> None:
    """Clients may spell hexadecimal as they like."""
    assert Described(filename="a", sha256="AB" * 32).sha256 == "ab" * 32
    with pytest.raises(ValidationError):
        Described(filename="a", sha256="zz" * 32)


def test_the_largest_completion_fits_a_request() -> None:
    """As many parts as an upload may have, each with its ETag, stay below the limit of a body that is read whole."""
    most = UploadConfig().most_parts
    parts = [ClaimedPart(number=number, etag="f" * 32) for number in range(1, most + 1)]
    body = Complete(upload_id="0" * 26, parts=parts)
    assert len(body.model_dump_json(indent=None)) < WebConfig("upload", "1", "here").json_body_limit
    with pytest.raises(ValidationError):
        Initiate(filename="a", size=1, transport="carrier")  # type: ignore[arg-type]  # what a client might send
