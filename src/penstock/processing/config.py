"""What the processing service needs to be told."""

from dataclasses import dataclass, field
from pathlib import Path

from penstock.catalog.retries import DEFAULT_POLICY
from penstock.video import plan


@dataclass(frozen=True, slots=True)
class ProcessingConfig:
    """How one processing process works. Durations in seconds, sizes in bytes."""

    node: str
    """Name of this machine: part of every claim, log line and event."""

    run_folder: Path
    """Locks and doorbells of the processes of this machine; on a local file system."""

    scratch_folder: Path
    """Where attempts write before their objects are durable; emptied at start and after each task, so it may be volatile.

    The busiest attempt needs about one chunk of all rungs (tens of megabytes), more where captions or packet indexes of
    ten-hour sources pass through (about 200 MB).
    """

    planning: plan.Settings = field(default_factory=plan.Settings)
    """What becomes of every video. Its fingerprint is filled in from the tools at start."""

    encode_slots: int | None = None
    """Chunks encoded at once. None: one per two cores, at least two, fewer where memory is short (see ``memory_budget``).

    One chunk keeps about two cores busy, but not at its start and end; a second one fills these gaps. More only costs
    memory and delays the earlier chunks.
    """

    audio_slots: int | None = None
    """Audio tracks encoded at once. None: one per core, at least two. A track needs 60 MB and runs minutes for a long
    source, and each newcomer waits for its first segment: so they are more than the encodes.
    """

    light_slots: int = 2
    """Scans, posters, captions and publications at once: short or bound by the disk."""

    urgent_slots: int = 1
    """Reserved for ``inspect`` and first chunks, beside all others: a newcomer becomes playable while a queue is being
    worked off. 0 gives that up."""

    memory_budget: int | None = None
    """What all encodes together may be expected to occupy. None: half of what the machine (or its control group) has.

    An encode is started only while the estimates of the running ones leave room for it, or when it is alone. Too low a
    value makes large pictures wait for each other; too high a value lets the kernel end one, which costs a retry.
    """

    disk_reserve: int = 1_000_000_000
    """Free bytes below which no task that writes is started, for scratch and outputs each.

    The queue pauses, says so and goes on by itself. It must exceed what the tasks of all slots write until they end.
    """

    source_cache: int = 20_000_000_000
    """Bytes of sources from a bucket that this machine keeps in its scratch folder, least recently used out first. The tasks
    of a video share one copy. A source that is larger is fetched too, and goes when nobody works on it; more spares a
    machine that works on several large ones at once from fetching them again.
    """

    heartbeat: float = 2.0
    """Between two renewals of the lease. Running tools of deleted videos end within one heartbeat."""

    lease: float = 10.0
    """How long after its last renewal a worker counts as alive. Five heartbeats: a disk that hangs for some seconds takes
    no work away; more delays the takeover from a machine that vanished. A process that starts again on the same machine
    takes its own work over at once and never waits for this.
    """

    tries: int = DEFAULT_POLICY.max_failures
    """Failures of one task after which it is dead. Faults that are not the task's own (storage, database) do not count."""

    retry_base: float = DEFAULT_POLICY.backoff_ms / 1000
    """Before the second try; doubled for each further one: 2, 4, 8 s. Long enough for a passing fault, short enough for
    somebody who waits."""

    retry_longest: float = DEFAULT_POLICY.backoff_limit_ms / 1000
    """Bound of that growth."""

    losses_alone: int = DEFAULT_POLICY.alone_after_losses
    """After so many vanished workers a task runs with no neighbour, which might be the one that kills them."""

    losses_dead: int = DEFAULT_POLICY.dead_after_losses
    """After so many vanished workers a task is dead: it is what kills them."""

    publish_interval: float = 2.0
    """Least time between two growing timeline versions of one generation; about half a segment. It grows with the
    published length (see ``publish_share``)."""

    publish_share: float = 0.005
    """A growing version follows its predecessor after this share of the published length at the earliest: 3 s at ten
    minutes, 36 s at two hours. Each version names every segment, so a constant pace would write the square of the length.
    Somebody who watches the newest part of a long video waits at most this long for the next."""

    sweep: float = 5.0
    """Between two looks at the records without being told to: finds what a lost ring announced, expired leases, due
    retries of other processes, timelines that nobody wrote."""

    collect: float = 60.0
    """Between two rounds of garbage collection."""

    delete_grace: float = 60.0
    """Least time between a tombstone and the removal of what it buries: streaming nodes look for one that often."""

    keep_sources: bool = True
    """Whether the original bytes stay after ``ready``. Without them a video cannot be processed again."""

    shutdown: float = 8.0
    """How long an orderly end may take before the process leaves its claims to its successor; less than what the
    supervisor grants."""

    host: str = "127.0.0.1"
    """Address of ``/health``, ``/status`` and ``/metrics``."""

    port: int | None = None
    """Port of the same. None: the one after ``PENSTOCK_PORT``, 8801 unless that was changed. 0 lets the system choose, and
    so does a port that is taken (a second processing process here): work goes on, and the log says which it is."""

    @property
    def lease_ms(self) -> int:
        """:attr:`lease` in milliseconds, the records' unit."""
        return round(self.lease * 1000)
