"""What the streaming service counts."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

TIMELINE_READS = Counter(
    "penstock_stream_timeline_reads",
    "Looks for a newer timeline version: found, same, none (nothing published), failed.",
    ["outcome"],
)
TIMELINE_SEGMENTS = Gauge("penstock_stream_timeline_segments", "Segments of the timelines in memory.")
SWITCHES = Counter(
    "penstock_stream_rung_switches", "Rung switches seen at this node, up or down.", ["direction"]
)
# Seconds. A known segment takes some hundredths of a millisecond, a timeline that has to be read first some tens.
_BOUNDS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class Answers(Collector):
    """Answers by kind and status, counted for each by one thread, and told in the library's form when they are asked for.

    The library's own counters take a lock for each of the three figures of an answer, which together costs as much as finding a
    segment does.
    """

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._bytes: defaultdict[str, int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))

    def count(self, kind: str, status: int, seconds: float, size: int) -> None:
        """One answer: what was asked, how it was answered, seconds until that was known, bytes of the body that were sent."""
        self._requests[kind, status] += 1
        self._bytes[kind] += size
        self._seconds[kind] += seconds
        self._buckets[kind][bisect_left(_BOUNDS, seconds)] += 1

    def describe(self) -> list[Metric]:
        """Names only: nothing was counted yet when this is registered."""
        return list(self._families())

    def collect(self) -> Iterator[Metric]:
        """See the library. The copies are taken in one step each, so another thread may count meanwhile."""
        requests, sizes, durations = self._families()
        for (kind, status), number in self._requests.copy().items():
            requests.add_metric([kind, str(status)], number)
        for kind, size in self._bytes.copy().items():
            sizes.add_metric([kind], size)
        for kind, counts in self._buckets.copy().items():
            total, buckets = 0, []
            for bound, number in zip((*map(str, _BOUNDS), "+Inf"), counts.copy(), strict=True):
                total += number
                buckets.append((bound, float(total)))
            durations.add_metric([kind], buckets, self._seconds[kind])
        yield from (requests, sizes, durations)

    @staticmethod
    def _families() -> tuple[CounterMetricFamily, CounterMetricFamily, HistogramMetricFamily]:
        return (
            CounterMetricFamily(
                "penstock_stream_requests",
                "Playback requests by what was asked (manifest, segment, init, file) and status.",
                labels=["kind", "status"],
            ),
            CounterMetricFamily(
                "penstock_stream_bytes", "Bytes of bodies that were sent for playback.", labels=["kind"]
            ),
            HistogramMetricFamily(
                "penstock_stream_seconds",
                "Time until the answer was known; how long its client took to take it is in the log.",
                labels=["kind"],
            ),
        )


ANSWERS = Answers()
REGISTRY.register(ANSWERS)
