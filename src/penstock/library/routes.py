"""The library's endpoints. Each asks ``authorize`` about what it found, and nothing else decides."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, status
from sqlalchemy import Connection

from penstock import faults
from penstock.access.authorize import Action, authorize
from penstock.access.principals import Principal, Role
from penstock.catalog import Catalog, accounts, records, videos
from penstock.catalog.videos import VideoFilter
from penstock.catalog.words import Sort
from penstock.faults import Point
from penstock.library import models
from penstock.library.playback import Playback, Wish
from penstock.library.views import Viewer
from penstock.video import identity
from penstock.video.errors import (
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthenticated,
)
from penstock.video.lifecycle import VideoState
from penstock.web_api import context, pagination, problems
from penstock.web_api.authentication import Authenticate
from penstock.web_api.pagination import Page

VideoId = Annotated[str, Path(description="Of a video.", examples=["01k2ad9w7m4bq9x0j7e5c3v8hn"])]
MaxHeight = Annotated[
    int | None,
    Query(
        ge=1,
        le=65_535,
        description="The playback addresses shall permit no rung above this one, `720` for 720p.",
    ),
]
Session = Annotated[
    str | None,
    Query(
        pattern="^[0-7][0-9a-hjkmnp-tv-z]{25}$",
        description="The `session_id` of a viewing that goes on with fresh addresses, after its former ones expired.",
    ),
]
Origin = Annotated[
    str | None,
    Query(
        max_length=128,
        pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$",
        description="The playback addresses shall work on pages of this web origin only.",
    ),
]
# Beside the API key: the way OpenAPI says that a credential is optional.
_OPEN_TO_ANYONE: dict[str, list[dict[str, Any]]] = {"security": [{}]}


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints work with."""

    catalog: Catalog
    playback: Playback
    authenticate: Authenticate
    announce: Callable[[], None]


def routes(
    *, catalog: Catalog, playback: Playback, authenticate: Authenticate, announce: Callable[[], None]
) -> APIRouter:
    """The router. ``announce`` tells processing that there is something to do; it may be lost without harm."""
    router = APIRouter(tags=["library"])
    service = Service(catalog, playback, authenticate, announce)
    _add_looking(router, service)
    _add_changing(router, service)
    _add_work(router, service)
    _add_account(router, service)
    return router


def _add_looking(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(service.authenticate)]
    addressed = Annotated[Playback, Depends(service.playback.called_by)]

    @router.get(
        "/api/videos",
        responses=problems.documented(InvalidRequest, Unauthenticated, Forbidden),
        openapi_extra=_OPEN_TO_ANYONE,
    )
    def list_videos(
        principal: caller,
        playback: addressed,
        search: Annotated[
            models.Search | None, Query(description="Part of the title; of one's own, of the file name too.")
        ] = None,
        owner: Annotated[
            str | None,
            Query(description="An account's id, or `me`.", pattern="^(me|[0-9a-z]{26})$"),
        ] = None,
        state: VideoState | None = None,
        sort: Sort = Sort.NEWEST,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=pagination.MAX_LIMIT)] = pagination.DEFAULT_LIMIT,
    ) -> Page[models.Video]:
        """One's own videos, and the public ones of others; an administrator sees all."""
        return _list(
            service.catalog,
            playback,
            principal,
            _filter(principal, search, owner, state, sort),
            cursor,
            limit,
        )

    @router.get(
        "/api/videos/{video_id}",
        responses=problems.documented(InvalidRequest, NotFound, Unauthenticated, Forbidden),
        openapi_extra=_OPEN_TO_ANYONE,
    )
    def get_video(
        principal: caller,
        playback: addressed,
        video_id: VideoId,
        t: Annotated[str | None, Query(description="The signature of a watch link.")] = None,
        max_height: MaxHeight = None,
        origin: Origin = None,
        session: Session = None,
    ) -> models.Video:
        """A video, with playback addresses for who may watch."""
        if t is not None:
            playback.check_watch_link(video_id, t)
            principal = principal.granted_watch(video_id)
        context.note(video_id=video_id)
        with service.catalog.read() as tx:
            video = authorize(principal, Action.READ, _find(tx, video_id))
            answer = Viewer(tx, principal, playback, Wish(max_height, origin, session)).video(video)
        if answer.playback is not None:
            context.note(session_id=answer.playback.session_id)
        return answer


def _add_changing(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(service.authenticate)]
    addressed = Annotated[Playback, Depends(service.playback.called_by)]

    @router.patch(
        "/api/videos/{video_id}",
        responses=problems.documented(InvalidRequest, NotFound, Unauthenticated, Forbidden),
    )
    def change_video(
        principal: caller, playback: addressed, video_id: VideoId, change: models.VideoChange
    ) -> models.Video:
        """Changes title or visibility. Playback addresses that were given out stay good until they expire."""
        if change.title is None and change.visibility is None:
            raise InvalidRequest(
                "Nothing to change: give a title or a visibility.",
                errors=(FieldError("/body", "title or visibility"),),
            )
        context.note(video_id=video_id)
        with service.catalog.write() as tx:
            authorize(principal, Action.UPDATE, _find(tx, video_id))
            video = videos.describe(tx, video_id, title=change.title, visibility=change.visibility)
            return Viewer(tx, principal, playback).video(video)

    @router.delete(
        "/api/videos/{video_id}",
        status_code=status.HTTP_204_NO_CONTENT,
        responses=problems.documented(NotFound, Unauthenticated, Forbidden),
    )
    def delete_video(principal: caller, video_id: VideoId) -> None:
        """Deletes a video for good: its tasks end at once, its objects follow. Repeating it gives the same answer."""
        context.note(video_id=video_id)
        with _asked(
            service.catalog, service.announce, Point.DELETE_WRITTEN, Point.DELETE_RECORDED, Point.DELETE_RUNG
        ) as tx:
            authorize(principal, Action.DELETE, _find(tx, video_id))
            videos.delete(tx, video_id, who=_who(principal))


def _add_work(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(service.authenticate)]
    addressed = Annotated[Playback, Depends(service.playback.called_by)]

    @router.post(
        "/api/videos/{video_id}/retry",
        status_code=status.HTTP_202_ACCEPTED,
        responses=problems.documented(NotFound, Conflict, Unauthenticated, Forbidden),
    )
    def retry_video(principal: caller, playback: addressed, video_id: VideoId) -> models.Video:
        """Processes a failed video again; finished work is kept where the plan is unchanged."""
        context.note(video_id=video_id)
        with _asked(
            service.catalog, service.announce, Point.RETRY_WRITTEN, Point.RETRY_RECORDED, Point.RETRY_RUNG
        ) as tx:
            authorize(principal, Action.RETRY, _find(tx, video_id))
            return Viewer(tx, principal, playback).video(videos.retry(tx, video_id, who=_who(principal)))

    @router.post(
        "/api/videos/{video_id}/reprocess",
        status_code=status.HTTP_202_ACCEPTED,
        responses=problems.documented(NotFound, Conflict, Unauthenticated, Forbidden),
    )
    def reprocess_video(principal: caller, playback: addressed, video_id: VideoId) -> models.Video:
        """Makes a ready video anew, under the settings of today; until that is done it plays as it is."""
        context.note(video_id=video_id)
        with _asked(
            service.catalog, service.announce, Point.RETRY_WRITTEN, Point.RETRY_RECORDED, Point.RETRY_RUNG
        ) as tx:
            authorize(principal, Action.RETRY, _find(tx, video_id))
            videos.reprocess(tx, video_id, who=_who(principal))
            return Viewer(tx, principal, playback).video(videos.get(tx, video_id))


def _add_account(router: APIRouter, service: Service) -> None:
    caller = Annotated[Principal, Depends(service.authenticate)]

    @router.get("/api/me", responses=problems.documented(Unauthenticated))
    def get_me(principal: caller) -> models.Me:
        """The account that the key belongs to."""
        if principal.account_id is None:
            raise Unauthenticated("This needs an API key: send 'Authorization: Bearer pst_...'.")
        with service.catalog.read() as tx:
            account = accounts.get(tx, principal.account_id)
        return models.Me(
            id=account.id,
            login=account.login,
            name=account.name,
            role=Role(account.role),
            key_id=principal.key_id,
            scopes=sorted(principal.scopes),
        )


@contextmanager
def _asked(
    catalog: Catalog, announce: Callable[[], None], written: Point, recorded: Point, rung: Point
) -> Iterator[Connection]:
    """A transaction that gives processing something to do, and the ring after it. It names its steps for tests."""
    with catalog.write() as tx:
        yield tx
        faults.reach(written)
    faults.reach(recorded)
    announce()
    faults.reach(rung)


def _find(tx: Connection, video_id: str) -> records.Video | None:
    """The video, or None: what that means to the caller is decided by ``authorize``."""
    if not identity.is_id(video_id):
        return None
    try:
        return videos.get(tx, video_id)
    except NotFound:
        return None


def _filter(
    principal: Principal, search: str | None, owner: str | None, state: VideoState | None, sort: Sort
) -> VideoFilter:
    authorize(principal, Action.LIST)
    if owner == "me":
        if principal.account_id is None:
            raise Unauthenticated("'me' needs an API key: send 'Authorization: Bearer pst_...'.")
        owner = principal.account_id
    return VideoFilter(
        viewer_id=principal.account_id,
        everything=principal.is_administrator,
        owner_id=owner,
        state=state,
        search=search,
        sort=sort,
    )


def _list(
    catalog: Catalog,
    playback: Playback,
    principal: Principal,
    what: VideoFilter,
    cursor: str | None,
    limit: int,
) -> Page[models.Video]:
    length = 2 if what.sort is Sort.TITLE else 1
    after = None if cursor is None else pagination.decode(cursor, what.sort, length)
    with catalog.read() as tx:
        page, following = videos.listing(tx, what, after=after, limit=limit)
        viewer = Viewer(tx, principal, playback)
        items = [viewer.video(video) for video in page]
    return Page(
        items=items, next_cursor=None if following is None else pagination.encode(what.sort, following)
    )


def _who(principal: Principal) -> str:
    return f"account:{principal.account_id}"
