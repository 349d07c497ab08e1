"""What the upload service counts."""

from prometheus_client import Counter, Gauge, Histogram

RECEIVED_BYTES = Counter(
    "penstock_upload_received_bytes", "Bytes of sources received, kept or not.", ["transport"]
)
TRANSFERS = Gauge("penstock_upload_transfers", "Requests whose body is being received now.")
ENDED = Counter(
    "penstock_uploads_ended",
    "Upload sessions that ended: completed, duplicate, cancelled, or refused with a code.",
    ["transport", "outcome"],
)
COMPLETION_SECONDS = Histogram(
    "penstock_upload_completion_seconds",
    "Time from the last byte, or the request to complete, to the durable source and its record.",
    ["transport"],
    # One sync of the disk and two commits at best; a large direct upload is read once more for its digest.
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
FOLLOWERS = Gauge("penstock_upload_followers", "Clients that follow a video's history now.")
