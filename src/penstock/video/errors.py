"""The error tree: every failure Penstock reports on purpose is one of these classes.

An error carries a stable ``code`` (clients and operators match on it), a ``detail`` that names the remedy, and the HTTP
status it suggests. Rendering belongs to ``web_api.problems`` and the command line; nothing here knows either. Details
never hold object keys, host names, paths of this machine or secrets: they are shown to strangers.

Two branches matter to processing: ``PermanentError`` (trying again cannot help) and ``TransientError`` (it may).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field of a request: ``pointer`` is an RFC 6901 JSON pointer, ``detail`` says what is expected."""

    pointer: str
    detail: str


class PenstockError(Exception):
    """Base of the tree. Unless a subclass says otherwise, raising it left no record and no object changed."""

    code = "internal_error"
    status = 500
    title = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        retry_after: int | None = None,
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        """``retry_after`` is in seconds; ``errors`` names the offending fields of an invalid request."""
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.errors = errors


class PermanentError(PenstockError):
    """Trying again cannot help: the input or the request itself is at fault."""


class TransientError(PenstockError):
    """The same call may succeed later; nothing was lost. Bounded retries with back-off are right."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"


class InvalidRequest(PermanentError):
    """The request does not say what it must. Nothing was changed."""

    code = "invalid_request"
    status = 422
    title = "Invalid request"


class Unauthenticated(PermanentError):
    """No credential, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    title = "Authentication required"


class Forbidden(PermanentError):
    """The credential is good; it does not permit this."""

    code = "forbidden"
    status = 403
    title = "Not permitted"


class NotFound(PermanentError):
    """No such thing, or the caller may not know that there is."""

    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(PermanentError):
    """The thing exists and is in a state that forbids this now. Nothing was changed."""

    code = "conflict"
    status = 409
    title = "Conflict"


class Gone(PermanentError):
    """The thing existed and ended: an expired upload, for instance."""

    code = "gone"
    status = 410
    title = "No longer there"


class TooLarge(PermanentError):
    """More bytes than a limit allows. What had arrived is discarded."""

    code = "too_large"
    status = 413
    title = "Too large"


class UnsupportedMedia(PermanentError):
    """A request body or an upload of a kind that is not accepted."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media"


class RateLimited(TransientError):
    """The caller asks more than its share; ``retry_after`` says when to come back."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"


class StorageFull(TransientError):
    """No room for the bytes. Nothing was acknowledged; partial bytes are removed."""

    code = "storage_full"
    status = 507
    title = "Storage is full"


class StorageUnavailable(TransientError):
    """The object store did not answer, or answered with a fault of its own."""

    code = "storage_unavailable"


class CatalogUnavailable(TransientError):
    """The database did not answer, or stayed locked longer than the busy timeout."""

    code = "catalog_unavailable"


class MediaError(PermanentError):
    """The source cannot become a video. ``code`` tells the user which way it is at fault; the video becomes ``failed``."""

    code = "media_invalid"
    status = 422
    title = "The media cannot be processed"


class ToolError(PermanentError):
    """A media tool is missing, lacks what the plan needs, or misbehaves on every input. An operator must act."""

    code = "tool_unusable"
    title = "A media tool is unusable"


class ToolFailed(TransientError):
    """One run of a media tool failed, was killed, or delivered other than the plan says. Its output is discarded."""

    code = "tool_failed"


class Cancelled(PenstockError):
    """The work was called off: its video was deleted, its claim was taken over, or the process is stopping."""

    code = "cancelled"
    status = 409
    title = "Cancelled"


class IllegalTransition(Conflict):
    """The lifecycle has no such step from the present state. Nothing was changed."""

    code = "illegal_transition"


class StaleClaim(Conflict):
    """A zombie's commit: the task was taken over by another attempt. Nothing was changed."""

    code = "stale_claim"


class ConfigurationError(PermanentError):
    """Settings that contradict each other or the machine; the process refuses to start."""

    code = "configuration_invalid"
    title = "Invalid configuration"
