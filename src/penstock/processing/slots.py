"""How much this machine works on at once: lanes with so many places each, and what an encode is expected to occupy.

Arithmetic on what the machine has; which task gets a free place is the relay's decision.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from penstock.processing.config import ProcessingConfig
from penstock.video.plan import Plan

_MEGABYTE = 1_000_000
_PROCESS_BYTES = 60 * _MEGABYTE  # one media process before its first picture
# Whole pictures alive at once, measured from resident memory and rounded up: references and reordering of the decoder and
# the queue between its threads; of an encoder, 40 pictures of lookahead, its references and reconstructed pictures.
_DECODED_PICTURES = 32
_ENCODED_PICTURES = 64


class Lane(StrEnum):
    """Places that tasks of one sort share."""

    URGENT = "urgent"  # inspect and first chunks: what a newcomer waits for
    ENCODE = "encode"
    AUDIO = "audio"
    LIGHT = "light"


def places(config: ProcessingConfig) -> Mapping[Lane, int]:
    """How many tasks each lane runs at once on this machine."""
    available = cores()
    encodes = config.encode_slots or max(2, abreast())
    return {
        Lane.URGENT: config.urgent_slots,
        Lane.ENCODE: encodes,
        Lane.AUDIO: config.audio_slots or max(2, available),
        Lane.LIGHT: config.light_slots,
    }


def abreast() -> int:
    """How many encodes this machine runs side by side without slowing each other down: each keeps two cores busy."""
    return max(1, cores() // 2)


def memory_budget(config: ProcessingConfig) -> int:
    """Bytes that all encodes together may be expected to occupy."""
    return config.memory_budget or memory() // 2


def encode_memory(plan: Plan) -> int:
    """Bytes that encoding one chunk of this plan is expected to occupy at its peak; never less than it was measured."""
    if plan.video is None:
        return _PROCESS_BYTES
    depth = 3 if plan.video.tonemap else 1  # two bytes per sample, and some pictures in floating point
    decoded = plan.video.width * plan.video.height * 3 // 2 * depth * _DECODED_PICTURES
    encoded = sum(rung.width * rung.height * 3 // 2 for rung in plan.rungs) * _ENCODED_PICTURES
    return _PROCESS_BYTES + decoded + encoded


def cores() -> int:
    """Processors this process may use, its control group's quota included."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, round(int(quota) / int(period))))  # "max" is no number: no quota
    return count


def memory() -> int:
    """Bytes of memory this process may use, its control group's limit included."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total
