"""The service killed at every step of an upload into a bucket, by tus and by direct parts; then every byte must be as it was sent."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from penstock.faults import Point
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from penstock.video import keys
from tests.cluster.running import eventually
from tests.cluster.walking import Walk, make_clip
from tests.servers import s3
from tests.servers.s3 import KEY, SECRET, S3Server

MIB = 1024 * 1024
PART = 5 * MIB  # what a bucket wants of each part but the last
# A PATCH that ends within a part, one that ends within the next, and the rest: parts and tails, new and overtaken.
PIECES = (PART + 1000, PART, MIB)
RESUMABLE = {"tus-resumable": "1.0.0"}
BYTES = {**RESUMABLE, "content-type": "application/offset+octet-stream"}

BUCKET = [point for point in Point if point.startswith("bucket.")]
UPLOAD = [point for point in Point if point.startswith("upload.")]
BY_PARTS = {  # which points an upload comes by whose parts go to the bucket without the service
    *(Point.UPLOAD_STAGED, Point.UPLOAD_OPENED, Point.UPLOAD_ADOPTED, Point.UPLOAD_COMPLETING),
    *(Point.UPLOAD_ACKNOWLEDGED, Point.UPLOAD_RUNG, Point.UPLOAD_TIDIED),
    *(Point.BUCKET_BEGUN, Point.BUCKET_JOINING, Point.BUCKET_JOINED),
}
# Those between two things of which only one was done; `make soak` walks all of them on both servers, and with the machine.
SERVERS = ["ministack"]
TUS = [Point.BUCKET_SENT, Point.BUCKET_JOINED]
DIRECT = [Point.BUCKET_JOINED]
TOGETHER = [False]
pytestmark = pytest.mark.timeout(1800)  # as the walk through a folder

if os.environ.get("WALK") == "whole":
    SERVERS = list(s3.KINDS)
    TUS = [*UPLOAD, *BUCKET]
    DIRECT = [point for point in TUS if point in BY_PARTS]
    TOGETHER = [False, True]


@dataclass(frozen=True, slots=True)
class Sent:
    """What was acknowledged, and what its bytes are."""

    video_id: str
    content: bytes


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """Each of the servers in turn."""
    with s3.running(request.param) as running:
        yield running


@pytest.fixture
def storage(server: S3Server) -> str:
    """Where objects are kept."""
    return f"s3://{server.bucket()}/videos"


@pytest.fixture
def walk(tmp_path: Path, server: S3Server, storage: str) -> Iterator[Walk]:
    """A platform that takes orders, with nothing in a folder."""
    make_clip(tmp_path / "clip.mp4")
    access = {"ENDPOINT": server.endpoint, "ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}
    settings = {f"{room}_{name}": value for room in ("SOURCES", "OUTPUTS") for name, value in access.items()}
    settings |= {"STORAGE": storage, "UPLOAD_LET_GO_S": "1"}  # a killed writer is waited for so long
    made = Walk(tmp_path, (tmp_path / "clip.mp4").read_bytes(), settings)
    try:
        made.start()
        yield made
    finally:
        made.platform.close()


def by_tus(walk: Walk, kill: Callable[[], None]) -> Sent:
    """What every client of tus does: create, send, and ask where it stands whenever an answer does not come."""
    content = walk.another_clip(sum(PIECES) - MIB // 2)
    described = {"upload-length": str(len(content)), "upload-metadata": "filename Y2xpcC5tcDQ="}
    kill()

    def created() -> httpx.Response | None:
        return walk.try_once("POST", "/api/uploads/tus/", headers={**RESUMABLE, **described})

    path = httpx.URL(eventually(created, "an upload is created").headers["location"]).path
    ends = [sum(PIECES[: number + 1]) for number in range(len(PIECES))]

    def ended() -> str | None:
        stands = walk.try_once("HEAD", path, headers=RESUMABLE)
        if stands is None or stands.status_code == 423:
            return None
        assert stands.status_code == 200, stands.headers
        offset = int(stands.headers["upload-offset"])
        if offset == len(content):
            return str(stands.headers["penstock-video-id"])
        piece = content[offset : next(end for end in ends if end > offset)]
        answer = walk.try_once("PATCH", path, headers={**BYTES, "upload-offset": str(offset)}, content=piece)
        assert answer is None or answer.status_code in {204, 423}, answer.text
        return None

    return Sent(eventually(ended, "every byte is there"), content)


def by_parts(walk: Walk, kill: Callable[[], None]) -> Sent:
    """What a client does whose parts go to the bucket's own addresses."""
    content = walk.another_clip(PART)
    kill()
    body = {"filename": "clip.mp4", "size": len(content), "transport": "direct"}
    session = walk.ask("POST", "/api/uploads/initiate", 201, json=body)
    for part in session["parts"]:
        piece = content[part["offset"] :][: part["size"]]
        assert httpx.put(part["url"], content=piece, timeout=60).status_code == 200
    complete = {"upload_id": session["upload_id"]}
    return Sent(walk.ask("POST", "/api/uploads/complete", 200, json=complete)["id"], content)


def verify(walk: Walk, sources: S3Store, sent: list[Sent]) -> None:
    """Each is one ready video of these bytes by the bucket's word and the record's, and records and bucket agree."""
    for each in sent:
        walk.await_state(each.video_id, "ready")
        (source,) = [info.key for info in sources.list(keys.video_prefix(each.video_id))]
        assert hashlib.sha256(sources.get(source)).digest() == hashlib.sha256(each.content).digest()
        history = walk.ask("GET", f"/api/status/{each.video_id}/events", 200)["items"]
        assert [line["event"] for line in history].count("upload_completed") == 1
    assert walk.faults() == []


@pytest.mark.parametrize(
    "everything", TOGETHER, ids=lambda everything: "machine" if everything else "process"
)
def test_killed_at_any_point_of_an_upload_into_a_bucket(
    walk: Walk, server: S3Server, storage: str, *, everything: bool
) -> None:
    """Whatever the client asks again goes on where it was; what was acknowledged is there, once, byte by byte."""
    sent = []
    for story, points in ((by_tus, TUS), (by_parts, DIRECT)):
        for point in points:
            sent.append(story(walk, lambda point=point: walk.order_kill(point, everything=everything)))  # type: ignore[misc]
            assert walk.carried_out(point), f"nobody came to {point}"
            walk.orders.joinpath(f"{point}.taken-by-{walk.taken_by(point)}").unlink()
    assert set(BUCKET) <= walk.passed()
    verify(walk, S3Store(server.config(f"{storage}/sources"), Pace.WORK), sent)
