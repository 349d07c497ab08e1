from collections.abc import AsyncIterator
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.upload.forms import Form, FormFile
from penstock.video.errors import PenstockError

BOUNDARY = "----penstock-x"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
CLOSING = f"--{BOUNDARY}--\r\n".encode()


def field(name: str, value: bytes) -> bytes:
    """One text field."""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def file(content: bytes, filename: str = "clip.mp4") -> bytes:
    """The file's part."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: video/mp4\r\n\r\n'
    return head.encode() + content + b"\r\n"


def parse(
    body: bytes, cuts: list[int] | None = None, content_type: str = CONTENT_TYPE
) -> tuple[FormFile, bytes]:
    """The form that arrives in pieces cut at ``cuts``."""
    edges = [0, *sorted(cuts or []), len(body)]

    async def pieces() -> AsyncIterator[bytes]:
        for start, end in pairwise(edges):
            if start < end:
                yield body[start:end]

    async def read() -> tuple[FormFile, bytes]:
        form = Form(content_type, pieces())
        found = await form.until_file()
        return found, b"".join([data async for data in form.content()])

    return anyio.run(read)


@given(
    content=st.binary(max_size=400)
    | st.lists(
        st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode()[:-1], b"x"])
    ).map(b"".join),
    data=st.data(),
)
def test_any_bytes_in_any_pieces(content: bytes, data: st.DataObject) -> None:
    """The file's bytes come through unchanged however the network cuts the body, boundary-like content included."""
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + content:
        return
    body = (
        field("title", "Ein schöner Tag".encode()) + field("visibility", b"public") + file(content) + CLOSING
    )
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12))
    found, received = parse(body, cuts)
    assert received == content
    assert found.fields == {"title": "Ein schöner Tag", "visibility": "public"}
    assert (found.filename, found.content_type) == ("clip.mp4", "video/mp4")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (field("title", b"x") + CLOSING, "file_missing"),
        (b"", "file_missing"),
        (file(b"x") + field("title", b"x") + CLOSING, "field_after_file"),
        (file(b"x") + file(b"y") + CLOSING, "field_after_file"),
        (file(b"x"), "form_malformed"),  # cut off before the end
        (b"not a form at all", "form_malformed"),
        (field("title", b"x" * 20_000) + file(b"x") + CLOSING, "form_malformed"),
        (field("title", b"\xff\xfe") + file(b"x") + CLOSING, "form_malformed"),
        (field("title", b"a") + field("title", b"b") + file(b"x") + CLOSING, "form_malformed"),
        (b"".join(field(f"f{n}", b"x") for n in range(30)) + file(b"x") + CLOSING, "form_malformed"),
        (f"--{BOUNDARY}\r\nX-Long: {'x' * 10_000}\r\n\r\n".encode(), "form_malformed"),
        (
            f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nnameless\r\n".encode() + CLOSING,
            "form_malformed",
        ),
    ],
)
def test_other_forms_are_refused(body: bytes, code: str) -> None:
    """What is not fields and then one file, within the limits, is refused by name."""
    with pytest.raises(PenstockError) as caught:
        parse(body)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 500}"],
)
def test_a_boundary_is_needed(content_type: str) -> None:
    """Without a usable boundary nothing can be told apart."""
    with pytest.raises(PenstockError):
        parse(file(b"x") + CLOSING, content_type=content_type)


@given(body=st.binary(max_size=300))
def test_arbitrary_bytes_end_in_a_refusal(body: bytes) -> None:
    """No body makes the parser fail in another way than by refusing it."""
    with pytest.raises(PenstockError):
        parse(f"--{BOUNDARY}\r\n".encode() + body)
