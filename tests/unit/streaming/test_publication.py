"""One timeline version as players ask for it."""

import asyncio
import gzip

import pytest

from penstock.manifests import hls
from penstock.streaming.publication import Publication, rung_height
from penstock.video.timeline import TimelineState
from tests.unit.manifests import timelines as make


def test_rungs_above_the_limit_are_in_no_manifest() -> None:
    """A viewer who may see 480p at most is not told of more, in HLS and DASH alike."""

    async def scenario() -> None:
        publication = Publication(make.timeline([*(make.video(rung) for rung in range(5)), make.audio()]))
        for name in ("master.m3u8", "manifest.mpd"):
            limited = await publication.manifest(None, name, 480)
            whole = await publication.manifest(None, name, None)
            assert limited is not None
            assert whole is not None
            assert b"480p" in limited.body
            assert b"audio-0" in limited.body
            assert b"720p" not in limited.body
            assert b"1080p" in whole.body
            assert limited.etag != whole.etag

    asyncio.run(scenario())


def test_a_manifest_is_rendered_once_for_all_who_ask() -> None:
    """However many ask at once, they get the very same document; its compressed form is the same text."""

    async def scenario() -> None:
        publication = Publication(make.timeline([make.video(count=300)]))
        documents = await asyncio.gather(
            *(publication.manifest("240p", "index.m3u8", None) for _ in range(20))
        )
        assert documents[0] is not None
        assert all(document is documents[0] for document in documents)
        assert documents[0].compressed is not None
        assert gzip.decompress(documents[0].compressed) == documents[0].body

    asyncio.run(scenario())


def test_a_manifest_that_could_not_be_rendered_is_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread could be started, say; who asks next is not told of it."""

    async def scenario() -> None:
        publication = Publication(make.timeline([make.video()]))
        with monkeypatch.context() as patched:
            patched.setattr(hls, "media", None)
            with pytest.raises(TypeError):
                await publication.manifest("240p", "index.m3u8", None)
        assert publication.rendered("240p", "index.m3u8", None) is None
        assert await publication.manifest("240p", "index.m3u8", None) is not None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("track", "name"),
    [
        (None, "index.m3u8"),
        (None, "captions-fr.m3u8"),
        ("240p", "master.m3u8"),
        ("240p", "manifest.mpd"),
        ("audio-0", "iframes.m3u8"),
        ("999p", "index.m3u8"),
    ],
)
def test_a_manifest_that_is_not_there_is_none(track: str | None, name: str) -> None:
    """Each kind of manifest belongs to the generation or to a track, and audio has no I-frames."""
    publication = Publication(make.timeline([make.video(), make.audio()], items=[make.captions("en")]))
    assert asyncio.run(publication.manifest(track, name, None)) is None


def test_items_are_the_records_of_the_timeline() -> None:
    """Keys, sizes and tags come from the record; nothing is made up from a name."""
    timeline = make.timeline([make.video(), make.audio()], items=[make.captions("en")])
    publication = Publication(timeline)
    video, audio = timeline.tracks
    item = publication.segment(video, 3)
    assert item is not None
    assert (item.key, item.size, item.etag) == ("v/t.1/240p/00000003.m4s", 100_000, f"{3:032x}")
    assert (item.media_type, item.rung) == ("video/mp4", 240)
    assert publication.segment(video, 6) is None
    assert publication.init(audio).media_type == "audio/mp4"
    assert publication.init(audio).rung is None
    captions = publication.file("captions-en.vtt")
    assert captions is not None
    assert captions.media_type == "text/vtt"
    assert publication.file("../240p/init.mp4") is None


def test_a_rung_is_called_by_its_name_not_by_its_pixels() -> None:
    """An upright 720p has 1280 lines and is 720p to a limit all the same."""
    assert rung_height(make.video(3)) == 720
    assert rung_height(make.audio()) is None


@pytest.mark.parametrize(
    ("state", "settled"), [("growing", False), ("frozen", True), ("deleted", True), ("failed", False)]
)
def test_only_what_nothing_can_be_added_to_is_settled(state: str, settled: bool) -> None:
    """A failed video may be retried, a growing one grows."""
    timeline = make.timeline([make.video()], state=TimelineState(state))
    assert Publication(timeline).settled is settled
