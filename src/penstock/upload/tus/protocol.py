"""The rules of tus 1.0.0 (https://tus.io/protocols/resumable-upload) as functions over values.

From the headers of a request to what it asks for, and from how an upload stands to the headers of the answer. No I/O and no clock. It knows neither records nor bytes nor who asks; names of headers are given in lower case.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol

from penstock.video.errors import Conflict, InvalidRequest, PermanentError, TooLarge, UnsupportedMedia

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "expiration",
    "termination",
)
CONTENT_TYPE = "application/offset+octet-stream"
LONGEST_METADATA = 4096  # characters of the header; file name and title of the longest kind fit several times

_ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}  # sha1 is the protocol's must
_MOST_DIGITS = 18  # of a number in a header: below 2**63, whatever it says
_RESUMABLE = {"tus-resumable": VERSION}


class VersionUnsupported(PermanentError):
    """The request speaks another version of the protocol, or none. Nothing was looked at."""

    code = "tus_version_unsupported"
    status = 412
    title = "Protocol version not supported"


class HeaderInvalid(InvalidRequest):
    """A header of the protocol is missing or does not say what it must. Nothing was changed."""

    code = "tus_header_invalid"
    status = 400
    title = "Invalid header"


class OffsetDiffers(Conflict):
    """The bytes begin elsewhere than where the upload stands. Nothing was changed; ask where it stands."""

    code = "upload_offset_mismatch"


class ChecksumDiffers(PermanentError):
    """The bytes of one request are not those of its checksum. None of them is kept."""

    code = "checksum_mismatch"
    status = 460  # the protocol's own number
    title = "Checksum mismatch"


class Locked(Conflict):
    """Another request writes this upload and did not let go. Its client, too, may be asked to come back."""

    code = "upload_busy"
    status = (
        423  # what clients of the protocol take for "again, shortly"; a 409 for HEAD makes some begin anew
    )
    title = "Locked"


class Hash(Protocol):
    """A running digest, as ``hashlib`` makes them."""

    def update(self, data: bytes | bytearray, /) -> None:
        """More bytes."""

    def digest(self) -> bytes:
        """Of all so far."""
        ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a client says of the bytes of one request."""

    algorithm: str
    digest: bytes

    def begin(self) -> Hash:
        """A running digest to compare with."""
        return _ALGORITHMS[self.algorithm](usedforsecurity=False)

    def check(self, running: Hash) -> None:
        """Raises :class:`ChecksumDiffers`."""
        if running.digest() != self.digest:
            raise ChecksumDiffers("The bytes do not have the announced checksum; send them again.")


@dataclass(frozen=True, slots=True)
class Creation:
    """A request for a new upload. ``length`` is None where it will be said later."""

    length: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    raw_metadata: str = ""
    with_bytes: bool = False
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes for an upload, from ``offset`` on. ``length`` is that of the whole upload, where it is said only now."""

    offset: int
    length: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How an upload stands: bytes that are there, bytes that there shall be, the end of its life in ms since the epoch."""

    offset: int
    length: int | None
    expires_at: int | None = None  # None: it is complete
    raw_metadata: str = ""


Headers = Mapping[str, str]


def check_version(headers: Headers) -> None:
    """Every request but OPTIONS names the version. Raises :class:`VersionUnsupported`."""
    if headers.get("tus-resumable") != VERSION:
        raise VersionUnsupported(f"Speak tus {VERSION}: send 'Tus-Resumable: {VERSION}'.")


def creation(headers: Headers, *, max_size: int) -> Creation:
    """What a POST asks for. Raises :class:`HeaderInvalid`, :class:`TooLarge` and :class:`UnsupportedMedia`."""
    if "upload-concat" in headers:
        raise HeaderInvalid("Uploads are not joined here: 'concatenation' is not among the 'Tus-Extension's.")
    length, deferred = _number(headers, "upload-length"), headers.get("upload-defer-length")
    if (length is None) == (deferred is None) or deferred not in {None, "1"}:
        raise HeaderInvalid("Say the size in 'Upload-Length', or 'Upload-Defer-Length: 1'; one of them.")
    if length is not None:
        _check_length(length, max_size)
    raw = headers.get("upload-metadata", "")
    has_type = "content-type" in headers and headers["content-type"].strip().lower() == CONTENT_TYPE
    has_bytes = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if has_bytes and not has_type:
        raise UnsupportedMedia(f"Bytes that come with the creation have 'Content-Type: {CONTENT_TYPE}'.")
    return Creation(length, metadata(raw), raw, has_bytes, _checksum(headers))


def patch(headers: Headers, *, max_size: int) -> Patch:
    """What a PATCH asks for. Raises :class:`HeaderInvalid`, :class:`TooLarge` and :class:`UnsupportedMedia`."""
    if headers.get("content-type", "").strip().lower() != CONTENT_TYPE:
        raise UnsupportedMedia(f"The bytes must have 'Content-Type: {CONTENT_TYPE}'.")
    offset = _number(headers, "upload-offset")
    if offset is None:
        raise HeaderInvalid("Say in 'Upload-Offset' where the bytes begin.")
    length = _number(headers, "upload-length")
    if length is not None:
        _check_length(length, max_size)
    return Patch(offset, length, _checksum(headers))


def settle_length(asked: Patch, standing: Standing) -> int | None:
    """The whole upload's length after this request. Raises :class:`HeaderInvalid` where it contradicts what is known."""
    if asked.length is None:
        return standing.length
    if standing.length not in {None, asked.length}:
        raise HeaderInvalid(f"The upload has {standing.length} bytes, as was said; that cannot change.")
    if asked.length < standing.offset:
        raise HeaderInvalid(f"{standing.offset} bytes are there already; the whole cannot have fewer.")
    return asked.length


def check_offset(asked: Patch, standing: Standing, announced: int | None, *, max_size: int) -> int:
    """The most bytes that may come. Raises :class:`OffsetDiffers`, and ``wrong_size`` where too many are announced."""
    if asked.offset != standing.offset:
        raise OffsetDiffers(f"The upload stands at byte {standing.offset}.")
    whole = settle_length(asked, standing)
    room = (max_size if whole is None else whole) - standing.offset
    if announced is not None and announced > room:
        if whole is None:
            raise _too_large(max_size)
        raise InvalidRequest(f"{announced} bytes are announced where {room} are missing.", code="wrong_size")
    return room


def metadata(raw: str) -> dict[str, str]:
    """What ``Upload-Metadata`` says, by key. A key without a value has the empty one. Raises :class:`HeaderInvalid`."""
    if len(raw) > LONGEST_METADATA:
        raise HeaderInvalid(f"'Upload-Metadata' has at most {LONGEST_METADATA} characters.")
    found: dict[str, str] = {}
    for pair in raw.split(",") if raw.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not key or key in found:
            raise HeaderInvalid("'Upload-Metadata' has a key that is empty or given twice.")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise HeaderInvalid("A value of 'Upload-Metadata' is not base64 of UTF-8 text.") from None
    return found


def options(max_size: int) -> Headers:
    """What this server can do."""
    return {
        **_RESUMABLE,
        "tus-version": VERSION,
        "tus-extension": ",".join(EXTENSIONS),
        "tus-max-size": str(max_size),
        "tus-checksum-algorithm": ",".join(_ALGORITHMS),
    }


def refused() -> Headers:
    """What goes with every refusal: the version, and which others there are."""
    return {**_RESUMABLE, "tus-version": VERSION}


def stands(standing: Standing) -> Headers:
    """The answer to HEAD."""
    headers = {**moved(standing), "cache-control": "no-store"}
    if standing.length is None:
        headers["upload-defer-length"] = "1"
    else:
        headers["upload-length"] = str(standing.length)
    if standing.raw_metadata:
        headers["upload-metadata"] = standing.raw_metadata
    return headers


def moved(standing: Standing) -> Headers:
    """The answer to PATCH, and to a creation that came with bytes."""
    return {**_RESUMABLE, "upload-offset": str(standing.offset), **_expiry(standing)}


def created(standing: Standing, location: str, *, with_bytes: bool) -> Headers:
    """The answer to POST."""
    headers = {**_RESUMABLE, "location": location, **_expiry(standing)}
    if with_bytes:
        headers["upload-offset"] = str(standing.offset)
    return headers


def ended() -> Headers:
    """The answer to DELETE."""
    return _RESUMABLE


def _expiry(standing: Standing) -> Headers:
    if standing.expires_at is None:
        return {}
    moment = datetime.fromtimestamp(standing.expires_at // 1000, UTC)
    return {"upload-expires": format_datetime(moment, usegmt=True)}  # RFC 9110 section 5.6.7


def _number(headers: Headers, name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise HeaderInvalid(f"'{name.title()}' is a number of bytes in decimal digits.")
    return int(text)


def _check_length(length: int, max_size: int) -> None:
    if length == 0:
        raise InvalidRequest("The upload has no bytes.", code="empty_upload")
    if length > max_size:
        raise _too_large(max_size)


def _too_large(max_size: int) -> TooLarge:
    return TooLarge(f"An upload has at most {max_size} bytes.", code="upload_too_large")


def _checksum(headers: Headers) -> Checksum | None:
    text = headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, encoded = text.strip().partition(" ")
    if algorithm not in _ALGORITHMS:
        raise HeaderInvalid(f"'Upload-Checksum' names no algorithm of these: {', '.join(_ALGORITHMS)}.")
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise HeaderInvalid("'Upload-Checksum' is an algorithm, a space, and a digest in base64.") from None
    if len(digest) != len(_ALGORITHMS[algorithm](usedforsecurity=False).digest()):
        raise HeaderInvalid("The digest in 'Upload-Checksum' does not have its algorithm's length.")
    return Checksum(algorithm, digest)
