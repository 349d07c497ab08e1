"""Answers playback requests: the token first, then the timeline, then what it names; and tells the log.

Hand-written ASGI, because segments are most of what this program ever sends and a framework costs more than all that is
done here. It needs objects and keys and no database, so it serves while everything else is down.
"""

import time
from collections.abc import Callable

import structlog
from starlette.types import Receive, Scope, Send

from penstock.access import playback as tokens
from penstock.access.keyring import Keyring
from penstock.access.playback import PlaybackGrant
from penstock.manifests import names
from penstock.storage.disk_cache import DiskCache
from penstock.storage.store import ObjectMissing, ObjectStore
from penstock.streaming import cmcd, metrics, routes
from penstock.streaming.cache import SegmentCache
from penstock.streaming.config import StreamingConfig
from penstock.streaming.delivery import Delivery, send_document
from penstock.streaming.exchange import Exchange, common_headers
from penstock.streaming.problems import NotPublished, ObjectDamaged, RangeNotSatisfiable
from penstock.streaming.publication import Item, Publication, is_manifest, rung_height
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


class Playback:
    """The ASGI application below ``/stream/``."""

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
        self._common_headers = common_headers(config.node)
        self._log = structlog.get_logger("frequent").bind(node=config.node)
        self._timelines = Timelines(outputs, config)
        self._viewings = Viewings(config.sessions_remembered)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serves one HTTP request; what a client sends beside the headers is not read."""
        begun = time.perf_counter()
        exchange = Exchange(scope, send, self._common_headers)
        request = _Request(exchange)
        try:
            await self._answer(request)
        except PenstockError as error:
            if exchange.status:
                raise  # too late to say so: the server cuts the connection, and the client asks again
            request.code = error.code
            await _refuse(exchange, error)
        except Exception as error:
            _log.error(
                "request_failed", exc_info=error, method=exchange.method, session_id=request.session_id
            )
            if exchange.status:
                raise
            request.code = PenstockError.code
            unforeseen = PenstockError(
                "Something went wrong here. The log has it under this address's session."
            )
            await exchange.problem(problems.response_for(unforeseen))
        finally:
            self._record(request, time.perf_counter() - begun)

    async def _answer(self, request: "_Request") -> None:
        exchange = request.exchange
        if exchange.method == "OPTIONS":
            request.kind = "preflight"
            await exchange.preflight()
            return
        if exchange.method not in ("GET", "HEAD"):
            raise problems.MethodNotAllowed("Playback addresses answer GET and HEAD.")
        target = routes.parse(exchange.raw_path)
        if target is None:
            raise problems.RouteNotFound(
                "There is nothing at this address; the OpenAPI document lists what there is."
            )
        request.target = target
        request.kind = _kind(target)
        request.grant = self._granted(exchange, target)
        if is_manifest(target.name):
            await self._manifest(request, target, request.grant)
        else:
            await self._object(request, target, request.grant)

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

    async def _manifest(self, request: "_Request", target: Target, grant: PlaybackGrant) -> None:
        publication = await self._timelines.for_manifest(target.video_id, target.generation_id)
        track = publication.track(target.track) if target.track is not None else None
        if track is not None:
            tokens.check_height(grant, rung_height(track))
        elif publication.timeline.video_tracks and not publication.permitted(grant.max_height).video_tracks:
            raise Forbidden(
                "The playback URL permits none of the rungs that there are.", code="token_rung_refused"
            )
        document = await publication.manifest(target.track, target.name, grant.max_height)
        if document is None:
            raise NotPublished("There is no such manifest.")
        request.version = publication.timeline.version
        growing = publication.timeline.state is TimelineState.GROWING
        await send_document(request.exchange, document, _GROWING if growing else _COMPLETE)

    async def _object(self, request: "_Request", target: Target, grant: PlaybackGrant) -> None:
        publication = await self._timelines.for_object(target.video_id, target.generation_id)
        item = _find(publication, target)
        if item is None and not publication.settled:
            publication = await self._timelines.newest(target.video_id, target.generation_id)
            item = _find(publication, target)
        if item is None:
            raise NotPublished("There is no such segment or file, not in the newest timeline either.")
        tokens.check_height(grant, item.rung)
        request.height = item.rung
        try:
            await self._delivery.send(request.exchange, item)
        except (ObjectMissing, ObjectDamaged) as error:
            await self._timelines.newest(target.video_id, target.generation_id)  # a tombstone explains it
            _log.error("object_unusable", code=error.code, key=item.key, video_id=target.video_id)
            raise

    def _record(self, request: "_Request", seconds: float) -> None:
        """One line per request, with what is needed to tell a viewing's story from the log alone."""
        exchange, target, grant = request.exchange, request.target, request.grant
        metrics.answered(request.kind, exchange.status, seconds, exchange.bytes_sent)
        if target is None or grant is None:
            if request.code is not None:
                self._log.info("playback_refused", code=request.code, status=exchange.status)
            return
        facts: dict[str, object] = {
            "session_id": grant.session_id,
            "video_id": target.video_id,
            "generation_id": target.generation_id,
            "rung": target.track,
            "status": exchange.status,
            "bytes": exchange.bytes_sent,
            "duration_ms": round(seconds * 1000, 2),
        }
        said = cmcd.facts(exchange.query, exchange.headers)
        if said:
            facts["cmcd"] = said
        if not exchange.status:
            self._log.info("playback_abandoned", name=target.name, **facts)
        elif request.code is not None:
            self._log.info("playback_refused", code=request.code, name=target.name, **facts)
        elif request.kind == "manifest":
            self._log.info("manifest_served", name=target.name, version=request.version, **facts)
        elif request.kind == "file":
            self._log.info("file_served", name=target.name, **facts)
        else:
            self._log.info("segment_served", segment=target.number, **facts)
            self._watch(request, target, grant, said)

    def _watch(self, request: "_Request", target: Target, grant: PlaybackGrant, said: cmcd.Facts) -> None:
        """Tells a switch between rungs. Ranges do not count: they are for scrubbing through I-frames."""
        number, rung = target.number, target.track
        whole = request.exchange.method == "GET" and request.exchange.status in (200, 304)
        if number is None or rung is None or request.height is None or not whole:
            return
        viewing = (grant.session_id, str(said.get("sid", "")))
        switch = self._viewings.fetched(viewing, rung, request.height, number)
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


class _Request:
    """What becomes known of a request while it is answered."""

    __slots__ = ("code", "exchange", "grant", "height", "kind", "target", "version")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.kind = "other"
        self.target: Target | None = None
        self.grant: PlaybackGrant | None = None
        self.version: int | None = None  # of the timeline that a manifest was made from
        self.height: int | None = None  # of the rung that was served
        self.code: str | None = None  # of a refusal

    @property
    def session_id(self) -> str | None:
        return self.grant.session_id if self.grant else None


def _kind(target: Target) -> str:
    if is_manifest(target.name):
        return "manifest"
    if target.track is None:
        return "file"
    return "init" if target.name == names.INIT_SEGMENT else "segment"


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
    if target.name == names.INIT_SEGMENT:
        return publication.init(track)
    return None if target.number is None else publication.segment(track, target.number)


async def _refuse(exchange: Exchange, error: PenstockError) -> None:
    headers = {}
    if isinstance(error, problems.MethodNotAllowed):
        headers["allow"] = "GET, HEAD, OPTIONS"
    if isinstance(error, RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size}"
    await exchange.problem(problems.response_for(error, headers))
