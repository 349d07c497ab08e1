"""The client of the HTTP interface, one method per thing that can be asked for."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from penstock.client import events
from penstock.client.connection import Connection, Patience, Waiting, silently
from penstock.client.errors import ClientError
from penstock.client.memory import Memory
from penstock.client.models import Cluster, Page, Status, Uploaded, Video, read
from penstock.client.sending import Progress
from penstock.client.sources import LocalFile, Source
from penstock.client.uploading import PARALLEL, Description, Uploading

_POLL_SECONDS = 2.0  # between two questions where no stream of events comes through


class Client:
    """One server, one key. Every method raises :class:`ClientError`.

    >>> with Client("http://127.0.0.1:8800", api_key="pst_...") as client:
    ...     uploaded = client.upload(Path("holiday.mp4"))
    ...     for status in client.follow(uploaded.id):
    ...         print(status.state, status.progress)
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        patience: Patience | None = None,
        memory: Path | None = None,
        waiting: Waiting = silently,
    ) -> None:
        """``base_url`` is the server's address, without a path.

        ``memory`` is a file in which unfinished uploads are noted, so that a later program goes on with them; without one an
        upload that is interrupted begins anew. ``waiting`` is called with seconds and reason before every pause that a
        server's trouble makes; ``patience`` says how long to sit it out.
        """
        self.connection = Connection(base_url, api_key=api_key, patience=patience, waiting=waiting)
        self._memory = None if memory is None else Memory(memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def upload(
        self,
        source: Path | Source,
        *,
        title: str | None = None,
        visibility: str | None = None,
        allow_duplicate: bool = False,
        progress: Progress = lambda _stage, _done: None,
        parallel: int = PARALLEL,
    ) -> Uploaded:
        """Sends a file, or an object of a bucket; returns when the server has acknowledged it as durable.

        Where the caller already has a video of the same bytes, that one is returned and nothing is sent, unless
        ``allow_duplicate``. A connection that breaks is taken up again where the server says it is; with ``memory``, so is
        an upload that a former program did not finish. The SHA-256 of what was read is compared with what arrived.
        ``progress`` may be called from several threads, never twice at once; at most ``parallel`` parts are under way.
        """
        source = LocalFile(source) if isinstance(source, Path) else source
        description = Description(title, visibility, allow_duplicate)
        return Uploading(
            self.connection, source, description, progress, remembered=self._memory, parallel=parallel
        ).run()

    def uploaded_before(self, source: Path | Source, *, visibility: str | None = None) -> str | None:
        """The id of the video that an earlier :meth:`upload`, noted in ``memory``, made of the file, if it still stands."""
        source = LocalFile(source) if isinstance(source, Path) else source
        description = Description(visibility=visibility)
        uploading = Uploading(
            self.connection, source, description, lambda _stage, _done: None, remembered=self._memory
        )
        there = uploading.there_already()
        return None if there is None else there.id

    def videos(
        self,
        *,
        search: str | None = None,
        state: str | None = None,
        owner: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Page:
        """One page of the videos that the caller may see, newest first."""
        params = {"search": search, "state": state, "owner": owner, "cursor": cursor, "limit": limit}
        return read(Page, self.connection.json("GET", "/api/videos", params=params))

    def video(self, video_id: str) -> Video:
        """One video, with fresh playback addresses for who may watch."""
        return read(Video, self.connection.json("GET", f"/api/videos/{video_id}"))

    def delete(self, video_id: str) -> None:
        """Deletes a video for good."""
        self.connection.request("DELETE", f"/api/videos/{video_id}")

    def retry(self, video_id: str) -> Video:
        """Processes a failed video again."""
        return read(Video, self.connection.json("POST", f"/api/videos/{video_id}/retry"))

    def reprocess(self, video_id: str) -> Video:
        """Makes a ready video anew; until that is done it plays as it is."""
        return read(Video, self.connection.json("POST", f"/api/videos/{video_id}/reprocess"))

    def status(self, video_id: str) -> Status:
        """How far a video has come."""
        return read(Status, self.connection.json("GET", f"/api/status/{video_id}"))

    def cluster(self) -> Cluster:
        """The nodes of the cluster with their services; needs an administrator's key."""
        return read(Cluster, self.connection.json("GET", "/api/cluster"))

    def details(self, video_id: str) -> dict[str, Any]:
        """The whole answer about a video's processing: with an administrator's key also its generation and tasks."""
        answer: dict[str, Any] = self.connection.json("GET", f"/api/status/{video_id}")
        return answer

    def history(self, video_id: str) -> list[dict[str, Any]]:
        """Every change that was recorded about a video, oldest first."""
        items: list[dict[str, Any]] = []
        cursor = None
        while True:
            params = {"cursor": cursor, "limit": 200}
            page = self.connection.json("GET", f"/api/status/{video_id}/events", params=params)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    def follow(self, video_id: str) -> Iterator[Status]:
        """The present status, then one after each change, until the video is ready, failed or deleted.

        A stream of events tells when to look; where none comes through (a proxy may hold it back), the server is asked
        every two seconds instead.
        """
        status = self.status(video_id)
        yield status
        while not status.settled:
            streamed = False
            with suppress(ClientError):
                for status in self._statuses(video_id):
                    streamed = True
                    yield status
                    if status.settled:
                        return
            if not streamed:
                time.sleep(_POLL_SECONDS)
                status = self.status(video_id)
                yield status

    def wait(
        self, video_id: str, *, until: Callable[[Status], bool] = lambda status: status.settled
    ) -> Status:
        """The first status that meets ``until``, or the last one of a video that settles without."""
        status = self.status(video_id)
        for status in self.follow(video_id):
            if until(status):
                break
        return status

    def _statuses(self, video_id: str) -> Iterator[Status]:
        """The status, whenever it has changed; the stream's history is not looked at."""
        with self.connection.lines(f"/api/status/{video_id}/events") as lines:
            for event in events.parse(lines):
                if event.name == "status":
                    yield read(Status, json.loads(event.data))
