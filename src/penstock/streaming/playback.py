"""Answers playback requests: the token first, then the timeline, then what it names; and tells the log.

It answers the server directly, because segments are most of what this program ever sends and a framework costs more than all
that is done here. It needs objects and keys and no database, so it serves while everything else is down.
"""

import time
from collections.abc import Awaitable, Callable, Generator
from functools import lru_cache
from typing import Any

import structlog

from penstock.access import playback as tokens
from penstock.access.keyring import Keyring
from penstock.access.playback import PlaybackGrant
from penstock.http_server.messages import Answer, Request, Steps
from penstock.storage.disk_cache import DiskCache
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.streaming import cmcd, metrics, routes
from penstock.streaming.cache import SegmentCache
from penstock.streaming.config import StreamingConfig
from penstock.streaming.delivery import Delivery, document_content
from penstock.streaming.exchange import Common, Content, Exchange
from penstock.streaming.problems import NotPublished, ObjectDamaged, RangeNotSatisfiable
from penstock.streaming.publication import Item, Publication, rung_height
from penstock.streaming.routes import Target
from penstock.streaming.timelines import Timelines
from penstock.streaming.viewings import Viewings
from penstock.video.errors import Forbidden, PenstockError
from penstock.video.timeline import TimelineState
from penstock.web_api import problems

_log = structlog.get_logger()

# A growing manifest is stale in a second; a complete one may be withdrawn by a tombstone, which is seen within a minute.
_GROWING = b"public, max-age=1"
_COMPLETE = b"public, max-age=60"

_VIEWINGS_REMEMBERED = 4096  # whose loggers are kept, about a kilobyte each

_Contents = Generator[Awaitable[Any], Any, Content]


class Playback:
    """The responder below ``/stream/``."""

    def __init__(
        self,
        outputs: ObjectStore,
        keyring: Keyring,
        config: StreamingConfig,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` gives seconds since the Unix epoch, for the expiry of tokens."""
        self._delivery = Delivery(outputs, _cache(outputs, config))
        self._keyring = keyring
        self._clock = clock
        self._common = Common.of(config.node)
        self._log = structlog.get_logger("frequent").bind(node=config.node)
        # What is bound to a logger is put into the form of a line once, so a viewing's ids are.
        self._story = lru_cache(maxsize=_VIEWINGS_REMEMBERED)(self._begun)
        self._timelines = Timelines(outputs, config)
        self._viewings = Viewings(config.sessions_remembered)

    def __call__(self, request: Request) -> Steps:
        """See :class:`penstock.http_server.messages.Responder`."""
        exchange = Exchange(request, self._common)
        viewing = _Viewing(exchange, self._record)
        try:
            content = yield from self._content(viewing)
        except PenstockError as error:
            viewing.code = error.code
            content = _refusal(exchange, error)
        except Exception as error:  # noqa: BLE001 - the client is told that it was ours
            _log.error(
                "request_failed", exc_info=error, method=exchange.method, session_id=viewing.session_id
            )
            viewing.code = PenstockError.code
            unforeseen = PenstockError(
                "Something went wrong here. The log has it under this address's session."
            )
            content = exchange.problem(problems.response_for(unforeseen))
        viewing.status = content.status
        viewing.answered = time.perf_counter()
        return Answer(content.status, content.head + exchange.common, content.body, viewing.sent)

    def _content(self, viewing: "_Viewing") -> _Contents:
        exchange = viewing.exchange
        if exchange.method == "OPTIONS":
            viewing.kind = "preflight"
            return exchange.preflight()
        if exchange.method not in ("GET", "HEAD"):
            raise problems.MethodNotAllowed("Playback addresses answer GET and HEAD.")
        target = routes.parse(exchange.raw_path)
        if target is None:
            raise problems.RouteNotFound(
                "There is nothing at this address; the OpenAPI document lists what there is."
            )
        viewing.target = target
        viewing.kind = target.kind
        viewing.grant = self._granted(exchange, target)
        if viewing.kind == "manifest":
            return (yield from self._manifest(viewing, target, viewing.grant))
        return (yield from self._object(viewing, target, viewing.grant))

    def _granted(self, exchange: Exchange, target: Target) -> PlaybackGrant:
        """The ring is asked each time, whatever is remembered of a token: a key that is taken out of it is out at once."""
        grant = tokens.verify(
            self._keyring,
            target.token,
            video_id=target.video_id,
            generation_id=target.generation_id,
            now=self._clock(),
        )
        if grant.origin is not None:
            tokens.check_origin(grant, exchange.page_origin())
            exchange.origin = grant.origin
        return grant

    def _manifest(self, viewing: "_Viewing", target: Target, grant: PlaybackGrant) -> _Contents:
        video = target.video_id, target.generation_id
        publication = self._timelines.manifest_at_hand(*video) or (yield self._timelines.for_manifest(*video))
        track = publication.track(target.track) if target.track is not None else None
        if track is not None:
            tokens.check_height(grant, rung_height(track))
        elif publication.timeline.video_tracks and not publication.permitted(grant.max_height).video_tracks:
            raise Forbidden(
                "The playback URL permits none of the rungs that there are.", code="token_rung_refused"
            )
        asked = target.track, target.name, grant.max_height
        document = publication.rendered(*asked) or (yield publication.manifest(*asked))
        if document is None:
            raise NotPublished("There is no such manifest.")
        viewing.version = publication.timeline.version
        growing = publication.timeline.state is TimelineState.GROWING
        return document_content(viewing.exchange, document, _GROWING if growing else _COMPLETE)

    def _object(self, viewing: "_Viewing", target: Target, grant: PlaybackGrant) -> _Contents:
        video = target.video_id, target.generation_id
        publication = self._timelines.object_at_hand(*video) or (yield self._timelines.for_object(*video))
        item = _find(publication, target)
        if item is None and not publication.settled:
            publication = yield self._timelines.newest(*video)
            item = _find(publication, target)
        if item is None:
            raise NotPublished("There is no such segment or file, not in the newest timeline either.")
        tokens.check_height(grant, item.rung)
        viewing.height = item.rung
        try:
            return (yield from self._delivery.content(viewing.exchange, item))
        except (ObjectMissing, ObjectDamaged) as error:
            yield self._timelines.newest(*video)  # a tombstone explains it
            _log.error("object_unusable", code=error.code, key=item.key, video_id=target.video_id)
            raise

    def _record(self, viewing: "_Viewing", sent: int, *, whole: bool) -> None:
        """One line per request, with what is needed to tell a viewing's story from the log alone."""
        exchange, target, grant = viewing.exchange, viewing.target, viewing.grant
        metrics.ANSWERS.count(viewing.kind, viewing.status, viewing.answered - viewing.begun, sent)
        if target is None or grant is None:
            if viewing.code is not None:
                self._log.info("playback_refused", code=viewing.code, status=viewing.status)
            return
        log = self._story(grant.session_id, target.video_id, target.generation_id)
        facts: dict[str, object] = {
            "rung": target.track,
            "status": viewing.status,
            "bytes": sent,
            "duration_ms": int((time.perf_counter() - viewing.begun) * 100_000) / 100,
        }
        if said := cmcd.facts(exchange.query, exchange.headers):
            facts["cmcd"] = said
        if whole and viewing.code is None and viewing.kind in ("segment", "init"):
            facts["segment"] = target.number
            log.info("segment_served", **facts)
            self._watch(viewing, target, grant, said)
            return
        facts["name"] = target.name
        if not whole:
            log.info("playback_abandoned", **facts)
        elif viewing.code is not None:
            log.info("playback_refused", code=viewing.code, **facts)
        elif viewing.kind == "manifest":
            log.info("manifest_served", version=viewing.version, **facts)
        else:
            log.info("file_served", **facts)

    def _begun(self, session_id: str, video_id: str, generation_id: str) -> Any:
        """The logger of a viewing."""
        return self._log.bind(session_id=session_id, video_id=video_id, generation_id=generation_id)

    def _watch(self, viewing: "_Viewing", target: Target, grant: PlaybackGrant, said: cmcd.Facts) -> None:
        """Tells a switch between rungs. Ranges do not count: they are for scrubbing through I-frames."""
        number, rung = target.number, target.track
        whole = viewing.exchange.method == "GET" and viewing.status in (200, 304)
        if number is None or rung is None or viewing.height is None or not whole:
            return
        who = (grant.session_id, str(said.get("sid", "")))
        switch = self._viewings.fetched(who, rung, viewing.height, number)
        if switch is None:
            return
        metrics.SWITCHES.labels(switch.direction).inc()
        self._log.info(
            "rung_switched",
            session_id=grant.session_id,
            video_id=target.video_id,
            direction=switch.direction,
            from_rung=switch.before.rung,
            to_rung=rung,
            from_segment=switch.before.number,
            segment=number,
            since_last_ms=round((switch.after.at - switch.before.at) * 1000),
            throughput_kbps=said.get("mtp"),
            buffer_ms=said.get("bl"),
            starved=said.get("bs", False),
        )


class _Viewing:
    """What becomes known of a request while it is answered."""

    __slots__ = (
        "_record",
        "answered",
        "begun",
        "code",
        "exchange",
        "grant",
        "height",
        "kind",
        "status",
        "target",
        "version",
    )

    def __init__(self, exchange: Exchange, record: "Callable[..., None]") -> None:
        self._record = record
        self.exchange = exchange
        self.begun = time.perf_counter()
        self.answered = 0.0  # when the answer was known, on the same clock
        self.status = 0
        self.kind = "other"
        self.target: Target | None = None
        self.grant: PlaybackGrant | None = None
        self.version: int | None = None  # of the timeline that a manifest was made from
        self.height: int | None = None  # of the rung that was served
        self.code: str | None = None  # of a refusal

    @property
    def session_id(self) -> str | None:
        return self.grant.session_id if self.grant else None

    def sent(self, count: int, whole: bool) -> None:  # noqa: FBT001 - as the server calls it
        """The server is done with it."""
        self._record(self, count, whole=whole)


def _cache(outputs: ObjectStore, config: StreamingConfig) -> SegmentCache | None:
    """None for a store whose objects are files of this machine already."""
    if config.cache_folder is None or outputs.local_path("any") is not None:
        return None
    return SegmentCache(DiskCache(config.cache_folder, outputs, config.cache))


def _find(publication: Publication, target: Target) -> Item | None:
    if target.track is None:
        return publication.file(target.name)
    track = publication.track(target.track)
    if track is None:
        return None
    if target.kind == "init":
        return publication.init(track)
    return None if target.number is None else publication.segment(track, target.number)


def _refusal(exchange: Exchange, error: PenstockError) -> Content:
    headers = {}
    if isinstance(error, problems.MethodNotAllowed):
        headers["allow"] = "GET, HEAD, OPTIONS"
    if isinstance(error, RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size}"
    return exchange.problem(problems.response_for(error, headers))
