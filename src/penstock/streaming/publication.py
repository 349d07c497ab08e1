"""One timeline version as players ask for it: its parts by name, and its manifests, rendered once each.

It knows no requests and no store. What a token forbids is left out of the manifests here.
"""

import asyncio
import gzip
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import anyio.to_thread

from penstock.manifests import dash, hls, names
from penstock.video.timeline import Artefact, Timeline, TimelineState, Track, TrackKind

_SMALLEST_GZIP = 1024  # bytes; below it a packet is saved at best
_ITEMS_REMEMBERED = 1024  # of one version, about 400 bytes each: what many players fetch at the same moment


@dataclass(frozen=True, slots=True)
class Document:
    """A rendered manifest. ``etag`` is of the plain body."""

    body: bytes
    compressed: bytes | None  # gzip, where that is worth it
    etag: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Item:
    """One object that can be sent. ``rung`` is the height that the name of a video rung says, None for all else."""

    key: str
    size: int
    etag: str
    media_type: str
    rung: int | None = None


class Publication:
    """One version of a timeline, with what has been derived from it so far."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._tracks = {track.name: track for track in timeline.tracks}
        self._files = {item.name: item for item in (*timeline.artefacts, *timeline.captions)}
        self._views: dict[int | None, Timeline] = {None: timeline}
        self._documents: dict[tuple[str | None, str, int | None], asyncio.Task[Document]] = {}
        self._segments: dict[tuple[str, int], Item] = {}
        self.failed = timeline.state is TimelineState.FAILED
        self.deleted = timeline.state is TimelineState.DELETED
        # No later version can add anything; one that takes everything away may still come.
        self.settled = self.deleted or timeline.state is TimelineState.FROZEN

    @property
    def weight(self) -> int:
        """Segments it holds, the measure of its memory."""
        return 1 + sum(len(track.segments) for track in self.timeline.tracks)

    def file(self, name: str) -> Item | None:
        """A poster, captions or another file of the whole generation."""
        found = self._files.get(name)
        return None if found is None else _item(found, found.media_type, None)

    def track(self, name: str) -> Track | None:
        """The rung or audio track of this name."""
        return self._tracks.get(name)

    def init(self, track: Track) -> Item:
        """A track's init segment."""
        return _item(track.init, _media_type(track), rung_height(track))

    def segment(self, track: Track, number: int) -> Item | None:
        """A published segment of a track."""
        asked = (track.name, number)
        item = self._segments.get(asked)
        if item is None and (found := track.segment(number)) is not None:
            if len(self._segments) >= _ITEMS_REMEMBERED:
                self._segments.clear()
            item = Item(track.key(found), found.size, found.etag, _media_type(track), rung_height(track))
            self._segments[asked] = item
        return item

    async def manifest(self, track: str | None, name: str, max_height: int | None) -> Document | None:
        """The manifest of this name for a viewer with this limit, None where there is none."""
        render = self._renderer(track, name, max_height)
        if render is None:
            return None
        asked = (track, name, max_height)
        task = self._documents.get(asked)
        if task is None:
            # In a thread: the playlist of a ten-hour film takes tens of milliseconds, and others want their segments.
            task = asyncio.create_task(anyio.to_thread.run_sync(_document, render, _manifest_type(name)))
            self._documents[asked] = task
            task.add_done_callback(partial(self._rendered, asked))
        return await asyncio.shield(task)

    def rendered(self, track: str | None, name: str, max_height: int | None) -> Document | None:
        """As :meth:`manifest`, None where it has to be waited for."""
        task = self._documents.get((track, name, max_height))
        return task.result() if task is not None and task.done() else None

    def _rendered(self, asked: tuple[str | None, str, int | None], task: asyncio.Task[Document]) -> None:
        if task.cancelled() or task.exception() is not None:
            del self._documents[asked]  # and whoever asks next may have more luck

    def permitted(self, max_height: int | None) -> Timeline:
        """The timeline without the rungs above a height."""
        view = self._views.get(max_height)
        if view is None:
            kept = [track for track in self.timeline.tracks if (rung_height(track) or 0) <= (max_height or 0)]
            view = self._views[max_height] = replace(self.timeline, tracks=tuple(kept))
        return view

    def _renderer(self, track: str | None, name: str, max_height: int | None) -> Callable[[], str] | None:
        if track is not None:
            found = self._tracks.get(track)
            if found is not None and name == names.MEDIA_PLAYLIST:
                return lambda: hls.media(self.timeline, found)
            if found is not None and name == names.IFRAME_PLAYLIST and hls.has_iframes(found):
                return lambda: hls.iframes(self.timeline, found)
            return None
        if name == names.MULTIVARIANT:
            return lambda: hls.multivariant(self.permitted(max_height))
        if name == names.MPD:
            return lambda: dash.mpd(self.permitted(max_height))
        captions = next((i for i in self.timeline.captions if names.captions_playlist(i) == name), None)
        return None if captions is None else lambda: hls.captions(self.timeline, captions)


def rung_height(track: Track) -> int | None:
    """The height that a rung's name says (``720p``), which is also what an upright or a wide picture is called by."""
    if track.kind is not TrackKind.VIDEO:
        return None
    return _said(track.name) or track.height


@lru_cache(maxsize=256)
def _said(name: str) -> int | None:
    digits = re.match(r"[0-9]{1,6}", name)
    return int(digits[0]) if digits else None


def _item(artefact: Artefact, media_type: str, rung: int | None) -> Item:
    return Item(artefact.key, artefact.size, artefact.etag, media_type, rung)


def _media_type(track: Track) -> str:
    return "audio/mp4" if track.kind is TrackKind.AUDIO else "video/mp4"


def _manifest_type(name: str) -> str:
    return dash.MEDIA_TYPE if name == names.MPD else hls.MEDIA_TYPE


def _document(render: Callable[[], str], media_type: str) -> Document:
    body = render().encode()
    compressed = gzip.compress(body, 6, mtime=0) if len(body) >= _SMALLEST_GZIP else None
    return Document(body, compressed, hashlib.sha256(body).hexdigest()[:32], media_type)
