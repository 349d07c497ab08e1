"""What a viewing leaves behind: log lines that tell its story, counters, and the service's own description."""

from urllib.parse import quote

import httpx

from penstock.video.identity import new_id
from penstock.video.timeline import Timeline
from tests.contract.streaming.stage import Node, Stage


def test_a_viewing_can_be_told_from_the_log(
    client: httpx.Client, stage: Stage, film: Timeline, node: Node
) -> None:
    """Manifest, segments and refusals by session, each with what was asked and what was sent."""
    session = new_id()
    for name in ("master.m3u8", "240p/init.mp4", "240p/1.m4s", "240p/77.m4s", "poster.jpg"):
        client.get(stage.path(film, name, session_id=session))
    told = [
        (line["event"], line["rung"], line.get("name"), line.get("segment"), line["status"])
        for event, count in (
            ("manifest_served", 1),
            ("segment_served", 2),
            ("file_served", 1),
            ("playback_refused", 1),
        )
        for line in node.lines(event, session=session, count=count)
    ]
    assert told == [
        ("manifest_served", None, "master.m3u8", None, 200),
        ("segment_served", "240p", None, None, 200),
        ("segment_served", "240p", None, 1, 200),
        ("file_served", None, "poster.jpg", None, 200),
        ("playback_refused", "240p", "77.m4s", None, 404),
    ]
    line = next(line for line in node.lines("segment_served", session=session) if line["segment"])
    assert line["bytes"] == film.tracks[0].segments[0].size
    assert (line["video_id"], line["generation_id"]) == (film.video_id, film.generation_id)
    assert (line["node"], line["level"]) == ("north", "info")
    assert line["duration_ms"] >= 0


def test_a_rung_switch_is_told_with_the_players_reasons(
    client: httpx.Client, stage: Stage, film: Timeline, node: Node
) -> None:
    """From where, to where, and what the player knew: its throughput, its buffer, whether it starved."""
    session = new_id()
    for rung, number, said in (
        ("240p", 1, 'sid="p",mtp=900,bl=2000'),
        ("240p", 2, 'sid="p",mtp=5000,bl=6000'),
        ("720p", 3, 'sid="p",mtp=6100,bl=9000'),
        ("240p", 4, 'sid="p",mtp=700,bl=400,bs'),
    ):
        path = stage.path(film, f"{rung}/{number}.m4s", session_id=session)
        assert client.get(f"{path}?CMCD={quote(said)}").status_code == 200
    switches = node.lines("rung_switched", session=session, count=2)
    assert [
        (
            s["direction"],
            s["from_rung"],
            s["to_rung"],
            s["segment"],
            s["throughput_kbps"],
            s["buffer_ms"],
            s["starved"],
        )
        for s in switches
    ] == [("up", "240p", "720p", 3, 6100, 9000, False), ("down", "720p", "240p", 4, 700, 400, True)]
    served = node.lines("segment_served", session=session, count=4)
    assert served[0]["cmcd"] == {"sid": "p", "mtp": 900, "bl": 2000}


def test_scrubbing_through_keyframes_is_no_switch(
    client: httpx.Client, stage: Stage, film: Timeline, node: Node
) -> None:
    """Byte ranges of another rung's keyframes say nothing about what is being watched; nor does sound."""
    session = new_id()
    client.get(stage.path(film, "240p/1.m4s", session_id=session))
    client.get(stage.path(film, "720p/1.m4s", session_id=session), headers={"range": "bytes=0-999"})
    client.get(stage.path(film, "audio-0/1.m4s", session_id=session))
    client.head(stage.path(film, "720p/1.m4s", session_id=session))
    client.get(stage.path(film, "240p/2.m4s", session_id=session))
    assert len(node.lines("segment_served", session=session, count=5)) == 5
    assert not node.lines("rung_switched", session=session)


def test_hostile_client_data_is_logged_as_data_or_not_at_all(
    client: httpx.Client, stage: Stage, film: Timeline, node: Node
) -> None:
    """A line break in a report makes no line of its own."""
    session = new_id()
    said = quote('sid="a\n{\\"event\\": \\"forged\\"}",bl=1')
    assert client.get(stage.path(film, "240p/1.m4s", session_id=session) + f"?CMCD={said}").status_code == 200
    assert node.lines("segment_served", session=session, count=1)
    assert not node.lines("forged")


def test_the_service_tells_how_it_is(client: httpx.Client, stage: Stage, film: Timeline) -> None:
    """Alive, ready, counted: without any database."""
    client.get(stage.path(film, "240p/1.m4s"))
    assert client.get("/health").json() == {"status": "ok"}
    status = client.get("/status").json()
    assert (status["status"], [d["name"] for d in status["dependencies"]]) == ("ok", ["outputs"])
    metrics = client.get("/metrics").text
    assert 'penstock_stream_requests_total{kind="segment",status="200"}' in metrics
    assert 'penstock_stream_bytes_total{kind="segment"}' in metrics


def test_the_contract_document_lists_the_playback_routes(client: httpx.Client) -> None:
    """What players fetch is described beside the rest, with the problem that refusals are."""
    document = client.get("/openapi.json").json()
    root = "/stream/{token}/{video_id}/{generation_id}/"
    assert {path.removeprefix(root) for path in document["paths"] if path.startswith(root)} == {
        "master.m3u8",
        "manifest.mpd",
        "{track}/index.m3u8",
        "{track}/iframes.m3u8",
        "{track}/init.mp4",
        "{track}/{number}.m4s",
        "{file}",
    }
    assert "Problem" in document["components"]["schemas"]
