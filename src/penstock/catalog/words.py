"""The catalog's own vocabularies, beside the lifecycle's: what a column of each kind may say."""

from enum import StrEnum

from penstock.video.visibility import Visibility

__all__ = [
    "AnswerState",
    "Role",
    "Sort",
    "TaskKind",
    "TaskState",
    "Transport",
    "UploadState",
    "Visibility",
]


class Role(StrEnum):
    """What an account may do."""

    USER = "user"
    ADMIN = "admin"


class Transport(StrEnum):
    """How the bytes of an upload arrive."""

    ONE_REQUEST = "one_request"
    PUT = "put"
    DIRECT = "direct"
    TUS = "tus"


class UploadState(StrEnum):
    """Where one upload session stands; only ``open`` ones accept bytes."""

    OPEN = "open"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class TaskKind(StrEnum):
    """Units of processing work."""

    INSPECT = "inspect"  # facts, ladder, grid, first chunk
    SCAN = "scan"  # every packet; plans the other chunks
    TRANSCODE = "transcode"  # index: chunk number
    AUDIO = "audio"  # index: audio track
    POSTER = "poster"
    CAPTIONS = "captions"  # index: text track
    PUBLISH = "publish"


class TaskState(StrEnum):
    """Where a task stands. A cancelled task is ``dead`` with the error code ``cancelled``."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"


class AnswerState(StrEnum):
    """Where an idempotent request stands."""

    RUNNING = "running"
    DONE = "done"


class Sort(StrEnum):
    """Orders of the video list; a leading minus means descending. Ids sort by creation."""

    NEWEST = "-created"
    OLDEST = "created"
    TITLE = "title"
