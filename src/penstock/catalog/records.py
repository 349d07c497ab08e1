"""The catalog's records as values: one frozen dataclass per table, its fields named as the columns.

Times are UTC milliseconds since the Unix epoch. A record is what one transaction saw; only the functions of this room
change what it stands for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from sqlalchemy import Row

from penstock.catalog.words import AnswerState, Role, TaskKind, TaskState, Transport, UploadState, Visibility
from penstock.video import keys
from penstock.video.lifecycle import GenerationState, VideoState
from penstock.video.timeline import TrackKind

R = TypeVar("R")


def load(record: type[R], row: Row[Any]) -> R:
    """The record that a row of its table holds."""
    return record(**row._asdict())


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who owns videos. A limit of its own uploads is None where the settings' holds."""

    id: str
    login: str
    name: str
    role: Role
    password_hash: str | None
    served: float
    served_at: int
    upload_size: int | None
    open_uploads: int | None
    uploads_per_minute: int | None
    stored_bytes: int | None
    disabled_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key; the key itself is shown once and never stored, ``digest`` is its SHA-256."""

    id: str
    account_id: str
    name: str
    prefix: str
    digest: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class Video:
    """One uploaded work."""

    id: str
    owner_id: str
    title: str
    filename: str
    visibility: Visibility
    state: VideoState
    version: int
    playable: bool
    dedupe_key: str | None
    duplicate_of: str | None
    current_generation_id: str | None
    published_generation_id: str | None
    source_key: str | None
    source_size: int | None
    source_sha256: str | None
    source_content_type: str | None
    source_dropped_at: int | None
    duration_ms: int | None
    width: int | None
    height: int | None
    truncated: bool
    error_code: str | None
    error_message: str | None
    events: int
    traceparent: str | None
    created_at: int
    updated_at: int
    uploaded_at: int | None
    started_at: int | None
    inspected_at: int | None
    playable_at: int | None
    ready_at: int | None
    failed_at: int | None
    deleted_at: int | None


@dataclass(frozen=True, slots=True)
class Generation:
    """One complete processing of a source under one plan. The plan itself is fetched apart: it may be long."""

    id: str
    video_id: str
    number: int
    state: GenerationState
    version: int
    plan_digest: str | None
    tool_fingerprint: str | None
    frames_total: int | None
    work_total: float
    progress: float
    published_prefix_ms: int
    timeline_version: int
    first_published_at: int | None
    published_at: int | None
    tombstone: str | None
    error_code: str | None
    error_message: str | None
    traceparent: str | None
    created_at: int
    updated_at: int
    started_at: int | None
    playable_at: int | None
    frozen_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload session."""

    id: str
    video_id: str
    owner_id: str
    transport: Transport
    state: UploadState
    size: int | None
    sha256: str | None
    content_type: str | None
    received: int
    part_size: int | None
    allow_duplicate: bool
    source_key: str
    transport_data: Any
    staged: str
    writer: str | None
    asked: int
    expires_at: int
    created_at: int
    updated_at: int
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One part of an upload that is durable."""

    upload_id: str
    number: int
    size: int
    etag: str | None
    sha256: str | None
    received_at: int


@dataclass(frozen=True, slots=True)
class Worker:
    """One processing process, alive while its lease is."""

    id: str
    node_id: str
    slot: int
    boot: int
    capacity: int
    tool_fingerprint: str | None
    version: str
    started_at: int
    renewed_at: int
    lease_until: int


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of processing work. ``worker_id`` and ``attempt`` together are the claim's fence."""

    id: str
    video_id: str
    generation_id: str
    account_id: str
    kind: TaskKind
    index: int
    state: TaskState
    required: bool
    urgent: bool
    turn: float
    work: float
    tool_fingerprint: str | None
    payload: Any
    result: Any
    progress: float
    not_before: int
    announced_at: int | None
    attempt: int
    failures: int
    losses: int
    worker_id: str | None
    node_id: str | None  # where it runs, or last ran
    message_id: str | None
    error_code: str | None
    error_message: str | None
    traceparent: str | None
    created_at: int
    queued_at: int
    claimed_at: int | None
    ended_at: int | None

    @property
    def prefix(self) -> str:
        """Where this attempt's objects go."""
        return keys.attempt_prefix(self.video_id, self.id, self.attempt)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be queued. Enqueuing one that exists (same generation, kind and index) changes nothing."""

    kind: TaskKind
    index: int = 0
    payload: Mapping[str, Any] | None = None
    required: bool = True
    urgent: bool = False
    work: float = 1.0  # estimated seconds on one slot
    tool_fingerprint: str | None = None  # only workers with these tools may claim it
    traceparent: str | None = None  # the generation's unless given


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """One rung or audio track of a generation. ``contiguous`` and ``complete`` are derived as segments are recorded."""

    generation_id: str
    name: str
    kind: TrackKind
    position: int
    codecs: str | None
    timescale: int
    bandwidth: int
    init_key: str | None
    init_size: int | None
    init_sha256: str | None
    width: int | None
    height: int | None
    frame_rate_num: int | None
    frame_rate_den: int | None
    language: str | None
    label: str | None
    channels: int | None
    default: bool
    segments_total: int | None
    contiguous: int
    contiguous_end: int
    complete: bool

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames per second of a rung."""
        return (
            Fraction(self.frame_rate_num, self.frame_rate_den)
            if self.frame_rate_num and self.frame_rate_den
            else None
        )

    @property
    def end(self) -> Fraction:
        """Seconds up to which the unbroken run of segments reaches."""
        return Fraction(self.contiguous_end, self.timescale)


@dataclass(frozen=True, slots=True)
class NewTrack:
    """A track as the plan knows it, before its first segment."""

    name: str
    kind: TrackKind
    position: int
    timescale: int
    bandwidth: int  # bit/s that the encoder is capped to
    width: int | None = None
    height: int | None = None
    frame_rate: Fraction | None = None
    language: str | None = None
    label: str | None = None
    channels: int | None = None
    default: bool = False
    segments_total: int | None = None


@dataclass(frozen=True, slots=True)
class InitSegment:
    """What the first commit of a track learns from its initialisation segment."""

    codecs: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One durable media segment of a track."""

    track: str
    number: int
    start: int
    duration: int
    frames: int
    size: int
    sha256: str
    prefix: str
    keyframes: tuple[tuple[int, int, int], ...] = ()  # offset, length, duration in ticks


@dataclass(frozen=True, slots=True)
class ArtefactRecord:
    """One durable object beside the tracks."""

    generation_id: str
    name: str
    kind: str
    key: str
    size: int
    sha256: str
    media_type: str
    language: str | None = None
    label: str | None = None
    public: bool = True


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a video's history."""

    video_id: str
    number: int
    at: int
    who: str
    event: str
    from_state: str | None
    to_state: str | None
    why: str | None
    generation_id: str | None
    task_id: str | None
    data: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An idempotent request and, once done, what was answered to it."""

    owner_id: str
    key: str
    request_digest: str
    state: AnswerState
    holder: str
    status: int | None
    body: Any
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """Objects that may be deleted once ``not_before`` has passed, unless a record refers to them."""

    id: str
    store: str
    prefix: str
    reason: str
    video_id: str | None
    not_before: int
    created_at: int
