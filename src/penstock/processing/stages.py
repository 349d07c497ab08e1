"""How long each stage of a video took, as a metric and for the log."""

from penstock.catalog import videos
from penstock.catalog.records import Video
from penstock.processing import metrics


def observe(video: Video, stage: str) -> float | None:
    """Counts the stage that was just reached; seconds since processing was asked for, None where that is unknown."""
    seconds = videos.timings(video).get(stage)
    if seconds is not None:
        metrics.stage_seconds.labels(stage).observe(seconds)
    return seconds
