"""``poster`` and ``captions``: one file each beside the tracks. A video can do without them, so they hold nothing back."""

from penstock.catalog import artefacts
from penstock.ffmpeg.outputs import MadeFile
from penstock.processing.attempt import Attempt


def poster(attempt: Attempt) -> None:
    """The still that stands for the video."""
    made = attempt.parts.media.poster(
        attempt.source(), attempt.plan(), attempt.scratch, cancel=attempt.run.cancel
    )
    _commit(attempt, made, "poster")


def captions(attempt: Attempt) -> None:
    """One text subtitle stream as WebVTT."""
    plan = attempt.plan()
    track = plan.captions[attempt.task.index]
    made = attempt.parts.media.captions(
        attempt.source(), plan, track, attempt.scratch, cancel=attempt.run.cancel
    )
    _commit(attempt, made, "captions", language=track.language, label=track.label)


def _commit(
    attempt: Attempt, made: MadeFile, kind: str, *, language: str | None = None, label: str | None = None
) -> None:
    key = attempt.put(made.name, made.path, size=made.size)
    with attempt.committing() as (tx, generation):
        artefacts.record(
            tx,
            attempt.artefact(
                generation.id,
                made.name,
                kind,
                key,
                size=made.size,
                sha256=made.sha256,
                media_type=made.media_type,
                language=language,
                label=label,
            ),
        )
    attempt.log.info("artefact_made", name=made.name, kind=kind, bytes=made.size)
