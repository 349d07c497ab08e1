"""Why a source cannot become a video: the one place where the codes are listed, each with what its owner is told."""

from enum import StrEnum

from penstock.video.errors import MediaError


class Refusal(StrEnum):
    """Stable codes; the API contract includes them. All are permanent: the same file is refused again."""

    EMPTY = "media_empty"
    NOT_RECOGNISED = "media_not_recognised"
    PLAYLIST = "media_playlist_refused"
    NO_MOOV = "media_no_moov"
    DAMAGED = "media_damaged"
    ENCRYPTED = "media_encrypted"
    NO_STREAMS = "media_no_streams"
    UNDECODABLE = "media_undecodable"
    COLOUR_UNSUPPORTED = "media_colour_unsupported"
    TOO_LARGE = "media_too_large"
    TOO_LONG = "media_too_long"
    TOO_MANY_STREAMS = "media_too_many_streams"
    TOO_MANY_PACKETS = "media_too_many_packets"


_DETAILS = {
    Refusal.EMPTY: "The file is empty.",
    Refusal.NOT_RECOGNISED: "The file is not a video or audio file of a kind that is accepted.",
    Refusal.PLAYLIST: "The file is a playlist that points at other files. Upload the media itself.",
    Refusal.NO_MOOV: "The file has no index (moov box): its recording or copying was cut short. Upload a complete file.",
    Refusal.DAMAGED: "The file's structure is damaged and cannot be read. Upload an intact copy.",
    Refusal.ENCRYPTED: "The file is encrypted or copy-protected. Upload an unprotected copy.",
    Refusal.NO_STREAMS: "The file holds neither pictures nor sound that could be played.",
    Refusal.UNDECODABLE: "The file's pictures or sound cannot be decoded: an unknown codec, or damaged data.",
    Refusal.COLOUR_UNSUPPORTED: "The file is Dolby Vision without a compatible base layer. Export it as HDR10, HLG or SDR.",
    Refusal.TOO_LARGE: "The picture has more pixels than this service accepts.",
    Refusal.TOO_LONG: "The file is longer than this service accepts.",
    Refusal.TOO_MANY_STREAMS: "The file has more streams than this service accepts.",
    Refusal.TOO_MANY_PACKETS: "The file has more packets than this service accepts.",
}


def refused(refusal: Refusal, addition: str = "") -> MediaError:
    """The error for a refusal; ``addition`` is a further sentence with the figures at hand."""
    return MediaError(f"{_DETAILS[refusal]} {addition}".strip(), code=refusal.value)
