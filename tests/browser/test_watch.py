import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from penstock.client import Client
from penstock.faults import Point
from tests.cluster.conftest import Starter
from tests.cluster.running import PATIENCE, Platform, eventually

pytestmark = [
    pytest.mark.needs_chromium,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("browser"),  # one browser serves all tests of this file
]

# Notes what the media element goes through, from before the page's own script: where it plays and jumps, and each state
# that the overlay showed meanwhile.
_WITNESS = """
window.seen = {times: [], jumps: [], states: [], messages: []};
document.addEventListener("DOMContentLoaded", () => {
  const media = document.getElementById("video");
  const text = (id) => document.getElementById(id).textContent;
  media.muted = true;
  media.addEventListener("timeupdate", () => { seen.times.push(media.currentTime); seen.states.push(text("stat-state")); });
  media.addEventListener("seeking", () => seen.jumps.push(media.currentTime));
  new MutationObserver(() => seen.messages.push(text("message"))).observe(
    document.getElementById("message"), {childList: true, characterData: true, subtree: true});
});
"""


_STATE = """(media => ({
  position: media.currentTime, duration: media.duration, paused: media.paused, ready: media.readyState,
  buffered: Array.from(media.buffered, (_, i) => [media.buffered.start(i), media.buffered.end(i)]),
  error: media.error && media.error.message,
  says: document.getElementById("message").textContent, shows: document.getElementById("overlay").textContent,
}))(document.getElementById("video"))"""


# Seconds that encoding and playing a clip may take on a machine that is busy with other tests; alone it takes some ten.
_LONG = 400.0


def until(page: Page, expression: str, patience: float = PATIENCE) -> Any:
    """Waits until a JavaScript expression about the page is true; gives its value."""
    try:
        return eventually(lambda: page.evaluate(expression), expression, patience)
    except AssertionError as failure:
        raise AssertionError(f"{failure}; the page: {page.evaluate(_STATE)}") from None


def play(page: Page, rate: float) -> None:
    """Presses play, at a multiple of the speed."""
    page.evaluate(
        "rate => { const media = document.getElementById('video'); media.playbackRate = rate; media.play(); }",
        rate,
    )


def overlay(page: Page) -> dict[str, str]:
    """What the statistics say."""
    names = ("state", "rung", "buffer", "node")
    return {name: page.locator(f"#stat-{name}").text_content() or "" for name in names}


def ready(client: Client, clip: Path, visibility: str = "unlisted") -> str:
    """A video that is completely processed."""
    video_id = client.upload(clip, visibility=visibility, allow_duplicate=True).id
    assert client.wait(video_id).state == "ready"
    return video_id


def test_a_video_plays_from_zero_to_its_end_while_it_is_processed(
    platform: Platform,
    client: Client,
    page: Page,
    complaints: list[str],
    looped: Callable[[float], Path],
    orders: Path,
) -> None:
    """From 0, without a jump, on a playlist that grows under it; before that the page says what it waits for."""
    clip = looped(30)
    # However fast the machine encodes, the video is not complete before somebody plays it.
    orders.joinpath(Point.FREEZE_CHECKED).write_text("hold\n")
    opened = client.connection.json(
        "POST",
        "/api/uploads/initiate",
        body={
            "filename": "clip.mp4",
            "title": "A clip on its way",
            "visibility": "unlisted",
            "size": clip.stat().st_size,
            "transport": "put",
        },
    )
    page.add_init_script(_WITNESS)
    page.goto(f"{platform.url}/watch/{opened['video_id']}")
    until(page, "document.getElementById('message').textContent.includes('not complete yet')")
    assert page.title().startswith("A clip on its way")

    httpx.put(
        str(httpx.URL(platform.url).join(opened["url"])), content=clip.read_bytes(), timeout=60
    ).raise_for_status()
    client.connection.json("POST", "/api/uploads/complete", body={"upload_id": opened["upload_id"]})
    until(page, "document.getElementById('video').readyState >= 2")
    assert page.evaluate("document.getElementById('video').currentTime") == 0
    play(page, 4)
    until(page, "seen.times.length > 3")
    assert re.fullmatch(r"\d+p \(\d+.\d+\), \d+ kbit/s", overlay(page)["rung"])
    assert re.fullmatch(r"\d+\.\d s", overlay(page)["buffer"])
    assert overlay(page)["node"]
    held = f"{Point.FREEZE_CHECKED}.taken-by-*"
    eventually(lambda: list(orders.glob(held)), "all is encoded, and the end waits", _LONG)[0].unlink()

    until(page, "document.getElementById('video').ended", _LONG)
    seen = page.evaluate("seen")
    end, duration = page.evaluate("(v => [v.currentTime, v.duration])(document.getElementById('video'))")
    played = page.evaluate("(r => [r.length, r.start(0)])(document.getElementById('video').played)")
    assert seen["states"][0] == "processing"
    until(page, "document.getElementById('stat-state').textContent === 'ready'")
    assert played == [1, 0]
    assert seen["times"] == sorted(seen["times"])
    assert seen["jumps"] == []
    assert end == pytest.approx(duration, abs=0.05)
    assert duration == pytest.approx(30, abs=0.2)
    frames = page.evaluate("document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames")
    assert frames > 0.9 * 30 * 24
    assert complaints == []
    told = [
        line["cmcd"]
        for line in platform.log("segment_served", video_id=opened["video_id"])
        if line.get("cmcd")
    ]
    assert any("bl" in player for player in told)


def test_a_private_video_needs_its_link(
    platform: Platform, client: Client, page: Page, looped: Callable[[float], Path]
) -> None:
    """Its bare address says that there is nothing; the link that its owner has plays it to the end."""
    video_id = ready(client, looped(5), "private")
    page.goto(f"{platform.url}/watch/{video_id}")
    until(page, "document.getElementById('message').textContent.startsWith('There is no such video')")
    link = client.video(video_id).watch_url
    assert link is not None
    page.goto(link)
    until(page, "document.getElementById('video').readyState >= 2")
    play(page, 2)
    until(page, "document.getElementById('video').ended")


def test_playback_goes_on_over_expired_addresses_and_a_server_that_restarts(
    start: Starter, page: Page, looped: Callable[[float], Path]
) -> None:
    """Addresses that live five seconds and a web process that is killed: nobody notices, and the log tells one viewing."""
    platform = start({"ACCESS_TOKEN_LIFE_CEILING": "5", "PLAN_MAX_RUNG": "240"})
    with platform.client() as client:
        video_id = ready(client, looped(60))
    page.add_init_script(_WITNESS)
    page.goto(f"{platform.url}/watch/{video_id}")
    until(page, "document.getElementById('video').readyState >= 2")
    platform.kill("web")
    # The player holds half a minute ahead: what it fetches ends after seven seconds, and the first address expires before.
    play(page, 4)
    platform.wait_restarted("web", 2)
    until(page, "document.getElementById('video').ended", _LONG)
    seen = page.evaluate("seen")
    assert page.evaluate("document.getElementById('video').currentTime") == pytest.approx(60, abs=0.2)
    # After a long outage another player takes over, which stands at 0 for an instant before it is put in its place.
    played = [at for at in seen["times"] if at > 0]
    assert played == sorted(played)
    assert platform.log("playback_refused", code="token_expired")
    assert len({line["session_id"] for line in platform.log("segment_served")}) == 1


def test_the_page_is_used_by_keyboard_alone(
    platform: Platform, client: Client, page: Page, looped: Callable[[float], Path]
) -> None:
    """Play, quality and statistics are reached with Tab and work with keys, and each says what it is."""
    video_id = ready(client, looped(5))
    page.goto(f"{platform.url}/watch/{video_id}")
    until(page, "document.getElementById('video').readyState >= 2")
    until(page, "!document.getElementById('quality').disabled")
    page.locator("#video").focus()
    page.keyboard.press("Space")
    until(page, "!document.getElementById('video').paused")

    until(page, "document.getElementById('quality').options.length > 1")
    quality = page.get_by_label("Quality")
    quality.focus()
    page.keyboard.press("ArrowDown")
    lowest = page.evaluate("document.getElementById('quality').selectedOptions[0].text")
    assert re.fullmatch(r"\d+p", lowest)

    button = page.get_by_role("button", name="Statistics")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert not page.locator("#overlay").is_visible()
