"""What the processing service counts, as Prometheus metrics. Names and labels are documented in ``docs/processing.md``."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800)

task_seconds = Histogram(
    "penstock_task_seconds", "From claim to commit, by outcome.", ["kind", "outcome"], buckets=_SECONDS
)
dispatch_seconds = Histogram(
    "penstock_dispatch_seconds",
    "From queued (or due again) to claimed, on the database's clock.",
    ["kind"],
    buckets=_SECONDS,
)
stage_seconds = Histogram(
    "penstock_stage_seconds",
    "From the acknowledged upload (or retry) to each stage of a video.",
    ["stage"],
    buckets=(0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 900, 3600, 14400),
)
tasks = Gauge("penstock_tasks", "Tasks in the records, by state.", ["kind", "state"])
work_waiting = Gauge(
    "penstock_work_waiting_seconds", "Estimated seconds of work, on one slot, of all queued tasks."
)
slots_busy = Gauge("penstock_slots_busy", "Tasks that this process runs.", ["lane"])
slots_total = Gauge("penstock_slots", "Tasks that this process may run at once.", ["lane"])
encode_speed = Histogram(
    "penstock_encode_speed",
    "Seconds of media made per second, by one task.",
    ["kind"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256),
)
media_seconds = Counter("penstock_media_seconds_total", "Seconds of media made and committed.", ["kind"])
bytes_stored = Counter(
    "penstock_processing_bytes_stored_total", "Bytes put into the outputs store.", ["kind"]
)
bytes_read = Counter(
    "penstock_processing_bytes_read_total", "Bytes of sources read through the store, for digests."
)
failures = Counter("penstock_task_failures_total", "Attempts that failed, by code.", ["kind", "code"])
losses = Counter("penstock_task_losses_total", "Tasks taken over from workers that vanished.")
dead = Counter("penstock_task_dead_total", "Tasks that will not be tried again.", ["kind", "code"])
stale = Counter("penstock_stale_commits_total", "Commits refused because the claim was gone.", ["kind"])
timelines = Counter("penstock_timelines_total", "Timeline versions written.", ["state"])
collected = Counter("penstock_objects_collected_total", "Objects removed by the collector.", ["reason"])
paused = Gauge("penstock_queue_paused", "1 while this process claims nothing, by reason.", ["reason"])
heartbeat_age = Gauge("penstock_heartbeat_age_seconds", "Since this process last renewed its lease.")
