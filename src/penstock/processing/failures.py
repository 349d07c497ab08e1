"""What an error means for the task that met it: try again, give up, or wait for something that is not its fault."""

import errno
from dataclasses import dataclass

from penstock.catalog.retries import RetryPolicy
from penstock.processing.config import ProcessingConfig
from penstock.video.errors import (
    CatalogUnavailable,
    Conflict,
    PenstockError,
    PermanentError,
    StorageFull,
    StorageUnavailable,
    ToolError,
    TransientError,
)

# Faults of the surroundings do not use up a task's tries: an outage of an hour must not fail every video it touches.
# They do after so many attempts, or a single object that can never be read would be tried for ever.
_PATIENCE = 50  # attempts; with the longest wait some hours


# A full disk as the system says it, where no store translated it: scratch files are written directly.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class AwaitsScan(TransientError):
    """The first chunk, planned on the header's word, did not come out: what the packets say is needed to go on."""

    code = "awaits_scan"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt is recorded that failed. ``message`` is shown to users."""

    code: str
    message: str
    permanent: bool
    counted: bool
    awaits_scan: bool = False  # tried again when the scan is done, not before


def judge(error: Exception, *, attempt: int) -> Verdict:
    """The verdict on what an attempt raised."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        error = StorageFull("The scratch space is full; the work goes on when there is room again.")
    if not isinstance(error, PenstockError):
        return Verdict(
            code="internal_error",
            message="Processing stopped for an internal reason; the service's log says more.",
            permanent=False,
            counted=True,
        )
    awaits_scan = isinstance(error, AwaitsScan)
    surroundings = isinstance(error, StorageFull | StorageUnavailable | CatalogUnavailable)
    return Verdict(
        code=error.code,
        message=error.detail,
        # A conflict is a race with another process: what it did is seen at the next attempt. Tools that can be started but not
        # by this task may be by the next attempt.
        permanent=isinstance(error, PermanentError) and not isinstance(error, Conflict | ToolError),
        counted=not (surroundings or awaits_scan) or attempt >= _PATIENCE,
        awaits_scan=awaits_scan,
    )


def retry_policy(config: ProcessingConfig) -> RetryPolicy:
    """The configured counts and waits as the records want them."""
    return RetryPolicy(
        max_failures=config.tries,
        backoff_ms=round(config.retry_base * 1000),
        backoff_limit_ms=round(config.retry_longest * 1000),
        alone_after_losses=config.losses_alone,
        dead_after_losses=config.losses_dead,
    )
