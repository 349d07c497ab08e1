"""Who may play: tokens, keys that rotate, limits, and paths that try something else."""

import time
from dataclasses import replace

import httpx
import m3u8
import pytest

from penstock.access.keyring import Keyring
from penstock.access.playback import PlaybackGrant, mint
from penstock.video.identity import new_id
from penstock.video.timeline import Timeline, TimelineState
from tests.contract.streaming.stage import Node, Stage, filled, until
from tests.unit.manifests import timelines as make

EVERYTHING = [
    "master.m3u8",
    "manifest.mpd",
    "240p/index.m3u8",
    "240p/iframes.m3u8",
    "240p/1.m4s",
    "240p/init.mp4",
]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem, which is never kept by a cache."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("name", EVERYTHING)
def test_an_expired_token_opens_nothing(
    client: httpx.Client, stage: Stage, film: Timeline, name: str
) -> None:
    """Manifests and segments alike."""
    assert refusal(client.get(stage.path(film, name, expires=time.time() - 1))) == (403, "token_expired")


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_token_of_another_video_opens_nothing(
    client: httpx.Client, stage: Stage, film: Timeline, name: str
) -> None:
    """A good token for one video or generation says nothing about another, whether that exists or not."""
    for other in (replace(film, video_id=new_id()), replace(film, generation_id=new_id())):
        path = f"/stream/{stage.token(other)}/{film.video_id}/{film.generation_id}/{name}"
        assert refusal(client.get(path)) == (403, "token_foreign")


def test_an_altered_token_opens_nothing(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """Each single character counts, and a token of absurd length is refused as cheaply."""
    token = stage.token(film)
    altered = [
        token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(0, len(token), 7)
    ]
    for attempt in (*altered, "x", "a" * 1500, "%00", token + "A", token[:-1]):
        answer = client.get(f"/stream/{attempt}/{film.video_id}/{film.generation_id}/master.m3u8")
        assert refusal(answer) == (403, "token_invalid")


def test_keys_rotate_without_a_gap(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """Tokens of the old key go on, tokens of the new key are good at a node that runs, without a restart."""
    old = stage.path(film, "240p/1.m4s")
    assert client.get(old).status_code == 200
    stage.keyring.rotate(activation_delay=0)
    new = stage.path(film, "240p/1.m4s")
    assert client.get(new).status_code == 200
    assert client.get(old).status_code == 200


def test_a_token_of_a_strange_key_opens_nothing(
    client: httpx.Client, film: Timeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another installation's tokens mean nothing here."""
    strange = Keyring(tmp_path_factory.mktemp("strange") / "keys.json")
    grant = PlaybackGrant(film.video_id, film.generation_id, new_id(), int(time.time()) + 3600)
    path = f"/stream/{mint(strange, grant)}/{film.video_id}/{film.generation_id}/master.m3u8"
    assert refusal(client.get(path)) == (403, "token_invalid")


def test_a_limited_token_shows_and_serves_no_higher_rung(
    client: httpx.Client, stage: Stage, film: Timeline
) -> None:
    """The manifests name what is permitted, and asking for more by hand is refused."""
    playlist = m3u8.loads(client.get(stage.path(film, "master.m3u8", max_height=480)).text)
    assert [variant.uri for variant in playlist.playlists] == ["240p/index.m3u8"]
    assert "720p" not in client.get(stage.path(film, "manifest.mpd", max_height=480)).text
    for name in ("720p/index.m3u8", "720p/iframes.m3u8", "720p/init.mp4", "720p/1.m4s"):
        assert refusal(client.get(stage.path(film, name, max_height=480))) == (403, "token_rung_refused")
    for name in ("240p/1.m4s", "audio-0/1.m4s"):
        assert client.get(stage.path(film, name, max_height=480)).status_code == 200


def test_a_limit_below_every_rung_permits_no_video(
    client: httpx.Client, stage: Stage, film: Timeline
) -> None:
    """A manifest without pictures would look like a fault; the refusal says what is the matter."""
    assert refusal(client.get(stage.path(film, "master.m3u8", max_height=144))) == (403, "token_rung_refused")


def test_a_token_for_one_site_plays_there_alone(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """The page's origin counts, as the browser tells it in one header or the other."""
    site = "https://example.org"
    path = stage.path(film, "240p/1.m4s", origin=site)
    there = client.get(path, headers={"origin": site})
    assert there.status_code == 200
    assert there.headers["access-control-allow-origin"] == site
    assert "Origin" in there.headers["vary"]
    assert client.get(path, headers={"referer": f"{site}/watch/1?a=b"}).status_code == 200
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"referer": f"{site}.evil.example/"},
        {},
    ):
        assert refusal(client.get(path, headers=headers)) == (403, "token_origin_refused")


@pytest.mark.parametrize(
    "tail",
    [
        "../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "240p/..%2f..%2fkeys.json",
        "240p/%2e%2e/%2e%2e/keys.json",
        "240p/..",
        "240p/1.m4s%00.jpg",
        "240p/1.m4s/",
        "240p//1.m4s",
        "240p/00000001.m4s",
        "240p/0.m4s",
        "240p/-1.m4s",
        "240p/99999999999999999999.m4s",
        "timeline/00000001.json",
        "240p/master.m3u8",
        "audio-0/iframes.m3u8",
        "poster.jpg%0d%0aX:1",
        "",
        "%ff%fe",
        "x" * 1500,
    ],
)
def test_a_path_that_names_nothing_finds_nothing(
    client: httpx.Client, stage: Stage, film: Timeline, tail: str
) -> None:
    """No part of a path becomes a file name, so there is nothing to climb out of."""
    url = httpx.URL(client.base_url).copy_with(raw_path=stage.path(film, tail).encode())
    answer = client.get(url)
    status, code = refusal(answer)
    assert (status, code) in {(404, "not_published"), (404, "route_not_found")}


@pytest.mark.parametrize("path", ["/stream", "/stream/", "/stream/a/b", "/streams/x", "/stream/a/b/c/d/e/f"])
def test_what_is_no_playback_address_is_told_so(client: httpx.Client, path: str) -> None:
    """Addresses of another form have no route."""
    assert refusal(client.get(path)) == (404, "route_not_found")


def test_a_refusal_tells_no_secrets(client: httpx.Client, stage: Stage, film: Timeline, node: Node) -> None:
    """Neither an answer nor the log holds keys of objects, folders of the machine, or the token."""
    path = stage.path(film, "240p/99.m4s")
    token = path.split("/")[2]
    text = client.get(path).text
    assert str(stage.root) not in text
    assert film.tracks[0].segments[0].prefix not in text
    assert token not in text
    assert token not in node.log.read_text()


def test_nothing_published_yet_is_not_ready(client: httpx.Client, stage: Stage) -> None:
    """A good token proves that the video exists; the player is told when to come back."""
    timeline = make.timeline([make.video(0)])
    timeline = replace(timeline, video_id=new_id(), generation_id=new_id())
    for name in EVERYTHING:
        answer = client.get(stage.path(timeline, name))
        assert refusal(answer) == (409, "video_not_ready")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("state", "expected"),
    [(TimelineState.DELETED, (404, "video_deleted")), (TimelineState.FAILED, (409, "video_failed"))],
)
def test_a_tombstone_ends_playback(
    client: httpx.Client, stage: Stage, state: TimelineState, expected: tuple[int, str]
) -> None:
    """Manifests and segments end alike, also for who is in the middle of watching."""
    timeline = replace(filled(stage, [make.video(0)]), state=TimelineState.GROWING)
    stage.publish(timeline)
    paths = [stage.path(timeline, name) for name in EVERYTHING]
    assert all(client.get(path).status_code == 200 for path in paths)
    stage.publish(replace(timeline, version=2, state=state, tracks=(), artefacts=()))
    for path in paths:
        assert refusal(until(lambda path=path: client.get(path), expected[0])) == expected  # type: ignore[misc]
