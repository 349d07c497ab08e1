"""What every HTTP service counts."""

from prometheus_client import Counter, Histogram

REQUEST_SECONDS = Histogram(
    "penstock_http_request_seconds",
    "Time from the arrival of a request to the end of its response, by route template.",
    ["service", "method", "route", "status"],
    # A cached segment takes under a millisecond; an upload minutes.
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
RESPONSE_BYTES = Counter(
    "penstock_http_response_bytes",
    "Bytes of response bodies that passed through the application; files sent by path count elsewhere.",
    ["service", "route"],
)
