"""From records to answers: what one caller may see of a video."""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from penstock.access.authorize import Action, may
from penstock.access.principals import Principal
from penstock.catalog import accounts, artefacts, generations, records, segments, videos
from penstock.library import models
from penstock.library.models import utc
from penstock.library.playback import Playback, Session, Wish
from penstock.manifests import names
from penstock.video import ladder
from penstock.video.lifecycle import VideoState
from penstock.video.timeline import TrackKind
from penstock.video.visibility import Visibility

_POSTER = "poster"  # the kind of the artefact


@dataclass(slots=True)
class Viewer:
    """Renders videos for one caller within one transaction."""

    tx: Connection
    principal: Principal
    playback: Playback
    wish: Wish = field(default_factory=Wish)
    _owners: dict[str, models.Owner] = field(default_factory=dict)

    def video(self, video: records.Video) -> models.Video:
        """All that the caller may see of a video that it may read."""
        private = may(self.principal, Action.READ_PRIVATE, video)
        session = self._session(video)
        shown = video.published_generation_id or video.current_generation_id
        error = (
            models.Failure(code=video.error_code, message=video.error_message or "")
            if video.error_code
            else None
        )
        times = {
            name: None if at is None else utc(at)
            for name in ("uploaded_at", "playable_at", "ready_at", "failed_at")
            for at in [getattr(video, name)]
        }
        return models.Video(
            id=video.id,
            title=video.title,
            filename=video.filename if private else None,
            owner=self._owner(video.owner_id),
            visibility=video.visibility,
            state=video.state,
            playable=video.playable,
            progress=self._progress(video),
            duration=None if video.duration_ms is None else video.duration_ms / 1000,
            width=video.width,
            height=video.height,
            truncated=video.truncated,
            error=error if private else None,
            duplicate_of=video.duplicate_of if private else None,
            created_at=utc(video.created_at),
            **times,
            timings=dict(videos.timings(video)),
            renditions=self._renditions(shown, session) if shown else [],
            poster=self._poster(shown, session) if shown and session else None,
            playback=None if session is None else _addresses(session),
            watch_url=self._watch_url(video, private=private),
        )

    def _session(self, video: records.Video) -> Session | None:
        """A new session where there is something to play and the caller may."""
        generation_id = video.published_generation_id
        if not video.playable or generation_id is None or not may(self.principal, Action.WATCH, video):
            return None
        return self.playback.open(video.id, generation_id, (video.duration_ms or 0) / 1000, self.wish)

    def _owner(self, account_id: str) -> models.Owner:
        if account_id not in self._owners:
            account = accounts.get(self.tx, account_id)
            self._owners[account_id] = models.Owner(id=account.id, name=account.name)
        return self._owners[account_id]

    def _progress(self, video: records.Video) -> float:
        if video.state is VideoState.READY:
            return 1.0
        if video.current_generation_id is None:
            return 0.0
        return generations.get(self.tx, video.current_generation_id).progress

    def _renditions(self, generation_id: str, session: Session | None) -> list[models.Rendition]:
        totals = segments.totals(self.tx, generation_id)
        return [
            _rendition(track, *totals.get(track.name, (0, 0)), session)
            for track in segments.tracks(self.tx, generation_id)
            if _permitted(track, self.wish)
        ]

    def _poster(self, generation_id: str, session: Session) -> str | None:
        """Once the timeline is frozen: a growing one names it some seconds after it was made, and nobody is told when."""
        if generations.get(self.tx, generation_id).frozen_at is None:
            return None
        found = (
            item for item in artefacts.listing(self.tx, generation_id) if item.kind == _POSTER and item.public
        )
        poster = next(found, None)
        return None if poster is None else session.address(poster.name)

    def _watch_url(self, video: records.Video, *, private: bool) -> str | None:
        if video.state is VideoState.DELETED or (video.visibility is Visibility.PRIVATE and not private):
            return None
        return self.playback.watch_page(video.id, signed=video.visibility is Visibility.PRIVATE)


def _addresses(session: Session) -> models.Playback:
    return models.Playback(
        hls=session.address(names.MULTIVARIANT),
        dash=session.address(names.MPD),
        expires_at=utc(session.expires * 1000),
        session_id=session.id,
    )


def _permitted(track: records.TrackRecord, wish: Wish) -> bool:
    height = ladder.named_height(track.name) if track.kind is TrackKind.VIDEO else None
    return wish.max_height is None or height is None or height <= wish.max_height


def _rendition(
    track: records.TrackRecord, count: int, size: int, session: Session | None
) -> models.Rendition:
    measured = track.complete and track.contiguous_end > 0
    return models.Rendition(
        name=track.name,
        kind=track.kind,
        codecs=track.codecs,
        bitrate=round(size * 8 / track.end) if measured else track.bandwidth,
        size=size,
        segments=count,
        complete=track.complete,
        width=track.width,
        height=track.height,
        frame_rate=None if track.frame_rate is None else round(float(track.frame_rate), 3),
        language=track.language,
        label=track.label,
        channels=track.channels,
        url=None if session is None else session.address(track.name, names.MEDIA_PLAYLIST),
    )
