"""What this room counts."""

from prometheus_client import Counter, Gauge

packets_sent = Counter("penstock_membership_packets_sent_total", "Datagrams sent.")
packets_received = Counter("penstock_membership_packets_received_total", "Datagrams accepted.")
bytes_sent = Counter(
    "penstock_membership_bytes_sent_total", "Bytes of datagrams and frames sent, sealed.", ["channel"]
)
rejected = Counter(
    "penstock_membership_rejected_total",
    "Datagrams and frames refused: nothing was changed by them.",
    ["reason"],
)
changes = Counter("penstock_membership_changes_total", "Changes of a member's state as seen here.", ["kind"])
members = Gauge("penstock_membership_members", "Members as seen here.", ["state"])
health = Gauge(
    "penstock_membership_local_health", "0: this node trusts its own view; up to 7: it is slow or cut off."
)
queued = Gauge("penstock_membership_news_queued", "News still to be told.")
round_trip = Gauge("penstock_membership_round_trip_seconds", "Of the last probe answered directly.")
streams = Counter("penstock_membership_streams_total", "Streams opened.", ["side", "outcome"])
