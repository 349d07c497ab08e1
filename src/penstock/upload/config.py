"""What can be set about the upload service."""

from dataclasses import dataclass

_MIB = 1024 * 1024
_GIB = 1024 * _MIB

PART_ENTRY_BYTES = 200
"""Most bytes of one part's entry in a completion: a number, a tag of the longest kind, JSON's quoting and spaces."""


@dataclass(frozen=True, slots=True)
class UploadConfig:
    """Limits and times of uploads. Memory is no setting: each transfer holds about two buffers of 1 MiB."""

    max_size: int = 64 * _GIB
    """Most bytes of one upload; more is refused with ``upload_too_large`` (413), before any byte is read where the
    client says the size. Ten hours at 14 Mbit/s fit. A larger value lets one client take more of the disk."""

    part_size: int = 16 * _MIB
    """Bytes of a part of a ``direct`` upload. It grows with the upload so that there are at most ``most_parts``:
    ``max(part_size, ceil(size / most_parts))``, rounded up to 1 MiB. A small part loses less when a connection breaks;
    each costs a request and a sync of the disk. Object stores want 5 MiB at least."""

    most_parts: int = 1000
    """Most parts of one upload: one answer lists all their URLs, and one request all their tags, at no more
    than 200 bytes each; so ``PENSTOCK_WEB_JSON_BODY_LIMIT`` must grow with it."""

    free_reserve: int = _GIB
    """Bytes that must stay free beside an upload, or it is refused with ``storage_full`` (507) before it starts.
    Processing writes up to about the size of the source again, and a database on the same disk must go on."""

    reservation_s: int = 3600
    """Seconds after its last sign of life for which the bytes that an open upload still lacks are kept free for it.
    Longer lets a client come back to a full disk; shorter gives the room of abandoned uploads to others."""

    account_bytes: int | None = None
    """Most bytes of sources that one account may keep, open uploads counted with what they declared; more is refused
    with ``quota_exceeded`` (413). None: as many as there is room for, which suits a machine with one user."""

    open_per_account: int = 200
    """Most uploads that one account may have open at once; more are refused with ``too_many_uploads`` (429)."""

    opened_per_minute: int = 600
    """Most uploads that one account may begin within a minute in one process; more are refused with
    ``upload_rate_exceeded`` (429). Far beyond what a diligent program needs; against one that runs wild."""

    session_life_s: int = 24 * 3600
    """Seconds that an upload stays open after its last sign of life. Longer lets a client come back later; abandoned
    bytes occupy the disk as long."""

    one_request_life_s: int = 600
    """The same for uploads in one request, which cannot be resumed: it only has to outlast the pause between two signs
    of life of a running request, so that a killed server's half file goes soon."""

    url_life_s: int = 6 * 3600
    """Seconds that a signed URL accepts the beginning of a request. A fresh one can be had at any time."""

    idle_timeout_s: float = 60
    """Seconds without a single byte after which a request is given up with ``body_stalled`` (408). A client that lost its
    network cannot say so; until then its part stays locked for its own retry."""

    sign_of_life_s: float = 10
    """Seconds between the notes of progress that a running transfer leaves in the records. Each is one small write."""

    let_go_s: float = 5.0
    """Seconds that a request for a ``tus`` upload waits for another that writes it, after asking it to let go; then it
    is told ``upload_busy`` (423). Where nothing shows whether the other lives (a bucket), it is passed over instead."""

    answer_life_s: int = 24 * 3600
    """Seconds that the answer to a request with an ``Idempotency-Key`` is kept for its repetition."""

    follow_interval_s: float = 1.0
    """Seconds between two looks at the records for all followers of videos' histories together: one or two short reads.
    A video is looked at whole only when something of it has changed."""

    follow_heartbeat_s: float = 15.0
    """Seconds of silence after which a follower is sent a comment, so that proxies keep the connection and a vanished
    client is noticed."""

    followers_per_account: int = 100
    """Most histories that one account may follow at once in one process, or it is told ``too_many_followers`` (429). A
    follower of a video at rest costs a connection; of one at work, one look at its records for each change."""

    followers: int = 1000
    """The same for all accounts together."""

    public_url: str = ""
    """What signed URLs begin with, without a slash at the end: ``https://video.example.org``. Empty: they are relative to
    the address that was called (RFC 3986), which suits any proxy that keeps paths."""
