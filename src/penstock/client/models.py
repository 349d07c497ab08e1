"""What the server answers, as values. Fields that this version does not know are ignored; times are aware datetimes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from penstock.client.errors import ClientError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Rendition:
    """One rung or audio track."""

    name: str
    kind: str
    codecs: str | None
    bitrate: int  # bit/s
    size: int  # bytes so far
    segments: int
    complete: bool
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    language: str | None = None
    channels: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Playback:
    """Signed addresses of one viewing."""

    hls: str
    dash: str
    expires_at: datetime
    session_id: str


@dataclass(frozen=True, slots=True)
class Video:
    """One video as the library shows it to the caller."""

    id: str
    title: str
    filename: str | None
    visibility: str
    state: str
    playable: bool
    progress: float  # 0 to 1
    duration: float | None  # seconds
    width: int | None
    height: int | None
    truncated: bool
    error: Failure | None
    created_at: datetime
    uploaded_at: datetime | None
    playable_at: datetime | None
    ready_at: datetime | None
    failed_at: datetime | None
    timings: dict[str, float]  # seconds by stage
    renditions: tuple[Rendition, ...]
    playback: Playback | None
    watch_url: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some videos, and where to go on."""

    items: tuple[Video, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """How far a video has come."""

    id: str
    state: str
    playable: bool
    progress: float
    error: Failure | None = None
    duplicate_of: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in {"ready", "failed", "deleted"}


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload became."""

    id: str
    state: str
    duplicate: bool
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PartUrl:
    """Where to send one part of an upload."""

    number: int
    offset: int  # bytes
    size: int
    url: str


@dataclass(frozen=True, slots=True)
class PartReceived:
    """A part that is durable."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class Parts:
    """Which parts of an open upload are there, and those that are not, each with a fresh address."""

    part_size: int
    received: tuple[PartReceived, ...]
    missing: tuple[PartUrl, ...]


@dataclass(frozen=True, slots=True)
class Initiated:
    """An open upload, or the video that makes it needless."""

    upload_id: str | None
    video_id: str
    duplicate: bool
    part_size: int | None = None
    parts: tuple[PartUrl, ...] | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Places for tasks."""

    used: int
    total: int


@dataclass(frozen=True, slots=True)
class Service:
    """One process of a node."""

    name: str
    roles: tuple[str, ...]
    url: str | None
    version: str | None
    health: str | None  # ok, down; None: not known, as of a node that is not alive
    load: Load | None


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster; roles, versions, health and load are those of its services together."""

    name: str
    id: str | None
    here: bool  # whether it is the node that answers
    state: str  # alive, suspect, dead, left
    since: datetime
    address: str | None  # HOST:PORT of its membership service
    roles: tuple[str, ...]
    versions: tuple[str, ...]
    health: str | None
    load: Load | None
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes, as the one that answers sees them."""

    name: str | None  # None: no cluster is configured, and the only node is the one that answers
    nodes: tuple[Node, ...]


def read(model: Callable[..., T], answer: Any) -> T:
    """The value of an answer's JSON. Raises :class:`ClientError` where it is not of this form."""
    try:
        value: T = _adapter(model).validate_python(answer)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ClientError(
            f"The server's answer has no proper '{'.'.join(map(str, fault['loc']))}'; is it of another version?",
            code="unexpected_answer",
        ) from None
    return value


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)
