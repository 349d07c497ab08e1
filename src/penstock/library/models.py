"""What the library's answers look like."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from penstock.access.principals import Role
from penstock.catalog import videos
from penstock.video.lifecycle import VideoState
from penstock.video.timeline import TrackKind
from penstock.video.visibility import Visibility

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"  # a title is one line; PostgreSQL cannot store a NUL at all
Title = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=videos.TITLE_LIMIT, pattern=_NO_CONTROLS
    ),
]
Search = Annotated[str, StringConstraints(max_length=videos.TITLE_LIMIT, pattern=_NO_CONTROLS)]


def utc(milliseconds: int) -> datetime:
    """A time of the records, as answers state it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class Owner(BaseModel):
    """The account that uploaded a video."""

    id: str
    name: str


class Failure(BaseModel):
    """Why a video failed."""

    code: str
    message: str


class Rendition(BaseModel):
    """One rung or audio track. Before the first segment is encoded it is what the plan says."""

    name: str = Field(examples=["720p", "audio-0"])
    kind: TrackKind
    codecs: str | None = Field(
        description="RFC 6381; known from the first segment on.", examples=["avc1.64001f"]
    )
    bitrate: int = Field(
        description="Bit/s: measured once the rendition is complete, before that the encoder's cap."
    )
    size: int = Field(description="Bytes of all segments so far.")
    segments: int = Field(description="Number of segments so far.")
    complete: bool
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    language: str | None = None
    label: str | None = None
    channels: int | None = None
    url: str | None = Field(description="Its HLS media playlist, for who may watch.")


class Playback(BaseModel):
    """Signed addresses. Whoever has one can watch until it expires; each answer begins a new session."""

    hls: str = Field(description="HLS multivariant playlist.")
    dash: str = Field(description="DASH manifest.")
    expires_at: datetime
    session_id: str = Field(
        description="Names this viewing in the logs. Send it as `session` to go on with fresh addresses."
    )


class Video(BaseModel):
    """A video as its caller may see it. What only the owner may know is null for others."""

    id: str
    title: str
    filename: str | None = Field(description="As uploaded; for the owner.")
    owner: Owner
    visibility: Visibility
    state: VideoState
    playable: bool = Field(description="Whether the beginning can be streamed.")
    progress: float = Field(ge=0, le=1, description="Share of the processing that is done.")
    duration: float | None = Field(description="Seconds; null until the source was inspected.")
    width: int | None = Field(description="Of the source, in pixels as displayed.")
    height: int | None
    truncated: bool = Field(
        description="The source ended before its header said, or its clock began again; what could be decoded is here."
    )
    error: Failure | None = Field(description="Why it failed; for the owner.")
    duplicate_of: str | None = Field(
        description="The video that already had these bytes, where this one was dropped."
    )
    created_at: datetime
    uploaded_at: datetime | None
    playable_at: datetime | None
    ready_at: datetime | None
    failed_at: datetime | None
    timings: dict[str, float] = Field(description="Seconds that each stage took, as far as it has come.")
    renditions: list[Rendition]
    poster: str | None = Field(
        description="Address of a still picture, for who may watch, once it is ready. Null for sound without pictures."
    )
    playback: Playback | None = Field(
        description="Null while nothing can be played, or for who may not watch."
    )
    watch_url: str | None = Field(
        description="The watch page. For the owner of a private video it lets its holder watch for a week."
    )


class VideoChange(BaseModel):
    """What can be changed about a video; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    title: Title | None = None
    visibility: Visibility | None = None


class Me(BaseModel):
    """The caller."""

    id: str
    login: str
    name: str
    role: Role
    key_id: str | None
    scopes: list[str] = Field(description="What the key presented may be used for.")
