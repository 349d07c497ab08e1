"""What the streaming service refuses, beside what the token itself refuses (``access.playback``)."""

from penstock.video.errors import Conflict, InvalidRequest, NotFound, PenstockError

_RETRY_AFTER = 2  # seconds; timelines are published no more often


class VideoNotReady(Conflict):
    """The token is good, so the video exists, and nothing of it is published yet."""

    code = "video_not_ready"
    title = "Not ready"

    def __init__(self) -> None:
        super().__init__("The video cannot be played yet. Try again in a moment.", retry_after=_RETRY_AFTER)


class VideoFailed(Conflict):
    """A tombstone: processing ended without a result."""

    code = "video_failed"
    title = "Processing failed"


class VideoDeleted(NotFound):
    """A tombstone: the video was deleted."""

    code = "video_deleted"
    title = "Deleted"


class NotPublished(NotFound):
    """The timeline, read again just now, has no such segment, track or file."""

    code = "not_published"


class ObjectDamaged(PenstockError):
    """A published object is not what its record says. Nothing of it is sent; an operator must restore it."""

    code = "object_damaged"
    title = "Damaged object"


class RangeNotSatisfiable(InvalidRequest):
    """The range begins beyond the end of the object, which is ``size`` bytes long."""

    code = "range_not_satisfiable"
    status = 416
    title = "Range not satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins beyond the {size} bytes that there are.")
        self.size = size
