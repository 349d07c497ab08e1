"""What a client learns of its video after the upload: how it stands, what happened, and what happens next."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection
from starlette.types import Receive, Scope, Send
from typing_extensions import override  # typing.override needs Python 3.12

from penstock.access.authorize import Action, authorize, may
from penstock.access.principals import Principal
from penstock.catalog import Catalog, events, generations, marks, records, tasks, videos
from penstock.catalog.words import TaskKind, TaskState
from penstock.upload.findings import Decided, Found
from penstock.upload.following import Followed, Followers, Mark, Watched
from penstock.upload.messages import moment
from penstock.video import documents, identity
from penstock.video.errors import (
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from penstock.video.lifecycle import GenerationState, VideoState
from penstock.video.media import SourceMedia
from penstock.video.plan import Plan
from penstock.web_api import context, pagination, problems
from penstock.web_api.authentication import Authenticate
from penstock.web_api.pagination import Page

PREFIX = "/api/status"
_ORDER = "number"  # what the cursors of a history count
_EVENT_STREAM = "text/event-stream"
VideoId = Annotated[str, Path(description="Of a video.", examples=["01kq3v5d2m8r1x9c7b4n6t0hsz"])]


class StatusError(BaseModel):
    """Why a video failed. Match on `code`."""

    code: str = Field(examples=["media_invalid"])
    message: str


class TaskStatus(BaseModel):
    """One unit of processing work."""

    id: str
    kind: TaskKind
    index: int
    state: TaskState
    required: bool
    progress: float
    attempt: int = Field(description="Rises with every claim.")
    failures: int
    losses: int = Field(description="How often its worker vanished.")
    node: str | None = Field(description="Where it runs, or last ran.")
    error: StatusError | None


class GenerationStatus(BaseModel):
    """One processing of the source."""

    id: str
    number: int
    state: GenerationState
    progress: float
    published_seconds: float = Field(description="How much can be played from the start.")
    timeline_version: int
    found: Found | None = Field(description="What inspection found; null before.")
    decided: Decided | None = Field(description="What the plan decided; null before.")
    tasks: list[TaskStatus]


class VideoStatus(BaseModel):
    """How a video stands."""

    id: str
    state: VideoState
    playable: bool = Field(description="Whether the beginning can be streamed.")
    progress: float = Field(
        ge=0, le=1, description="Of processing; it does not go back while one source is processed."
    )
    error: StatusError | None = Field(description="Why it failed; for its owner.")
    duplicate_of: str | None = Field(
        description="The earlier video of the same bytes that stands for this one."
    )
    timings: dict[str, float] = Field(
        description="Seconds that each stage took, as far as it has come.",
        examples=[{"upload": 4.2, "inspect": 0.9}],
    )
    updated_at: datetime
    generation: GenerationStatus | None = Field(default=None, description="For administrators.")


class HistoryEvent(BaseModel):
    """One line of a video's history."""

    number: int = Field(description="From 1 without gaps.")
    at: datetime
    who: str
    event: str = Field(examples=["upload_completed"])
    from_state: str | None
    to_state: str | None
    why: str | None
    generation_id: str | None
    task_id: str | None
    data: dict[str, Any] | None

    @classmethod
    def of(cls, event: records.Event) -> "HistoryEvent":
        """From its record."""
        return cls(
            number=event.number,
            at=moment(event.at),
            who=event.who,
            event=event.event,
            from_state=event.from_state,
            to_state=event.to_state,
            why=event.why,
            generation_id=event.generation_id,
            task_id=event.task_id,
            data=event.data,
        )


class _EventStream(StreamingResponse):
    """A stream that takes a follower's place while it lasts. Without one it raises before anything is sent."""

    media_type = _EVENT_STREAM

    def __init__(self, content: AsyncIterator[bytes], seat: AbstractContextManager[None]) -> None:
        super().__init__(content, headers={"x-accel-buffering": "no"})
        self._seat = seat

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seat:
            await super().__call__(scope, receive, send)


def routes(catalog: Catalog, authenticate: Authenticate, followers: Followers) -> APIRouter:
    """The router."""
    router = APIRouter(prefix=PREFIX, tags=["status"])
    caller = Annotated[Principal, Depends(authenticate)]

    @router.get("/{video_id}", responses=problems.documented(Unauthenticated, Forbidden, NotFound))
    def get_status(principal: caller, video_id: VideoId) -> VideoStatus:
        """How a video stands. Deleted ones keep answering their owner."""
        context.note(video_id=video_id)
        with catalog.read() as tx:
            video = authorize(principal, Action.READ, _find(tx, video_id))
            return _status(tx, principal, video)

    @router.get(
        "/{video_id}/events",
        response_model=Page[HistoryEvent],
        responses={
            200: {"content": {_EVENT_STREAM: {"schema": {"type": "string"}}}, "description": "The history."},
            **problems.documented(InvalidRequest, Unauthenticated, Forbidden, NotFound, RateLimited),
        },
    )
    def get_events(
        request: Request,
        principal: caller,
        video_id: VideoId,
        cursor: Annotated[str | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=pagination.MAX_LIMIT)] = pagination.DEFAULT_LIMIT,
        last_event_id: Annotated[str | None, Header(description="Where to go on; for event streams.")] = None,
    ) -> Response:
        """A video's history. With `Accept: text/event-stream` it follows live, from `Last-Event-ID` on.

        The stream has `history` events, whose `id` is their number, and a `status` event whenever the answer of
        `/api/status/{video_id}` has changed. It ends when the video is deleted; a client that loses it reconnects.
        """
        context.note(video_id=video_id)
        with catalog.read() as tx:
            authorize(principal, Action.READ_PRIVATE, _find(tx, video_id))
        if _EVENT_STREAM in request.headers.get("accept", ""):
            watched = Watched(video_id, with_tasks=principal.is_administrator)
            look = _looker(catalog, principal, watched)
            stream = followers.follow(watched, look, after=_number(last_event_id))
            return _EventStream(stream, followers.seat(principal.account_id))
        (after,) = pagination.decode(cursor, _ORDER, 1) if cursor is not None else ("0",)
        with catalog.read() as tx:
            found = events.listing(tx, video_id, after=_number(after), limit=limit + 1)
        page, more = found[:limit], len(found) > limit
        following = pagination.encode(_ORDER, (str(page[-1].number),)) if more else None
        answer = Page[HistoryEvent](items=[HistoryEvent.of(e) for e in page], next_cursor=following)
        return JSONResponse(answer.model_dump(mode="json"))

    return router


def _find(tx: Connection, video_id: str) -> records.Video | None:
    if not identity.is_id(video_id):
        return None
    try:
        return videos.get(tx, video_id)
    except NotFound:
        return None


def _number(text: str | None) -> int:
    """The number of the last event that a client has seen."""
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        fields = (FieldError("/header/Last-Event-ID", "The id of an event of this stream."),)
        raise InvalidRequest("This is not where a history could go on.", code="cursor_invalid", errors=fields)
    return int(text)


def marker(catalog: Catalog) -> Callable[[Collection[Watched]], Mapping[Watched, Mark]]:
    """What tells followers that there is something new."""

    def ask(asked: Collection[Watched]) -> Mapping[Watched, Mark]:
        with catalog.read() as tx:
            found = marks.of(
                tx,
                {watched.video_id for watched in asked},
                with_tasks={watched.video_id for watched in asked if watched.with_tasks},
            )
        known = [watched for watched in asked if watched.video_id in found]
        return {watched: found[watched.video_id][: 2 if watched.with_tasks else 1] for watched in known}

    return ask


def _looker(catalog: Catalog, principal: Principal, watched: Watched) -> Callable[[int], Followed]:
    video_id = watched.video_id
    ask = marker(catalog)

    def look(after: int) -> Followed:
        mark = ask([watched]).get(watched)  # first: what changes from here on is looked at again
        with catalog.read() as tx:
            video = authorize(principal, Action.READ_PRIVATE, videos.get(tx, video_id))
            found = events.listing(tx, video_id, after=after)
            status = _status(tx, principal, video).model_dump_json()
        lines = [(event.number, HistoryEvent.of(event).model_dump_json()) for event in found]
        return Followed(lines, status, ended=video.state is VideoState.DELETED, mark=mark)

    return look


def _status(tx: Connection, principal: Principal, video: records.Video) -> VideoStatus:
    owned = may(principal, Action.READ_PRIVATE, video)
    current = video.current_generation_id
    generation = None if current is None else generations.get(tx, current)
    return VideoStatus(
        id=video.id,
        state=video.state,
        playable=video.playable,
        progress=_progress(video, generation),
        error=_error(video.error_code, video.error_message) if owned else None,
        duplicate_of=video.duplicate_of if owned else None,
        timings=dict(videos.timings(video)),
        updated_at=moment(video.updated_at),
        generation=_generation(tx, video, generation) if generation and principal.is_administrator else None,
    )


def _progress(video: records.Video, generation: records.Generation | None) -> float:
    if video.state is VideoState.READY:
        return 1.0
    return 0.0 if generation is None else generation.progress


def _generation(tx: Connection, video: records.Video, generation: records.Generation) -> GenerationStatus:
    found = tasks.listing(tx, generation_id=generation.id)
    return GenerationStatus(
        id=generation.id,
        number=generation.number,
        state=generation.state,
        progress=generation.progress,
        published_seconds=generation.published_prefix_ms / 1000,
        timeline_version=generation.timeline_version,
        found=_found(tx, video),
        decided=_decided(tx, generation, found),
        tasks=[
            TaskStatus(
                id=task.id,
                kind=task.kind,
                index=task.index,
                state=task.state,
                required=task.required,
                progress=task.progress,
                attempt=task.attempt,
                failures=task.failures,
                losses=task.losses,
                node=task.node_id,
                error=_error(task.error_code, task.error_message),
            )
            for task in found
        ],
    )


def _found(tx: Connection, video: records.Video) -> Found | None:
    """What the last inspection that came to an end found; it may be that of an earlier generation under another plan."""
    results = [task.result for task in tasks.listing(tx, video_id=video.id, kinds=[TaskKind.INSPECT])]
    known = [result["media"] for result in results if result]
    if not known:
        return None
    try:
        media = documents.from_document(SourceMedia, known[-1])
    except documents.DocumentMalformed:
        return None  # written by a version that knew other facts
    return Found.of(media, truncated=video.truncated)


def _decided(tx: Connection, generation: records.Generation, found: list[records.Task]) -> Decided | None:
    text = generations.plan(tx, generation.id)
    if text is None:
        return None
    try:
        plan = Plan.from_json(text)
    except documents.DocumentMalformed:
        return None  # made by a version that decided other things
    scanned = generations.scan(tx, generation.id) is not None
    chunks = sum(task.kind is TaskKind.TRANSCODE for task in found) if scanned else None
    return Decided.of(plan, frames=generation.frames_total, chunks=chunks)


def _error(code: str | None, message: str | None) -> StatusError | None:
    return None if code is None else StatusError(code=code, message=message or "")
