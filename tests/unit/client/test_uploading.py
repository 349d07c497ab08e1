import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from penstock.client import Client, ClientError
from penstock.client.connection import Patience
from tests.unit.client.scripted import Answer, Server, answer, hang_up

CONTENT = bytes(range(256)) * 20_000  # more than goes into one request
PART = 2 * 1024 * 1024
PARTS = [
    {
        "number": n + 1,
        "offset": n * PART,
        "size": min(PART, len(CONTENT) - n * PART),
        "url": f"/parts/{n + 1}?signature=s{n}",
    }
    for n in range(3)
]
INITIATED = {"upload_id": "u", "video_id": "v", "duplicate": False, "part_size": PART, "parts": PARTS[:1]}
DONE = {"id": "v", "state": "uploaded", "duplicate": False, "size": len(CONTENT), "sha256": None}
EXPIRED = {"detail": "The signed URL has expired.", "code": "signature_expired"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of three parts."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that follows a script."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of it, in haste."""
    with Client(
        server.url, api_key="pst_key", patience=Patience(tries=4, first=0.01, longest=0.02)
    ) as client:
        yield client


def bodies(server: Server, prefix: str) -> list[bytes]:
    """What was sent to paths that begin so."""
    return [body for _, path, _, body in server.seen if path.startswith(prefix)]


def test_a_file_arrives_in_parts_with_its_digest_announced(
    server: Server, client: Client, file: Path
) -> None:
    """Digest and size go first, so that bytes which are there already need not be sent; then every part, then the end."""
    server.script += [
        answer(201, {**INITIATED, "parts": PARTS}),
        *[answer(200, {}, etag='"t"')] * 3,
        answer(200, DONE),
    ]
    steps: list[tuple[str, int]] = []
    uploaded = client.upload(file, title="A clip", progress=lambda stage, done: steps.append((stage, done)))
    assert uploaded.id == "v"
    announced = json.loads(bodies(server, "/api/uploads/initiate")[0])
    assert announced == {
        "filename": "clip.mp4",
        "size": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "transport": "direct",
        "title": "A clip",
    }
    assert b"".join(b"".join(bodies(server, f"/parts/{n}")) for n in (1, 2, 3)) == CONTENT
    assert json.loads(bodies(server, "/api/uploads/complete")[0]) == {
        "upload_id": "u",
        "parts": [{"number": n, "etag": "t"} for n in (1, 2, 3)],
    }
    assert max(done for stage, done in steps if stage == "send") == len(CONTENT)


@pytest.mark.parametrize("trouble", [hang_up, answer(503, {"detail": "x", "code": "unavailable"})])
def test_a_part_that_breaks_is_sent_again_alone(
    server: Server, client: Client, file: Path, trouble: Answer
) -> None:
    """Where to go on is asked, the other parts are not repeated, and the progress ends at the file's size."""
    server.script += [
        answer(201, INITIATED),
        trouble,
        answer(200, {"part_size": PART, "received": [], "missing": PARTS[:1]}),
        answer(200, {}),
        answer(200, DONE),
    ]
    steps: list[int] = []
    client.upload(file, progress=lambda stage, done: steps.append(done) if stage == "send" else None)
    assert [len(body) for body in bodies(server, "/parts/1")] == [PART, PART]
    assert steps[-1] == len(CONTENT)


def test_a_part_whose_answer_was_lost_is_not_sent_again(server: Server, client: Client, file: Path) -> None:
    """The server says that it is there, and which tag it has."""
    there = {"part_size": PART, "received": [{"number": 1, "etag": "t"}], "missing": []}
    server.script += [answer(201, INITIATED), hang_up, answer(200, there), answer(200, DONE)]
    client.upload(file)
    assert len(bodies(server, "/parts/1")) == 1
    completed = json.loads(bodies(server, "/api/uploads/complete")[0])
    assert completed["parts"] == [{"number": 1, "etag": "t"}]


def test_an_address_that_expired_on_the_way_is_renewed(server: Server, client: Client, file: Path) -> None:
    """A slow line outlives the signatures that it began with."""
    fresh = {"part_size": PART, "received": [], "missing": [{**PARTS[0], "url": "/parts/1?signature=fresh"}]}
    server.script += [
        answer(201, INITIATED),
        answer(403, EXPIRED),
        answer(200, fresh),
        answer(200, {}),
        answer(200, DONE),
    ]
    client.upload(file)
    assert [path for _, path, _, _ in server.seen if path.startswith("/parts/")] == [
        "/parts/1?signature=s0",
        "/parts/1?signature=fresh",
    ]


def test_an_address_that_is_refused_again_is_an_error(server: Server, client: Client, file: Path) -> None:
    """Renewing for ever would hide a clock that is wrong."""
    fresh = {"part_size": PART, "received": [], "missing": PARTS[:1]}
    server.script += [answer(201, INITIATED), answer(403, EXPIRED), answer(200, fresh), answer(403, EXPIRED)]
    with pytest.raises(ClientError, match="expired"):
        client.upload(file)


def test_a_small_file_is_one_request(server: Server, client: Client, tmp_path: Path) -> None:
    """Repeated after a lost answer under the same idempotency key: it makes no second video."""
    small = tmp_path / "small.mp4"
    small.write_bytes(b"small")
    digest = hashlib.sha256(b"small").hexdigest()
    server.script += [hang_up, answer(201, {**DONE, "size": 5, "sha256": digest})]
    assert client.upload(small, title="A clip").sha256 == digest
    paths, keys, sent = zip(
        *[(path, headers["idempotency-key"], body) for _, path, headers, body in server.seen], strict=True
    )
    assert paths[0] == paths[1] == f"/api/uploads?filename=small.mp4&sha256={digest}&title=A+clip"
    assert keys[0] == keys[1]
    assert sent == (b"small", b"small")


def test_what_arrived_is_compared_with_what_was_read(server: Server, client: Client, file: Path) -> None:
    """A server that keeps other bytes is found out, and the error names the video."""
    server.script += [answer(201, INITIATED), answer(200, {}), answer(200, {**DONE, "sha256": "0" * 64})]
    with pytest.raises(ClientError, match="Video v is not what was read") as refusal:
        client.upload(file)
    assert refusal.value.code == "digest_differs"


def test_a_file_that_was_changed_under_way_is_told_so(server: Server, client: Client, file: Path) -> None:
    """The server refuses the digest; the open upload is given up and the remedy is to run again."""

    def change(handler: Any) -> None:
        file.write_bytes(CONTENT + b"more")
        answer(200, {})(handler)

    wrong = {"detail": "The SHA-256 differs.", "code": "wrong_digest"}
    server.script += [answer(201, INITIATED), change, answer(422, wrong), answer(204, b"")]
    with pytest.raises(ClientError, match="was changed while it was sent") as refusal:
        client.upload(file)
    assert refusal.value.code == "file_changed"
    assert server.seen[-1][:2] == ("DELETE", "/api/uploads/u")


def test_bytes_that_are_there_already_are_not_sent(server: Server, client: Client, file: Path) -> None:
    """The server knows the digest; the answer names the video that has it."""
    server.script.append(answer(200, {"upload_id": None, "video_id": "old", "duplicate": True}))
    uploaded = client.upload(file)
    assert (uploaded.id, uploaded.duplicate, len(server.seen)) == ("old", True, 1)


def test_a_file_that_cannot_be_read_is_told_before_anything_is_sent(
    server: Server, client: Client, tmp_path: Path
) -> None:
    """The error names the file."""
    with pytest.raises(ClientError, match=r"nowhere\.mp4 cannot be read") as refusal:
        client.upload(tmp_path / "nowhere.mp4")
    assert (refusal.value.code, server.seen) == ("file_unreadable", [])


@pytest.mark.parametrize("small", [True, False])
def test_a_name_that_is_no_plain_text_is_told_as_well_as_can_be(
    server: Server, client: Client, tmp_path: Path, small: bool
) -> None:
    """File systems take line breaks and bytes of other encodings; a file called so is a file like any other."""
    path = tmp_path / "a\nb\udcff.mp4"
    path.write_bytes(CONTENT[:1000] if small else CONTENT)
    server.script.append(answer(400, EXPIRED))
    with pytest.raises(ClientError):
        client.upload(path)
    (_, asked, _, body) = server.seen[-1]
    told = parse_qs(urlsplit(asked).query)["filename"] if small else [json.loads(body)["filename"]]
    assert told == ["a\ufffdb\ufffd.mp4"]


def test_what_is_no_file_is_refused_at_once(client: Client, tmp_path: Path) -> None:
    """A pipe would keep the client for ever, and a device has no end."""
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero")):
        with pytest.raises(ClientError) as refused:
            client.upload(path)
        assert refused.value.code == "file_unreadable"
