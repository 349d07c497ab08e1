"""The tables, in the one dialect-neutral form that both databases share.

Times are UTC milliseconds since the Unix epoch. Ids are those of ``video.identity``. A migration under ``migrations``
must follow every change here; a test compares the two on both databases.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from penstock.catalog.dialect import Choice, Json
from penstock.catalog.words import AnswerState, Role, TaskKind, TaskState, Transport, UploadState, Visibility
from penstock.video.lifecycle import GenerationState, VideoState
from penstock.video.timeline import TrackKind

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID = String(26)
_DIGEST = String(64)  # hexadecimal SHA-256
_MS = BigInteger
_KEY = String(1024)
_NAME = String(255)
_TRACE = String(128)  # W3C traceparent

UNTOLD = ("tombstone IS NULL", "timeline_version > 0", "state IN ('failed', 'cancelled', 'retired')")
"""Of a generation that has ended: its players may have to be told. The index and the query must say it alike."""


def _partial_index(name: str, condition: str, *columns: str) -> Index:
    """An index of the rows that fulfil a condition, on both databases."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


accounts = Table(
    "accounts",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("login", _NAME, nullable=False, unique=True),  # lower-cased
    Column("name", _NAME, nullable=False),
    Column("role", Choice(Role), nullable=False),
    Column("password_hash", Text),  # argon2; NULL: signs in with API keys only
    Column(
        "served", Double, nullable=False, server_default="0"
    ),  # seconds of work done for it, decayed to served_at
    Column("served_at", _MS, nullable=False, server_default="0"),
    Column("upload_size", BigInteger),  # what of it is set holds for this account in place of the settings
    Column("open_uploads", Integer),
    Column("uploads_per_minute", Integer),
    Column("stored_bytes", BigInteger),
    Column("disabled_at", _MS),
    Column("created_at", _MS, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("account_id", _ID, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", _NAME, nullable=False),
    Column("prefix", String(32), nullable=False),  # the first characters, to recognise a key by
    Column("digest", _DIGEST, nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    Column("created_at", _MS, nullable=False),
    Column("expires_at", _MS),
    Column("last_used_at", _MS),
    Column("revoked_at", _MS),
)

videos = Table(
    "videos",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("owner_id", _ID, ForeignKey("accounts.id"), nullable=False),
    Column("title", String(512), nullable=False),
    Column("filename", String(512), nullable=False),
    Column("folded_title", Text, nullable=False),  # without letter case: searched, and sorted by
    Column("folded_filename", Text, nullable=False),  # searched by those who may know it
    Column("visibility", Choice(Visibility), nullable=False),
    Column("state", Choice(VideoState), nullable=False),
    Column("version", Integer, nullable=False),  # rises with every change of state
    Column("playable", Boolean, nullable=False, server_default=false()),
    Column(
        "dedupe_key", String(128), unique=True
    ),  # owner and digest, while the video stands for that source
    Column("duplicate_of", _ID),
    Column("current_generation_id", _ID),  # the one being made, or the last that was
    Column("published_generation_id", _ID),  # the one that players are sent to
    Column("source_key", _KEY),
    Column("source_size", _MS),
    Column("source_sha256", _DIGEST),
    Column("source_content_type", _NAME),
    Column("source_dropped_at", _MS),
    Column("duration_ms", _MS),
    Column("width", Integer),
    Column("height", Integer),
    Column("truncated", Boolean, nullable=False, server_default=false()),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("events", Integer, nullable=False, server_default="0"),  # number of the last event
    Column("traceparent", _TRACE),
    Column("created_at", _MS, nullable=False),
    Column("updated_at", _MS, nullable=False),
    Column("uploaded_at", _MS),
    Column("started_at", _MS),  # when processing was last asked for: uploaded, retried
    Column("inspected_at", _MS),
    Column("playable_at", _MS),
    Column("ready_at", _MS),
    Column("failed_at", _MS),
    Column("deleted_at", _MS),
    Index("ix_videos_owner_id_id", "owner_id", "id"),
    Index("ix_videos_state_id", "state", "id"),
)

generations = Table(
    "generations",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("video_id", _ID, ForeignKey("videos.id"), nullable=False),
    Column("number", Integer, nullable=False),  # from 1 per video
    Column("state", Choice(GenerationState), nullable=False),
    Column("version", Integer, nullable=False),
    Column("plan", Text),  # canonical JSON, see video.plan; NULL until inspected
    Column("plan_digest", _DIGEST),
    Column("scan", Text),  # canonical JSON: what the scan found
    Column("tool_fingerprint", _DIGEST),
    Column("frames_total", BigInteger),  # of the output grid; final once scanned
    Column(
        "work_total", Double, nullable=False, server_default="0"
    ),  # estimated seconds of work, the base of progress
    Column("progress", Double, nullable=False, server_default="0"),  # 0..1, never goes back
    Column("published_prefix_ms", _MS, nullable=False, server_default="0"),
    Column("timeline_version", Integer, nullable=False, server_default="0"),  # the last number taken
    Column("first_published_at", _MS),
    Column("published_at", _MS),  # of the last version
    Column("tombstone", String(16)),  # the final timeline version that is durable: failed, deleted
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("traceparent", _TRACE),
    Column("created_at", _MS, nullable=False),
    Column("updated_at", _MS, nullable=False),
    Column("started_at", _MS),
    Column("playable_at", _MS),
    Column("frozen_at", _MS),
    Column("ended_at", _MS),  # failed, cancelled or retired
    UniqueConstraint("video_id", "number"),
    Index("ix_generations_state", "state"),
    _partial_index("ix_generations_untold", " AND ".join(UNTOLD), "id"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("video_id", _ID, ForeignKey("videos.id"), nullable=False, index=True),
    Column("owner_id", _ID, ForeignKey("accounts.id"), nullable=False),
    Column("transport", Choice(Transport), nullable=False),
    Column("state", Choice(UploadState), nullable=False),
    Column("size", _MS),  # NULL: not yet declared
    Column("sha256", _DIGEST),  # as declared by the client
    Column("content_type", _NAME),
    Column("received", _MS, nullable=False, server_default="0"),  # bytes that are durable, contiguous from 0
    Column("part_size", _MS),
    Column("allow_duplicate", Boolean, nullable=False, server_default=false()),
    Column("source_key", _KEY, nullable=False),
    Column("transport_data", Json),  # what the transport must remember
    Column(
        "staged", Text, nullable=False, server_default=""
    ),  # the staging's mark of the bytes that are durable
    Column(
        "writer", _ID
    ),  # the request that writes now, or died doing so; of transports that go on where they were
    Column("asked", Integer, nullable=False, server_default="0"),  # times that a writer was asked to let go
    Column("expires_at", _MS, nullable=False),
    Column("created_at", _MS, nullable=False),
    Column("updated_at", _MS, nullable=False),
    Column("ended_at", _MS),
    Index("ix_uploads_state_expires_at", "state", "expires_at"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("upload_id", _ID, ForeignKey("uploads.id"), nullable=False),
    Column("number", Integer, nullable=False),  # from 1
    Column("size", _MS, nullable=False),
    Column("etag", String(128)),
    Column("sha256", _DIGEST),
    Column("received_at", _MS, nullable=False),
    PrimaryKeyConstraint("upload_id", "number"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("node_id", _NAME, nullable=False),
    Column("slot", Integer, nullable=False),  # which processing process of the node
    Column("boot", Integer, nullable=False),  # rises each time the slot is taken
    Column("capacity", Integer, nullable=False),  # tasks it runs at once
    Column("tool_fingerprint", _DIGEST),
    Column("version", String(64), nullable=False),
    Column("started_at", _MS, nullable=False),
    Column("renewed_at", _MS, nullable=False),
    Column("lease_until", _MS, nullable=False, index=True),
    UniqueConstraint("node_id", "slot", "boot"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("video_id", _ID, ForeignKey("videos.id"), nullable=False),
    Column("generation_id", _ID, ForeignKey("generations.id"), nullable=False),
    Column(
        "account_id", _ID, ForeignKey("accounts.id"), nullable=False
    ),  # the video's owner: fairness is between accounts
    Column("kind", Choice(TaskKind), nullable=False),
    Column("index", Integer, nullable=False, server_default="0"),
    Column("state", Choice(TaskState), nullable=False),
    Column("required", Boolean, nullable=False),  # the video fails with it
    Column("urgent", Boolean, nullable=False),  # what early play waits for: a queue and a slot of their own
    Column(
        "turn", Double, nullable=False, server_default="0"
    ),  # place in its account's line, in seconds of work
    Column("work", Double, nullable=False, server_default="1"),  # estimated seconds on one slot
    Column("tool_fingerprint", _DIGEST),  # only workers with these tools may claim it; NULL: any
    Column("payload", Json, nullable=False),
    Column("result", Json),
    Column("progress", Double, nullable=False, server_default="0"),
    Column("not_before", _MS, nullable=False, server_default="0"),
    Column("announced_at", _MS),
    Column("attempt", Integer, nullable=False, server_default="0"),  # the fence: rises with every claim
    Column("failures", Integer, nullable=False, server_default="0"),  # the retry budget
    Column("losses", Integer, nullable=False, server_default="0"),  # times its worker vanished
    Column("worker_id", _ID),  # of the last claim; no foreign key, as dead workers' rows are removed
    Column("node_id", _NAME),  # of the last claim's worker; stays when that worker's row is removed
    Column("message_id", _NAME),  # of the message that carried the claim
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("traceparent", _TRACE),
    Column("created_at", _MS, nullable=False),
    Column("queued_at", _MS, nullable=False),
    Column("claimed_at", _MS),
    Column("ended_at", _MS),
    UniqueConstraint("generation_id", "kind", "index"),
    Index("ix_tasks_video_id", "video_id"),
    # What is swept again and again must not grow with what is finished, which is nearly everything. In the relay's order:
    _partial_index("ix_tasks_waiting", "state = 'queued'", "urgent", "account_id", "kind", "turn", "id"),
    _partial_index("ix_tasks_due", "state = 'queued'", "not_before"),
    _partial_index("ix_tasks_announced", "state = 'queued' AND announced_at IS NOT NULL", "account_id"),
    _partial_index("ix_tasks_claimed", "state = 'claimed'", "worker_id"),
    _partial_index("ix_tasks_dead", "state = 'dead' AND error_code != 'cancelled'", "id"),
)

tracks = Table(
    "tracks",
    metadata,
    Column("generation_id", _ID, ForeignKey("generations.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("kind", Choice(TrackKind), nullable=False),
    Column("position", Integer, nullable=False),  # order in the manifests
    Column("codecs", String(128)),  # with the init segment, known from the first commit on
    Column("timescale", Integer, nullable=False),
    Column("bandwidth", Integer, nullable=False),
    Column("init_key", _KEY),
    Column("init_size", Integer),
    Column("init_sha256", _DIGEST),
    Column("width", Integer),
    Column("height", Integer),
    Column("frame_rate_num", Integer),
    Column("frame_rate_den", Integer),
    Column("language", String(35)),
    Column("label", _NAME),
    Column("channels", Integer),
    Column("default", Boolean, nullable=False, server_default=false()),
    Column("segments_total", Integer),  # how many there will be; NULL: not known yet
    Column(
        "contiguous", Integer, nullable=False, server_default="0"
    ),  # number of the last segment of the unbroken run
    Column("contiguous_end", BigInteger, nullable=False, server_default="0"),  # ticks: where that run ends
    Column("complete", Boolean, nullable=False, server_default=false()),  # no further segment will come
    PrimaryKeyConstraint("generation_id", "name"),
)

segments = Table(
    "segments",
    metadata,
    Column("generation_id", _ID, nullable=False),
    Column("track", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("start", BigInteger, nullable=False),  # ticks of the track
    Column("duration", BigInteger, nullable=False),
    Column("frames", Integer, nullable=False),  # pictures, or audio packets
    Column("size", Integer, nullable=False),
    Column("sha256", _DIGEST, nullable=False),
    Column("prefix", String(128), nullable=False),  # of the attempt that wrote the object
    Column("keyframes", Json, nullable=False),  # [[offset, length, duration], ...]
    PrimaryKeyConstraint("generation_id", "track", "number"),
    ForeignKeyConstraint(["generation_id", "track"], ["tracks.generation_id", "tracks.name"]),
    Index("ix_segments_prefix", "prefix"),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("generation_id", _ID, ForeignKey("generations.id"), nullable=False),
    Column("name", String(128), nullable=False),  # the last part of its URL
    Column("kind", String(32), nullable=False),  # poster, captions, packet_index, ...
    Column("key", _KEY, nullable=False, index=True),
    Column("size", _MS, nullable=False),
    Column("sha256", _DIGEST, nullable=False),
    Column("media_type", _NAME, nullable=False),
    Column("language", String(35)),
    Column("label", _NAME),
    Column("public", Boolean, nullable=False),  # named by the timeline
    PrimaryKeyConstraint("generation_id", "name"),
)

events = Table(
    "events",
    metadata,
    Column("video_id", _ID, ForeignKey("videos.id"), nullable=False),
    Column("number", Integer, nullable=False),  # from 1 without gaps, in the order of commits
    Column("at", _MS, nullable=False),
    Column("who", _NAME, nullable=False),
    Column("event", String(64), nullable=False),
    Column("from_state", String(32)),
    Column("to_state", String(32)),
    Column("why", Text),
    Column("generation_id", _ID),
    Column("task_id", _ID),
    Column("data", Json),
    PrimaryKeyConstraint("video_id", "number"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner_id", _ID, nullable=False),
    Column("key", _NAME, nullable=False),
    Column("request_digest", _DIGEST, nullable=False),
    Column("state", Choice(AnswerState), nullable=False),
    Column("holder", _ID, nullable=False),  # of the request that is running: only it may store the answer
    Column("status", Integer),
    Column("body", Json),
    Column("created_at", _MS, nullable=False),
    Column("expires_at", _MS, nullable=False, index=True),
    PrimaryKeyConstraint("owner_id", "key"),
)

garbage = Table(
    "garbage",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("store", String(16), nullable=False),  # sources, outputs, staging
    Column("prefix", _KEY, nullable=False),  # a whole key, or what the keys begin with
    Column("reason", String(64), nullable=False),
    Column("video_id", _ID),
    Column("not_before", _MS, nullable=False, index=True),
    Column("created_at", _MS, nullable=False),
    UniqueConstraint("store", "prefix"),
)
