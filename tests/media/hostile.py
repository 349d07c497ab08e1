"""Files that nobody means well with, written byte by byte: boxes that lie, bombs, and texts that point elsewhere."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path


def box(kind: bytes, *parts: bytes) -> bytes:
    """An MP4 box (ISO/IEC 14496-12 section 4.2)."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def place(data: bytes, kind: bytes) -> int:
    """Where the first box of this kind begins."""
    return data.index(kind) - 4


def boxed(data: bytes, kind: bytes) -> bytes:
    """The first box of this kind, whole."""
    at = place(data, kind)
    return data[at : at + struct.unpack_from(">I", data, at)[0]]


def lie(data: bytes, kind: bytes, offset: int, *values: int) -> bytes:
    """``data`` with 32-bit numbers put into the first box of this kind, ``offset`` bytes after its beginning."""
    at = place(data, kind) + offset
    packed = struct.pack(f">{len(values)}I", *values)
    return data[:at] + packed + data[at + len(packed) :]


def many_tracks(data: bytes, count: int) -> bytes:
    """An MP4 whose index describes its first track so many times."""
    moov, trak = boxed(data, b"moov"), boxed(data, b"trak")
    return data.replace(moov, box(b"moov", moov[8:], trak * (count - 2)))


def with_reference(data: bytes, path: Path) -> bytes:
    """An MP4 whose tracks say that their samples lie in another file (section 8.7.2), by an address and the old way of QuickTime."""
    name = path.name.encode()[:63]
    # The alias record that FFmpeg reads: volume, file name, levels to go up and down, then the whole path.
    alias = bytes(10) + b"\x03vol".ljust(28, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">hh", 1, 1) + bytes(16)
    whole = str(path).encode()
    alias += struct.pack(">hH", 18, len(whole)) + whole + bytes(len(whole) % 2) + struct.pack(">hH", -1, 0)
    address = f"file://{path}".encode() + b"\0"
    references = box(
        b"dref", struct.pack(">II", 0, 2), box(b"alis", bytes(4), alias), box(b"url ", bytes(4), address)
    )
    moov, old = boxed(data, b"moov"), boxed(data, b"dref")
    changed = moov
    for kind in (b"dinf", b"minf", b"mdia", b"trak"):
        at = place(changed, kind)
        (size,) = struct.unpack_from(">I", changed, at)
        changed = changed[:at] + struct.pack(">I", size + len(references) - len(old)) + changed[at + 4 :]
    changed = changed.replace(old, references, 1)
    # Behind the pictures, so that the places of all samples stay what they are.
    return data.replace(moov, box(b"free", moov[8:])) + struct.pack(">I", len(changed)) + changed[4:]


def compressed_index(size: int) -> bytes:
    """A QuickTime file whose index, some kilobytes, unpacks to ``size`` bytes."""
    packed = zlib.compress(bytes(size), 9)
    index = box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", struct.pack(">I", 0xFFFF_FFF0), packed))
    return box(b"ftyp", b"qt  ", bytes(4)) + box(b"moov", index) + box(b"mdat")


def png(width: int, height: int) -> bytes:
    """A black picture of one bit per pixel, which packs to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes(min(height * ((width + 7) // 8 + 1), 1 << 24)), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    """A GIF of thirty-odd bytes."""
    screen = struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + b"\0\0\0\xff\xff\xff"
    return (
        b"GIF89a" + screen + b",\0\0\0\0" + struct.pack("<HHB", width, height, 0) + b"\x02\x02\x4c\x01\x00;"
    )


def wav(channels: int, rate: int, samples: int) -> bytes:
    """Silence of eight bits."""
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, min(rate * channels, 0xFFFF_FFFF), channels, 8)
    data = b"data" + struct.pack("<I", samples * channels) + b"\x80" * (samples * channels)
    return b"RIFF" + struct.pack("<I", 36 + samples * channels) + b"WAVEfmt " + form + data


def y4m(width: int, height: int, rate: str, frames: int) -> bytes:
    """Black pictures, not packed at all."""
    picture = b"FRAME\n" + bytes(width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2))
    return f"YUV4MPEG2 W{width} H{height} F{rate}\n".encode() + picture * frames


def element(name: str, *parts: bytes) -> bytes:
    """An EBML element (RFC 8794) with its id in hexadecimal and a length of eight bytes."""
    body = b"".join(parts)
    return bytes.fromhex(name) + struct.pack(">Q", len(body) | 1 << 56) + body


def matroska(
    pictures: Mapping[int, Iterable[bytes]], *, tick: int = 1_000_000, packed: bool = False, tracks: int = 1
) -> bytes:
    """MJPEG of 320 by 180: lists of pictures, 25 a second, by the millisecond at which each begins.

    ``tick`` is in nanoseconds; ``packed``: the pictures are said to be compressed with zlib, and were not here.
    """
    head = element("1A45DFA3", element("4282", b"matroska"))
    info = element("1549A966", element("2AD7B1", tick.to_bytes(8, "big")))
    size = element("E0", element("B0", b"\x01\x40"), element("BA", b"\x00\xb4"))
    zlib_ = element("6D80", element("6240", element("5034", element("4254", b"\0")))) if packed else b""
    track = element("83", b"\x01") + element("86", b"V_MJPEG") + size + zlib_
    entries = (
        element(
            "AE", element("D7", number.to_bytes(2, "big")), element("73C5", number.to_bytes(2, "big")), track
        )
        for number in range(1, tracks + 1)
    )
    clusters = (
        element(
            "1F43B675",
            element("E7", begin.to_bytes(8, "big")),
            *(
                element("A3", b"\x81" + struct.pack(">h", 40 * position) + b"\x80" + picture)
                for position, picture in enumerate(group)
            ),
        )
        for begin, group in pictures.items()
    )
    return head + element("18538067", info, element("1654AE6B", *entries), *clusters)
