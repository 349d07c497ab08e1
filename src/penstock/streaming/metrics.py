"""What the streaming service counts."""

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "penstock_stream_requests",
    "Playback requests by what was asked (manifest, segment, init, file) and status.",
    ["kind", "status"],
)
BYTES = Counter("penstock_stream_bytes", "Bytes of bodies handed to the server for playback.", ["kind"])
SECONDS = Histogram(
    "penstock_stream_seconds",
    "Time until the response was handed to the server; a whole file is sent by the server after that.",
    ["kind"],
    # A known segment takes a fifth of a millisecond, a timeline that has to be read first some tens.
    buckets=(0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
TIMELINE_READS = Counter(
    "penstock_stream_timeline_reads",
    "Looks for a newer timeline version: found, same, none (nothing published), failed.",
    ["outcome"],
)
TIMELINE_SEGMENTS = Gauge("penstock_stream_timeline_segments", "Segments of the timelines in memory.")
SWITCHES = Counter(
    "penstock_stream_rung_switches", "Rung switches seen at this node, up or down.", ["direction"]
)


@lru_cache(maxsize=512)
def _of(kind: str, status: int) -> tuple[Counter, Histogram, Counter]:
    return REQUESTS.labels(kind, str(status)), SECONDS.labels(kind), BYTES.labels(kind)


def answered(kind: str, status: int, seconds: float, size: int) -> None:
    """Counts an answer. Finding the three counters by their labels costs more than counting, so it is done once."""
    requests, durations, sizes = _of(kind, status)
    requests.inc()
    durations.observe(seconds)
    sizes.inc(size)
