"""Objects over HTTP: whole, in ranges, conditionally, across origins, by many readers at once."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urlsplit

import httpx
import pytest

from penstock.video.timeline import Timeline
from tests.contract.streaming.stage import Node, Stage, content, filled
from tests.unit.manifests import timelines as make


@pytest.fixture(scope="package", params=["", "yes", "cached"], ids=["files", "elsewhere", "cached"])
def base(request: pytest.FixtureRequest, stage: Stage) -> Iterator[str]:
    """A node that sends the store's own files, and one whose store has none on this machine."""
    with stage.node(f"delivery-{request.param}", elsewhere=request.param) as node:
        yield node.base


@pytest.fixture
def client(base: str) -> Iterator[httpx.Client]:
    """An HTTP client of that node."""
    with httpx.Client(base_url=base, headers={"accept-encoding": "identity"}) as open_client:
        yield open_client


def test_a_whole_segment_comes_as_it_is_stored(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """Bytes, length, type, tag of the record, an age of a day and the name of the node."""
    track = film.tracks[1]
    answer = client.get(stage.path(film, "720p/2.m4s"))
    assert answer.status_code == 200
    assert answer.content == content(stage, film, "720p", 2)
    assert answer.headers["content-length"] == str(track.segments[1].size)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["etag"] == f'"{track.segments[1].etag}"'
    assert answer.headers["cache-control"] == "public, max-age=86400, immutable"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["penstock-node"].startswith("delivery-")


@pytest.mark.parametrize("size", [1, 131_071, 131_072, 131_073, 2_000_000])
def test_every_size_comes_whole(client: httpx.Client, stage: Stage, size: int) -> None:
    """Small objects and large ones are sent in different ways, which nobody sees, twice in a row neither."""
    timeline = filled(stage, [make.video(2, count=1, sizes=[size])])
    stage.publish(timeline)
    for _ in range(2):
        answer = client.get(stage.path(timeline, "480p/1.m4s"))
        assert answer.status_code == 200
        assert answer.content == content(stage, timeline, "480p", 1)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("240p/init.mp4", "video/mp4"), ("audio-0/init.mp4", "audio/mp4"), ("poster.jpg", "image/jpeg")],
)
def test_other_objects_are_sent_alike(
    client: httpx.Client, stage: Stage, film: Timeline, name: str, media_type: str
) -> None:
    """Init segments and files of the generation have their own type."""
    answer = client.get(stage.path(film, name))
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert name.rpartition("/")[2].encode() in answer.content


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-99", slice(0, 100)), ("bytes=1000-", slice(1000, None)), ("bytes=-77", slice(-77, None))],
)
def test_one_range_is_sent_alone(
    client: httpx.Client, stage: Stage, film: Timeline, header: str, part: slice
) -> None:
    """A player that scrubs fetches a keyframe and no more."""
    whole = content(stage, film, "720p", 2)
    answer = client.get(stage.path(film, "720p/2.m4s"), headers={"range": header})
    assert answer.status_code == 206
    assert answer.content == whole[part]
    start, end, _ = part.indices(len(whole))
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"


@pytest.mark.parametrize(
    "header", ["bytes=0-1,5-6", "bytes=" + ",".join("0-" for _ in range(2000)), "lines=1-2", "bytes=x"]
)
def test_several_ranges_are_answered_with_the_whole(
    client: httpx.Client, stage: Stage, film: Timeline, header: str
) -> None:
    """Thousands of ranges in one header cost what one request costs."""
    answer = client.get(stage.path(film, "240p/1.m4s"), headers={"range": header})
    assert (answer.status_code, len(answer.content)) == (200, film.tracks[0].segments[0].size)


def test_a_range_beyond_the_end_is_refused_with_the_length(
    client: httpx.Client, stage: Stage, film: Timeline
) -> None:
    """The client learns how long the object is."""
    size = film.tracks[0].segments[0].size
    answer = client.get(stage.path(film, "240p/1.m4s"), headers={"range": f"bytes={size}-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_a_range_of_another_version_is_the_whole(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """``If-Range`` keeps a client from joining parts of different objects."""
    path, etag = stage.path(film, "240p/1.m4s"), film.tracks[0].segments[0].etag
    assert client.get(path, headers={"range": "bytes=0-9", "if-range": f'"{etag}"'}).status_code == 206
    assert client.get(path, headers={"range": "bytes=0-9", "if-range": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name", ["240p/1.m4s", "master.m3u8", "240p/index.m3u8", "manifest.mpd", "poster.jpg"]
)
def test_head_is_get_without_the_body(client: httpx.Client, stage: Stage, film: Timeline, name: str) -> None:
    """Same status, same headers, no bytes."""
    path = stage.path(film, name)
    with_body, without = client.get(path), client.head(path)
    assert without.content == b""
    volatile = {"date"}
    assert {k: v for k, v in without.headers.items() if k not in volatile} == {
        k: v for k, v in with_body.headers.items() if k not in volatile
    }


def test_head_of_a_range_tells_the_range(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """A client may ask for the length of a part."""
    answer = client.head(stage.path(film, "240p/1.m4s"), headers={"range": "bytes=0-9"})
    assert (answer.status_code, answer.headers["content-length"]) == (206, "10")


@pytest.mark.parametrize("name", ["240p/1.m4s", "master.m3u8", "240p/index.m3u8"])
def test_a_copy_that_is_current_is_not_sent_again(
    client: httpx.Client, stage: Stage, film: Timeline, name: str
) -> None:
    """The tag of the answer is the condition of the next request; another tag gets the whole."""
    path = stage.path(film, name)
    first = client.get(path)
    again = client.get(path, headers={"if-none-match": f'"x", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert "cache-control" in again.headers
    assert client.get(path, headers={"if-none-match": '"x"'}).status_code == 200


def test_a_manifest_is_compressed_for_who_takes_that(client: httpx.Client, stage: Stage) -> None:
    """A long playlist is reloaded often; its compressed form is another representation with a tag of its own."""
    timeline = filled(stage, [make.video(0, count=300, sizes=[10] * 300)])
    stage.publish(timeline)
    path = stage.path(timeline, "240p/index.m3u8")
    plain = client.get(path)
    small = client.get(path, headers={"accept-encoding": "gzip"})
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < len(plain.content) / 4
    assert small.text == plain.text
    assert small.headers["etag"] != plain.headers["etag"]
    assert "Accept-Encoding" in small.headers["vary"]


def test_any_page_may_read_and_measure(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """Players on other sites see the answer, the headers that matter to them, and the timing; errors too."""
    for name, status in (("240p/1.m4s", 200), ("master.m3u8", 200), ("240p/99.m4s", 404)):
        answer = client.get(stage.path(film, name), headers={"origin": "https://example.org"})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["timing-allow-origin"] == "*"
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert all(header in exposed for header in ("penstock-node", "content-range", "etag"))


def test_a_preflight_allows_what_players_send(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """Ranges, conditions and the four CMCD headers; the answer may be kept for a day."""
    answer = client.options(
        stage.path(film, "240p/1.m4s"),
        headers={
            "origin": "https://example.org",
            "access-control-request-method": "GET",
            "access-control-request-headers": "range,cmcd-request",
        },
    )
    assert answer.status_code == 204
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"range", "if-range", "cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"} <= set(allowed)
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-max-age"] == "86400"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed_here(client: httpx.Client, stage: Stage, film: Timeline, method: str) -> None:
    """The service reads; other methods are told which ones there are."""
    answer = client.request(method, stage.path(film, "240p/1.m4s"), content=b"x" * 1000)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_published_object_that_is_gone_or_damaged_is_not_sent(client: httpx.Client, stage: Stage) -> None:
    """A loss is told as an error with a code, never as other bytes under a good status."""
    timeline = filled(stage, [make.video(0)])
    stage.publish(timeline)
    track = timeline.tracks[0]
    stage.outputs.delete([track.key(track.segments[0])])
    answer = client.get(stage.path(timeline, "240p/1.m4s"))
    assert (answer.status_code, answer.json()["code"]) == (404, "object_missing")


@pytest.mark.parametrize("stored", [b"", b"short", bytes(100_001), bytes(300_000)])
def test_an_object_of_another_length_is_an_error(node: Node, stage: Stage, stored: bytes) -> None:
    """What is stored is compared with the record before a byte of it is sent."""
    timeline = filled(stage, [make.video(0)])
    stage.publish(timeline)
    track = timeline.tracks[0]
    stage.outputs.put(track.key(track.segments[0]), stored)
    answer = httpx.get(node.base + stage.path(timeline, "240p/1.m4s"))
    assert (answer.status_code, answer.json()["code"]) == (500, "object_damaged")
    assert node.lines("object_unusable", count=1)[-1]["code"] == "object_damaged"


def test_a_small_object_with_other_bytes_is_an_error_until_it_is_restored(node: Node, stage: Stage) -> None:
    """Of the right length and yet not what was published: told, and not remembered once the operator has put it right."""
    timeline = filled(stage, [make.video(0)])
    stage.publish(timeline)
    track = timeline.tracks[0]
    key, good = track.key(track.segments[0]), content(stage, timeline, track.name, 1)
    address = node.base + stage.path(timeline, "240p/1.m4s")
    stage.outputs.put(key, b"?" + good[1:])
    answer = httpx.get(address)
    assert (answer.status_code, answer.json()["code"]) == (500, "object_damaged")
    stage.outputs.put(key, good)
    assert httpx.get(address).content == good


def test_many_readers_at_once_get_each_their_own_bytes(base: str, stage: Stage, film: Timeline) -> None:
    """Three hundred readers of whole segments and ranges, mixed, over a hundred connections."""

    async def scenario() -> None:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=base, limits=limits, timeout=60) as client:

            async def read(index: int) -> None:
                track, number = film.tracks[index % 3], index % 5 + 1
                whole = content(stage, film, track.name, number)
                ranged = index % 4 == 0
                answer = await client.get(
                    stage.path(film, f"{track.name}/{number}.m4s"),
                    headers={"range": f"bytes={index}-{index + 5000}"} if ranged else {},
                )
                assert answer.content == (whole[index : index + 5001] if ranged else whole)

            await asyncio.gather(*(read(index) for index in range(300)))

    asyncio.run(scenario())


def test_a_reader_that_goes_away_in_the_middle_harms_nobody(base: str, stage: Stage) -> None:
    """Connections that break during a transfer leave the node serving."""
    timeline = filled(stage, [make.video(0, count=1, sizes=[20_000_000])])
    stage.publish(timeline)
    address = urlsplit(base)
    assert address.hostname
    for header in ("", "Range: bytes=1-\r\n"):
        for _ in range(5):
            with socket.create_connection((address.hostname, address.port or 0), timeout=30) as connection:
                path = stage.path(timeline, "240p/1.m4s")
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 20")
    answer = httpx.get(base + stage.path(timeline, "240p/1.m4s"), timeout=60)
    assert len(answer.content) == 20_000_000


def test_an_empty_object_is_sent_as_one(client: httpx.Client, stage: Stage) -> None:
    """A file of no bytes is a whole answer with none."""
    timeline = filled(stage, [make.video(0)], files=["poster.jpg"])
    empty = replace(timeline.artefacts[0], size=0, etag=sha256(b"").hexdigest()[:32])
    stage.outputs.put(empty.key, b"")
    stage.publish(replace(timeline, artefacts=(empty,)))
    answer = client.get(stage.path(timeline, "poster.jpg"))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_sound_alone_has_no_poster(client: httpx.Client, stage: Stage) -> None:
    """What no picture was made for answers with the code of everything that is not there, once and for all."""
    timeline = filled(stage, [make.audio(0, default=True)])
    stage.publish(timeline)
    assert client.get(stage.path(timeline, "master.m3u8")).status_code == 200
    answer = client.get(stage.path(timeline, "poster.jpg"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_published")
