"""A player that never stops asking: every manifest may only lengthen the one before, every segment stays what it was."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

import httpx
import m3u8


class Reader:
    """Polls one video's playlists and segments, over any number of servers that come and go, until it is told to stop.

    What it saw that no player may see is in ``wrong``. A server that does not answer is nothing wrong: it was killed.
    """

    def __init__(self, base: Callable[[], str], video_id: str) -> None:
        self._base = base
        self._video_id = video_id
        self._seen: dict[str, list[str]] = {}  # playlist: its segments so far, by their path
        self._digests: dict[str, str] = {}
        self._ending = threading.Event()
        self._over = False  # the video may be gone from here on
        self.wrong: list[str] = []
        self.versions = 0  # playlists that were longer than the one before
        self._thread = threading.Thread(target=self._read, name=f"reader-{video_id}", daemon=True)

    def start(self) -> "Reader":
        """Begins to ask."""
        self._thread.start()
        return self

    def expect_end(self) -> None:
        """The video is about to be deleted: refusals are no fault any more."""
        self._over = True

    def stop(self) -> None:
        """Looks once more, at everything, and ends."""
        self._ending.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        with httpx.Client(timeout=60) as http:
            while True:
                last = self._ending.is_set()
                with suppress(httpx.TransportError):  # killed; another will answer
                    self._look(http, every_segment=last)
                if last:
                    return
                self._ending.wait(0.1)

    def _look(self, http: httpx.Client, *, every_segment: bool) -> None:
        answer = http.get(f"{self._base()}/api/videos/{self._video_id}")
        playback = answer.json().get("playback") if answer.status_code == 200 else None
        if not playback:
            return
        master = self._get(http, urlsplit(playback["hls"]).path)
        if master is None:
            return
        lists = m3u8.loads(master.text)
        uris = [item.uri for item in lists.playlists] + [item.uri for item in lists.media if item.uri]
        for uri in uris:
            playlist = self._get(http, urljoin(urlsplit(playback["hls"]).path, uri))
            if playlist is not None:
                self._compare(http, uri, playlist, every_segment=every_segment)

    def _compare(self, http: httpx.Client, uri: str, answer: httpx.Response, *, every_segment: bool) -> None:
        listed = m3u8.loads(answer.text)
        entries = [f"{each.uri} {each.duration}" for each in listed.segments]
        before = self._seen.get(uri, [])
        if entries[: len(before)] != before:
            self.wrong.append(f"{uri}: {before} became {entries}")
        if len(entries) > len(before):
            self.versions += 1
        self._seen[uri] = entries
        for entry in entries if every_segment else entries[len(before) :]:
            path = urljoin(answer.url.path, entry.rpartition(" ")[0])
            segment = self._get(http, path)
            if segment is None:
                continue
            name = f"{uri} {entry}"
            digest = hashlib.sha256(segment.content).hexdigest()
            if self._digests.setdefault(name, digest) != digest:
                self.wrong.append(f"{name} changed")

    def _get(self, http: httpx.Client, path: str) -> httpx.Response | None:
        """What is there. What was promised and is refused is a fault, unless the server was told to stop."""
        answer = http.get(self._base() + path)
        if answer.status_code == 200:
            return answer
        if not self._over and answer.status_code != 503:
            self.wrong.append(f"{path.rpartition('/')[2]}: {answer.status_code} {answer.text[:200]}")
        return None
