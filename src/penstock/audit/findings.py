"""What an audit can find: each fault with a stable code, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """The codes. What is printed beside them may be reworded; they may not."""

    SOURCE_MISSING = "source_missing"
    SOURCE_DAMAGED = "source_damaged"
    UPLOAD_UNRECORDED = "upload_unrecorded"
    EVENT_MISSING = "event_missing"
    EVENT_ILLEGAL = "event_illegal"
    STATE_DIFFERS = "state_differs"
    PLAYABLE_DIFFERS = "playable_differs"
    VIDEO_STUCK = "video_stuck"
    TASK_UNFINISHED = "task_unfinished"
    TASK_LEFT_OVER = "task_left_over"
    TASK_COMMITTED_TWICE = "task_committed_twice"
    TRACK_INCOMPLETE = "track_incomplete"
    OBJECT_MISSING = "object_missing"
    OBJECT_DAMAGED = "object_damaged"
    TIMELINE_MALFORMED = "timeline_malformed"
    TIMELINE_CHANGED = "timeline_changed"
    TIMELINE_DIFFERS = "timeline_differs"
    TIMELINE_UNRECORDED = "timeline_unrecorded"
    TIMELINE_MISSING = "timeline_missing"
    ORPHAN = "orphan"
    STRANGER = "stranger"


_DEFECT = "This should not happen: keep the log and the records, and report it."
_AGAIN = "Delete the video and upload it again; its history says what happened to it."

REMEDIES: Mapping[Fault, str] = {
    Fault.SOURCE_MISSING: f"Restore the source from a backup. {_AGAIN}",
    Fault.SOURCE_DAMAGED: f"Restore the source from a backup. {_AGAIN}",
    Fault.UPLOAD_UNRECORDED: _DEFECT,
    Fault.EVENT_MISSING: _DEFECT,
    Fault.EVENT_ILLEGAL: _DEFECT,
    Fault.STATE_DIFFERS: _DEFECT,
    Fault.PLAYABLE_DIFFERS: _DEFECT,
    Fault.VIDEO_STUCK: f"Nothing will ever move it. {_AGAIN}",
    Fault.TASK_UNFINISHED: _DEFECT,
    Fault.TASK_LEFT_OVER: _DEFECT,
    Fault.TASK_COMMITTED_TWICE: _DEFECT,
    Fault.TRACK_INCOMPLETE: _DEFECT,
    Fault.OBJECT_MISSING: f"Restore the outputs from a backup. {_AGAIN}",
    Fault.OBJECT_DAMAGED: f"Restore the outputs from a backup. {_AGAIN}",
    Fault.TIMELINE_MALFORMED: _AGAIN,
    Fault.TIMELINE_CHANGED: _DEFECT,
    Fault.TIMELINE_DIFFERS: _DEFECT,
    Fault.TIMELINE_UNRECORDED: "The records are older than the objects: restore both from the same moment.",
    Fault.TIMELINE_MISSING: f"Restore the outputs from a backup. {_AGAIN}",
    Fault.ORPHAN: "Nothing can refer to it any more: 'penstock fsck --repair' removes it.",
    Fault.STRANGER: "These records know no such video. If database and stores belong together, remove it by hand.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: ``what`` is wrong, and ``where``: an object's key with its store, or the record's kind and id."""

    code: Fault
    what: str
    where: str
    video_id: str | None = None
    repaired: bool = False

    @property
    def remedy(self) -> str:
        """What to do."""
        return REMEDIES[self.code]

    @property
    def same(self) -> tuple[str, str]:
        """Equal for two looks at one fault, though sizes and times may be told anew."""
        return self.code, self.where
