"""Looking at a file's own bytes before any tool does: what it claims to be, and whether all of it is there."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from penstock.ffmpeg.refusals import Refusal, refused

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]", b"v=0\r\n", b"v=0\n", b"<SmoothStreamingMedia")
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


def sniff(source: Path) -> Structure:
    """Raises ``MediaError`` for empty files and playlists, which no tool is shown at all."""
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise refused(Refusal.EMPTY)
        head = file.read(4096)
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if text.startswith(_PLAYLISTS) or (text.startswith(b"<?xml") and b"<MPD" in text):
            raise refused(Refusal.PLAYLIST)
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
