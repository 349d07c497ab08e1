"""How much work a task is, in seconds on one slot: what progress, fairness and autoscaling count with.

Estimates, measured on two cores of 2.4 GHz and good to a factor of two; only their proportions matter.
"""

from fractions import Fraction

from penstock.video.plan import Plan

INSPECT = 0.5
LIGHT = 0.5  # poster, captions, publish
_PIXELS_PER_SECOND = 60e6  # encoded by one chunk's task, over all rungs
_DECODED_PER_SECOND = 250e6
_SOUND_SPEED = 60  # seconds of sound made per second
_SCAN_BYTES_PER_SECOND = 500e6


def chunk(plan: Plan, frames: int) -> float:
    """Encoding so many frames of the grid in all rungs."""
    assert plan.video is not None
    encoded = sum(rung.width * rung.height for rung in plan.rungs) * frames
    decoded = plan.video.width * plan.video.height * frames
    return round(encoded / _PIXELS_PER_SECOND + decoded / _DECODED_PER_SECOND, 3)


def audio(duration: Fraction) -> float:
    """Encoding one track."""
    return round(0.2 + float(duration) / _SOUND_SPEED, 3)


def scan(size: int) -> float:
    """Reading every packet's head."""
    return round(0.2 + size / _SCAN_BYTES_PER_SECOND, 3)


def total(plan: Plan, frames: int, duration: Fraction) -> float:
    """All of a video, before and beside the tasks that are known yet."""
    pictures = chunk(plan, frames) if plan.video is not None else 0.0
    return INSPECT + pictures + len(plan.audio) * audio(duration) + (2 + len(plan.captions)) * LIGHT
