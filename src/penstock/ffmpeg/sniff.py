"""Looking at a file's own bytes before any tool does: what it claims to be, and whether all of it is there."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from penstock.ffmpeg.refusals import Refusal, refused

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]", b"v=0\r\n", b"v=0\n", b"<SmoothStreamingMedia")
# What begins like this is no video in any container that is opened; by the formats' own specifications. Pictures are not
# among them, as some are moving ones. Letter case does not matter where the text is markup.
_OTHERS = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"{\\rtf", "a text document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"#!/", "a script"),
    (b"SQLite format 3\x00", "a database"),
)
_MARKUP = (b"<!doctype", b"<html", b"<svg", b"<?xml", b"<head", b"<body", b"<script")
HEAD = 4096  # bytes from the beginning that suffice to judge
_MP4_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp"})
_MOST_BOXES = (
    100_000  # a fragmented recording of ten hours has some; a file that has more is read by the tools alone
)


@dataclass(frozen=True, slots=True)
class Structure:
    """What the top-level boxes of an MP4 or QuickTime file say; for other files everything is False."""

    mp4: bool = False
    moov: bool = False
    truncated: bool = False  # a box is said to end behind the file's end


def not_media(head: bytes) -> str | None:
    """What a file is that begins with ``head``, where it is certainly no video: "a PDF document". None: it may be one."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _is_playlist(text):
        return "a playlist that points at other files"
    if text[:9].lower().startswith(_MARKUP):
        return "a page or an XML document"
    return next((what for begins, what in _OTHERS if head.startswith(begins)), None)


def _is_playlist(text: bytes) -> bool:
    return text.startswith(_PLAYLISTS) or (text.startswith(b"<?xml") and b"<MPD" in text)


def sniff(source: Path) -> Structure:
    """Raises ``MediaError`` for empty files, playlists and what is certainly no video, which no tool is shown at all."""
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise refused(Refusal.EMPTY)
        head = file.read(HEAD)
        if _is_playlist(head.removeprefix(b"\xef\xbb\xbf").lstrip()):
            raise refused(Refusal.PLAYLIST)
        if not_media(head) is not None:
            raise refused(Refusal.NOT_RECOGNISED)
        if head[4:8] not in _MP4_FIRST:
            return Structure()
        moov, offset = False, 0
        for _ in range(_MOST_BOXES):
            file.seek(offset)
            header = file.read(16)
            if len(header) < 8:
                break
            length, kind = struct.unpack_from(">I4s", header)
            if length == 1 and len(header) == 16:
                (length,) = struct.unpack_from(">Q", header, 8)
            elif length == 0:  # to the end of the file (ISO/IEC 14496-12 section 4.2)
                length = size - offset
            moov = moov or kind == b"moov"
            if length < 8:
                break
            offset += length
        return Structure(mp4=True, moov=moov, truncated=offset > size)
