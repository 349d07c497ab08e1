"""The lifecycle of videos and generations: one table each, and one function that applies a table.

This file is the truth that the documentation's diagrams are generated from. It knows no records, no clocks and no
processing: the catalog applies a step by compare-and-swap and writes the event row, and nothing else changes a state.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from penstock.video.errors import IllegalTransition


class VideoState(StrEnum):
    """Where one video stands. ``playable`` is a fact beside the state, see :func:`may_be_playable`."""

    PENDING = "pending"  # an upload was opened; its bytes are not all there
    UPLOADED = "uploaded"  # the source is durable and acknowledged
    PROCESSING = "processing"  # inspected and planned; tasks are running
    READY = "ready"  # the whole timeline is published and frozen
    FAILED = "failed"  # ended with a reason; may be retried when the source is there
    DELETED = "deleted"  # final


class VideoEvent(StrEnum):
    """What can happen to a video."""

    UPLOAD_COMPLETED = "upload_completed"
    UPLOAD_ABANDONED = "upload_abandoned"
    INSPECTED = "inspected"
    FROZEN = "frozen"
    FAILED = "failed"
    RETRIED = "retried"
    REPROCESSED = "reprocessed"
    DELETED = "deleted"


class GenerationState(StrEnum):
    """Where one complete processing of a source stands."""

    PLANNED = "planned"
    ENCODING = "encoding"
    PUBLISHED = "published"
    RETIRED = "retired"
    FAILED = "failed"
    CANCELLED = "cancelled"


class GenerationEvent(StrEnum):
    """What can happen to a generation."""

    STARTED = "started"
    FROZEN = "frozen"
    REPLACED = "replaced"
    FAILED = "failed"
    RETRIED = "retried"
    CANCELLED = "cancelled"


V, VE, G, GE = VideoState, VideoEvent, GenerationState, GenerationEvent

VIDEO_TRANSITIONS: Mapping[tuple[VideoState, VideoEvent], VideoState] = {
    (V.PENDING, VE.UPLOAD_COMPLETED): V.UPLOADED,
    (V.PENDING, VE.UPLOAD_ABANDONED): V.DELETED,
    (V.UPLOADED, VE.INSPECTED): V.PROCESSING,
    (V.UPLOADED, VE.FAILED): V.FAILED,
    (V.PROCESSING, VE.FROZEN): V.READY,
    (V.PROCESSING, VE.FAILED): V.FAILED,
    (V.FAILED, VE.RETRIED): V.UPLOADED,
    # A ready video is processed again in a later generation; the earlier one keeps playing until the later is frozen.
    (V.READY, VE.REPROCESSED): V.READY,
    (V.READY, VE.FROZEN): V.READY,
    (V.PENDING, VE.DELETED): V.DELETED,
    (V.UPLOADED, VE.DELETED): V.DELETED,
    (V.PROCESSING, VE.DELETED): V.DELETED,
    (V.READY, VE.DELETED): V.DELETED,
    (V.FAILED, VE.DELETED): V.DELETED,
}

GENERATION_TRANSITIONS: Mapping[tuple[GenerationState, GenerationEvent], GenerationState] = {
    (G.PLANNED, GE.STARTED): G.ENCODING,
    (G.PLANNED, GE.FAILED): G.FAILED,
    (G.PLANNED, GE.CANCELLED): G.CANCELLED,
    (G.ENCODING, GE.FROZEN): G.PUBLISHED,
    (G.ENCODING, GE.FAILED): G.FAILED,
    (G.ENCODING, GE.CANCELLED): G.CANCELLED,
    # Retry keeps a generation whose plan is unchanged: finished tasks stay, attempts go on rising.
    (G.FAILED, GE.RETRIED): G.PLANNED,
    (G.FAILED, GE.REPLACED): G.RETIRED,
    (G.FAILED, GE.CANCELLED): G.CANCELLED,
    (G.PUBLISHED, GE.REPLACED): G.RETIRED,
    (G.PUBLISHED, GE.CANCELLED): G.CANCELLED,
}

FINAL_VIDEO_STATES = frozenset({VideoState.DELETED})
FINAL_GENERATION_STATES = frozenset({GenerationState.RETIRED, GenerationState.CANCELLED})


S = TypeVar("S", bound=StrEnum)  # PEP 695 syntax needs Python 3.12
E = TypeVar("E", bound=StrEnum)


def advance(table: Mapping[tuple[S, E], S], state: S, event: E) -> S:
    """The state after ``event``. Raises :class:`IllegalTransition`, with what would be legal, where the table has none."""
    try:
        return table[(state, event)]
    except KeyError:
        legal = sorted(str(known) for known_state, known in table if known_state == state)
        expects = f"it expects one of: {', '.join(legal)}" if legal else "that state is final"
        raise IllegalTransition(f"'{event}' cannot happen in state '{state}'; {expects}.") from None


def may_be_playable(state: VideoState) -> bool:
    """Whether a video in ``state`` can be streamed at all: ``failed`` and ``deleted`` end it, ``ready`` implies it."""
    return state in (VideoState.PROCESSING, VideoState.READY)


def diagram(table: Mapping[tuple[S, E], S], initial: S, final: frozenset[S]) -> str:
    """The table as Mermaid ``stateDiagram-v2`` source, one line per row in table order."""
    lines = ["stateDiagram-v2", f"    [*] --> {initial}"]
    lines += [f"    {state} --> {target}: {event}" for (state, event), target in table.items()]
    lines += [f"    {state} --> [*]" for state in sorted(final)]
    return "\n".join(lines)
