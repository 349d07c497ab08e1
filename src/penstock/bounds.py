"""What each number among the settings may be, in one place: outside of it the program refuses to start.

A bound is where the thing stops working or stops making sense, not where it stops being wise; what is wise stands beside
each setting. It knows names and numbers, and no room.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.video.errors import ConfigurationError

_YEAR = 31_536_000  # seconds
_TERABYTE = 10**12


def shown(number: float) -> str:
    """As an operator would write it."""
    return str(int(number)) if number == number // 1 else f"{number:g}"


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends are allowed."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{shown(self.least)} to {shown(self.most)}"

    def has(self, value: float) -> bool:
        """False for what is no number, too."""
        return self.least <= value <= self.most


@dataclass(frozen=True, slots=True)
class OneOf:
    """Some values and none between."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(map(shown, self.values))}"

    def has(self, value: float) -> bool:
        """Whether it is one of them."""
        return value in self.values


_PORT = Range(0, 65535)
_SECONDS = Range(0.1, _YEAR)
_INTERVAL = Range(0.05, 3600)
_BYTES = Range(1, 1000 * _TERABYTE)

# Variable without its prefix -> what it may be.
BOUNDS: Mapping[str, Range | OneOf] = {
    "PORT": _PORT,
    "TRACE_RATIO": Range(0, 1),
    "ACCESS_ACTIVATION_DELAY": Range(0, 86_400),
    "ACCESS_TOKEN_LIFE_FLOOR": Range(1, _YEAR),
    "ACCESS_TOKEN_LIFE_CEILING": Range(1, _YEAR),
    "ACCESS_WATCH_LINK_LIFE": Range(1, 10 * _YEAR),
    "CATALOG_BUSY_TIMEOUT_MS": Range(100, 3_600_000),
    "CATALOG_POOL_SIZE": Range(1, 1000),
    "CATALOG_MAX_OVERFLOW": Range(0, 1000),
    "CATALOG_CONNECT_TIMEOUT_S": Range(1, 600),
    "FFMPEG_MAX_PIXELS": Range(10_000, 10**10),
    "FFMPEG_MAX_STREAMS": Range(1, 10_000),
    "FFMPEG_MAX_DURATION": Range(1, _YEAR),
    "FFMPEG_MAX_PACKETS": Range(1000, 10**11),
    "FFMPEG_MEMORY_BYTES": Range(10**8, _TERABYTE),
    "FFMPEG_OUTPUT_BYTES": Range(10**6, 1000 * _TERABYTE),
    "FFMPEG_CPU_SECONDS": Range(10, _YEAR),
    "FFMPEG_STALL_SECONDS": Range(1, 86_400),
    "FFMPEG_NICE": Range(0, 19),
    "MEMBERSHIP_PORT": _PORT,
    "MEMBERSHIP_CONTROL_PORT": _PORT,
    "MEMBERSHIP_SNAPSHOT_INTERVAL": _INTERVAL,
    "MEMBERSHIP_LEAVE_TIMEOUT": Range(0, 60),
    "MEMBERSHIP_EVENT_HISTORY": Range(1, 10**6),
    "MEMBERSHIP_PROTOCOL_PROBE_INTERVAL": _INTERVAL,
    "MEMBERSHIP_PROTOCOL_PROBE_TIMEOUT": Range(0.01, 3600),
    "MEMBERSHIP_PROTOCOL_RELAYS": Range(0, 64),
    "MEMBERSHIP_PROTOCOL_NACK_SHARE": Range(0.1, 0.95),
    "MEMBERSHIP_PROTOCOL_SUSPICION_ALPHA": Range(0.5, 100),
    "MEMBERSHIP_PROTOCOL_SUSPICION_BETA": Range(1, 100),
    "MEMBERSHIP_PROTOCOL_CONFIRMATIONS": Range(0, 64),
    "MEMBERSHIP_PROTOCOL_GOSSIP_INTERVAL": Range(0.01, 60),
    "MEMBERSHIP_PROTOCOL_GOSSIP_PEERS": Range(1, 64),
    "MEMBERSHIP_PROTOCOL_GOSSIP_FACTOR": Range(1, 64),
    "MEMBERSHIP_PROTOCOL_GOSSIP_TO_DEAD": Range(0, 86_400),
    "MEMBERSHIP_PROTOCOL_SYNC_INTERVAL": _INTERVAL,
    "MEMBERSHIP_PROTOCOL_REVIVE_INTERVAL": _INTERVAL,
    "MEMBERSHIP_PROTOCOL_RETENTION": Range(60, _YEAR),
    "MEMBERSHIP_PROTOCOL_HEALTH_LIMIT": Range(0, 64),
    "MEMBERSHIP_PROTOCOL_STALL": Range(0.01, 60),
    "MEMBERSHIP_PROTOCOL_RETURN_PROBES": Range(1, 64),
    "MEMBERSHIP_PROTOCOL_RETURN_BACKOFF": _INTERVAL,
    "PLAN_MAX_RUNG": OneOf((240, 360, 480, 720, 1080, 1440, 2160)),
    "PLAN_GOP_SECONDS": Range(0.5, 10),
    "PLAN_SEGMENT_GOPS": Range(1, 10),
    "PLAN_FIRST_CHUNK_SEGMENTS": Range(1, 64),
    "PLAN_CHUNK_SEGMENTS": Range(1, 64),
    "PLAN_FIRST_THREADS": Range(1, 64),
    "PLAN_THREADS": Range(1, 64),
    "PROCESSING_ENCODE_SLOTS": Range(1, 1024),
    "PROCESSING_AUDIO_SLOTS": Range(1, 1024),
    "PROCESSING_LIGHT_SLOTS": Range(1, 1024),
    "PROCESSING_URGENT_SLOTS": Range(0, 1024),
    "PROCESSING_MEMORY_BUDGET": _BYTES,
    "PROCESSING_DISK_RESERVE": Range(0, 1000 * _TERABYTE),
    "PROCESSING_HEARTBEAT": Range(0.1, 600),
    "PROCESSING_LEASE": Range(0.2, 86_400),
    "PROCESSING_TRIES": Range(1, 1000),
    "PROCESSING_RETRY_BASE": Range(0, 86_400),
    "PROCESSING_RETRY_LONGEST": Range(0, 86_400),
    "PROCESSING_LOSSES_ALONE": Range(1, 1000),
    "PROCESSING_LOSSES_DEAD": Range(1, 1000),
    "PROCESSING_PUBLISH_INTERVAL": Range(0, 3600),
    "PROCESSING_PUBLISH_SHARE": Range(0, 1),
    "PROCESSING_SWEEP": _INTERVAL,
    "PROCESSING_COLLECT": _INTERVAL,
    "PROCESSING_DELETE_GRACE": Range(0, _YEAR),
    "PROCESSING_SOURCE_CACHE": Range(0, 1000 * _TERABYTE),
    "PROCESSING_SHUTDOWN": Range(0.5, 11),  # the supervisor kills after 12
    "PROCESSING_PORT": _PORT,
    "SERVER_IDLE_S": Range(1, 3600),
    "STREAMING_CACHE": Range(0, 1000 * _TERABYTE),
    "STREAMING_GROWING_RECHECK": Range(0, 3600),
    "STREAMING_SETTLED_RECHECK": Range(0, 86_400),
    "STREAMING_TIMELINE_MEMORY": Range(1, 10**9),
    "STREAMING_SESSIONS_REMEMBERED": Range(1, 10**9),
    "UPLOAD_MAX_SIZE": _BYTES,
    "UPLOAD_PART_SIZE": Range(5 * 2**20, 5 * 2**30),  # of object stores
    "UPLOAD_MOST_PARTS": Range(1, 10_000),
    "UPLOAD_FREE_RESERVE": Range(0, 1000 * _TERABYTE),
    "UPLOAD_RESERVATION_S": Range(60, _YEAR),
    "UPLOAD_ACCOUNT_BYTES": _BYTES,
    "UPLOAD_OPEN_PER_ACCOUNT": Range(1, 10**6),
    "UPLOAD_OPENED_PER_MINUTE": Range(1, 10**6),
    "UPLOAD_SESSION_LIFE_S": Range(60, _YEAR),
    "UPLOAD_ONE_REQUEST_LIFE_S": Range(60, _YEAR),
    "UPLOAD_URL_LIFE_S": Range(60, 604_800),
    "UPLOAD_IDLE_TIMEOUT_S": Range(1, 86_400),
    "UPLOAD_SIGN_OF_LIFE_S": _INTERVAL,
    "UPLOAD_LET_GO_S": Range(0, 3600),
    "UPLOAD_ANSWER_LIFE_S": Range(60, _YEAR),
    "UPLOAD_FOLLOW_INTERVAL_S": _INTERVAL,
    "UPLOAD_FOLLOW_HEARTBEAT_S": _INTERVAL,
    "UPLOAD_FOLLOWERS_PER_ACCOUNT": Range(1, 10**6),
    "UPLOAD_FOLLOWERS": Range(1, 10**6),
    "WEB_JSON_BODY_LIMIT": Range(1024, 2**30),
    "WEB_JSON_BODY_S": Range(1, 3600),
}

# The second is at least so many times the first.
AT_LEAST: tuple[tuple[str, float, str], ...] = (
    ("PROCESSING_HEARTBEAT", 2, "PROCESSING_LEASE"),  # one lost renewal takes no work away
    ("PROCESSING_RETRY_BASE", 1, "PROCESSING_RETRY_LONGEST"),
    ("PROCESSING_LOSSES_ALONE", 1, "PROCESSING_LOSSES_DEAD"),
    ("MEMBERSHIP_PROTOCOL_PROBE_TIMEOUT", 1, "MEMBERSHIP_PROTOCOL_PROBE_INTERVAL"),
    ("UPLOAD_SIGN_OF_LIFE_S", 2, "UPLOAD_ONE_REQUEST_LIFE_S"),  # or a running upload would count as abandoned
)


def check(values: Mapping[str, object], *, prefix: str) -> None:
    """Raises :class:`ConfigurationError` with one sentence for each number of ``values``, by variable, that cannot be."""
    numbers = {name: _number(value) for name, value in values.items()}
    faults = [
        f"{prefix}{name} is {shown(number)}; it must be {bound}."
        for name, bound in BOUNDS.items()
        if (number := numbers.get(name)) is not None and not bound.has(number)
    ]
    if not faults:
        faults = [
            f"{prefix}{larger} is {shown(second)}; it must be at least {f'{shown(factor)} times ' if factor > 1 else ''}"
            f"{prefix}{smaller}, which is {shown(first)}."
            for smaller, factor, larger in AT_LEAST
            if (first := numbers.get(smaller)) is not None
            and (second := numbers.get(larger)) is not None
            and second < factor * first
        ]
    if faults:
        raise ConfigurationError(" ".join(faults))


def _number(value: object) -> float | None:
    """None for what is none: a text, a switch, what was left to the program."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # also of fractions, which are no subclass of anything useful
    except (TypeError, ValueError):
        return None
