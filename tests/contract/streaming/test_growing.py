"""A video that is watched while it is still being encoded, from its first segment to its end."""

from collections.abc import Callable
from dataclasses import replace

import httpx
import m3u8
import pytest
from mpegdash.parser import MPEGDASHParser

from penstock.video.timeline import Timeline, TimelineState
from tests.contract.streaming.stage import Stage, content, filled, until
from tests.unit.manifests import timelines as make


@pytest.fixture
def growth(stage: Stage) -> list[Timeline]:
    """The versions of a new video whose objects are all stored; none is published yet."""
    audio = make.audio(0, durations=[188 * make.AAC_FRAME] * 8, default=True)
    return make.growth(filled(stage, [make.video(0, count=8), make.video(1, count=8), audio]), 4)


def settled(ask: Callable[[], str], wanted: Callable[[str], bool]) -> str:
    """Asks until the text is as wanted; the package's own patience applies."""
    found = ""

    def answer() -> httpx.Response:
        nonlocal found
        found = ask()
        return httpx.Response(200 if wanted(found) else 425, text=found)

    until(answer, 200)
    return found


def test_playlists_grow_and_end_together(client: httpx.Client, stage: Stage, growth: list[Timeline]) -> None:
    """Each reload begins with what was there; the end comes to every playlist; the multivariant one stays."""
    first = growth[0]
    stage.publish(first)
    names = ("240p", "360p", "audio-0")
    paths = {name: stage.path(first, f"{name}/index.m3u8") for name in names}
    master = client.get(stage.path(first, "master.m3u8"))
    assert master.headers["cache-control"] == "public, max-age=1"
    before = {name: client.get(path).text for name, path in paths.items()}
    for version in growth[1:-1]:
        stage.publish(version)
        for name, path in paths.items():
            track = version.track(name)
            assert track is not None
            count = len(track.segments)
            after = settled(
                lambda path=path: client.get(path).text,  # type: ignore[misc]
                lambda text, count=count: text.count("#EXTINF") == count,  # type: ignore[misc]
            )
            assert after.startswith(before[name])
            assert "#EXT-X-ENDLIST" not in after
            before[name] = after
        assert client.get(stage.path(first, "master.m3u8")).text == master.text
    stage.publish(growth[-1])
    for path in paths.values():
        last = settled(lambda path=path: client.get(path).text, lambda text: "ENDLIST" in text)  # type: ignore[misc]
        assert m3u8.loads(last).playlist_type == "vod"
        assert last.count("#EXTINF") == 8
    assert client.get(paths["240p"]).headers["cache-control"] == "public, max-age=60"


def test_dash_turns_from_dynamic_to_static(
    client: httpx.Client, stage: Stage, growth: list[Timeline]
) -> None:
    """It is live while it grows and has its length when it is complete."""
    stage.publish(growth[0])
    path = stage.path(growth[0], "manifest.mpd")
    assert MPEGDASHParser.parse(client.get(path).text).type == "dynamic"
    stage.publish(growth[-1])
    last = settled(lambda: client.get(path).text, lambda text: 'type="static"' in text)
    assert MPEGDASHParser.parse(last).media_presentation_duration == "PT32.085333S"


def test_a_segment_is_served_from_the_moment_of_its_publication(
    client: httpx.Client, stage: Stage, growth: list[Timeline]
) -> None:
    """A player that learned of it at another node finds it here at once: 404 is said only after another look."""
    stage.publish(growth[0])
    assert client.get(stage.path(growth[0], "240p/1.m4s")).status_code == 200
    for version in growth[1:-1]:
        number = len(version.tracks[0].segments)
        path = stage.path(version, f"240p/{number}.m4s")
        assert client.get(path).json()["code"] == "not_published"
        stage.publish(version)
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (200, content(stage, version, "240p", number))


def test_what_lies_in_the_store_but_is_not_published_is_not_served(
    client: httpx.Client, stage: Stage, growth: list[Timeline]
) -> None:
    """Publication is what the timeline says; an object alone is nothing."""
    stage.publish(growth[0])
    assert client.get(stage.path(growth[0], "240p/8.m4s")).status_code == 404
    assert client.get(stage.path(growth[0], "480p/1.m4s")).status_code == 404
    assert client.get(stage.path(growth[0], "poster.jpg")).status_code == 404


def test_a_poster_that_comes_later_is_found(client: httpx.Client, stage: Stage) -> None:
    """Images never hold publication back, so they may appear in any later version."""
    whole = filled(stage, [make.video(0)], files=["poster.jpg"])
    growing = replace(whole, state=TimelineState.GROWING)
    stage.publish(replace(growing, artefacts=()))
    path = stage.path(whole, "poster.jpg")
    assert client.get(path).status_code == 404
    stage.publish(replace(growing, version=2))
    assert client.get(path).status_code == 200


def test_two_nodes_give_the_same_answers(stage: Stage, growth: list[Timeline]) -> None:
    """Any node serves any request: same bytes, same tags, each with its own name."""
    stage.publish(growth[-1])
    with stage.node("east") as east, stage.node("west") as west:
        for name in ("master.m3u8", "manifest.mpd", "240p/index.m3u8", "240p/iframes.m3u8", "240p/3.m4s"):
            path = stage.path(growth[-1], name)
            first, second = httpx.get(east.base + path), httpx.get(west.base + path)
            assert first.status_code == second.status_code == 200
            assert first.content == second.content
            assert first.headers["etag"] == second.headers["etag"]
            assert (first.headers["penstock-node"], second.headers["penstock-node"]) == ("east", "west")
