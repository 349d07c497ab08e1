"""The only place where object keys are spelled.

A key is written once and never again: outputs carry the task and the attempt that made them, so no attempt can change
what another published, and correctness never rests on conditional writes. Keys carry no generation: a generation is a
list of references, and a later one may refer to an earlier one's objects.
"""

from penstock.video.errors import PermanentError

_VERSION_DIGITS = 8
_SEGMENT_DIGITS = 8

STAGING = "staging/"
"""In the sources store: everything of unfinished uploads. No video id is spelled so."""


def source(video_id: str, upload_id: str) -> str:
    """In the sources store: the original bytes of a video, as one upload session brought them."""
    return f"{video_id}/source.{upload_id}"


def source_upload(key: str) -> str | None:
    """The upload session that a :func:`source` key names; None for any other key."""
    video_id, _, name = key.partition("/")
    stem, _, upload_id = name.partition(".")
    return upload_id if video_id and stem == "source" and upload_id and "/" not in upload_id else None


def staging_prefix(upload_id: str) -> str:
    """In the sources store: what a bucket must keep of an unfinished upload besides the parts of its multipart upload."""
    return f"{STAGING}{upload_id}/"


def staged_tail(upload_id: str, end: int, nonce: str) -> str:
    """The last bytes of an unfinished upload, up to byte ``end``, that are too few for a part. Ends sort as they rise."""
    return f"{staging_prefix(upload_id)}{end:016d}.{nonce}"


def staged_upload(key: str) -> str | None:
    """The upload session that a :func:`staged_tail` belongs to; None for any other key."""
    return key.split("/")[1] if key.startswith(STAGING) and key.count("/") > 1 else None


def video_prefix(video_id: str) -> str:
    """Everything of one video, in either store."""
    return f"{video_id}/"


def attempt_prefix(video_id: str, task_id: str, attempt: int) -> str:
    """Everything that one attempt of one task wrote."""
    return f"{video_id}/{task_id}.{attempt}/"


def video_of(key: str) -> str:
    """The video that a key, or a prefix of keys, belongs to."""
    return key.partition("/")[0]


def attempt_prefix_of(key: str) -> str:
    """The :func:`attempt_prefix` that an output's key begins with."""
    video_id, attempt, _ = key.split("/", 2)
    return f"{video_id}/{attempt}/"


def init_segment(prefix: str, track: str) -> str:
    """The initialisation segment of a rung or an audio track below an attempt's prefix."""
    return f"{prefix}{track}/init.mp4"


def media_segment(prefix: str, track: str, number: int) -> str:
    """A media segment of a rung or an audio track; numbers start at 1."""
    return f"{prefix}{track}/{number:0{_SEGMENT_DIGITS}}.m4s"


def artefact(prefix: str, name: str) -> str:
    """Any other output of an attempt: a poster, a storyboard sheet, a packet index, captions."""
    return f"{prefix}{name}"


def timeline_prefix(video_id: str, generation_id: str) -> str:
    """All timeline versions of a generation; listing it from a known version finds the later ones."""
    return f"{video_id}/timeline/{generation_id}/"


def timeline(video_id: str, generation_id: str, version: int) -> str:
    """One immutable timeline version; zero-padded, so that the lexicographic order is the order of versions."""
    return f"{timeline_prefix(video_id, generation_id)}{version:0{_VERSION_DIGITS}}.json"


def timeline_version(key: str) -> int:
    """The version that a timeline's key names."""
    name = key.rpartition("/")[2]
    stem, _, suffix = name.partition(".")
    if suffix != "json" or len(stem) != _VERSION_DIGITS or not (stem.isascii() and stem.isdigit()):
        raise PermanentError(
            "An object among the timeline versions does not follow the key layout.", code="key_malformed"
        )
    return int(stem)
