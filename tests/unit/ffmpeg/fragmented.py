"""Fragmented MP4 as our encoders write it, box by box, for tests that read it."""

import struct
from collections.abc import Sequence


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of these parts."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def init(timescale: int = 10_000, *, entry: bytes | None = None) -> bytes:
    """``ftyp`` and ``moov`` of a track of pictures, High profile, level 3.1, unless ``entry`` describes another."""
    avcc = box(b"avcC", bytes([1, 0x64, 0x00, 0x1F, 0xFF, 0xE0]))
    described = entry or box(b"avc1", bytes(78), avcc)
    return box(b"ftyp", b"iso6\0\0\2\0iso6cmfc") + box(
        b"moov",
        box(b"mvhd", bytes(100)),
        box(
            b"trak",
            box(b"tkhd", bytes(84)),
            box(
                b"mdia",
                box(b"mdhd", bytes(12), struct.pack(">I", timescale), bytes(8)),
                box(b"minf", box(b"stbl", box(b"stsd", bytes(4), struct.pack(">I", 1), described))),
            ),
        ),
        box(b"mvex", box(b"trex", struct.pack(">6I", 0, 1, 1, 0, 0, 0))),
    )


def sound_entry(object_type: int) -> bytes:
    """The description of an AAC track."""
    specific = bytes([0x05, 2, object_type << 3 | 1, 0x90])
    config = bytes([0x04, 0x80, 0x80, 13 + len(specific), 0x40]) + bytes(12) + specific
    return box(b"mp4a", bytes(28), box(b"esds", bytes(4), bytes([0x03, 3 + len(config), 0, 1, 0]) + config))


def fragment(
    start: int,
    sizes: Sequence[int],
    *,
    duration: int = 400,
    offsets: Sequence[int] | None = None,
    keyframe: bool = True,
) -> bytes:
    """``moof`` and ``mdat`` of samples of these sizes; ``offsets`` are signed composition offsets in ticks.

    A single sample is described by the defaults alone, as FFmpeg does it.
    """
    alone = len(sizes) == 1 and offsets is None
    default_flags = 0x0200_0000 if keyframe and alone else 0x0101_0000
    tfhd = box(b"tfhd", struct.pack(">5I", 0x02_0038, 1, duration, sizes[0] if alone else 0, default_flags))
    tfdt = box(b"tfdt", struct.pack(">IQ", 0x0100_0000, start))
    flags = 0x001 if alone else 0x205 | (0x800 if offsets is not None else 0)
    version = 0x0100_0000 if offsets is not None else 0
    first = 0x0200_0000 if keyframe else 0x0101_0000
    rows = (
        b""
        if alone
        else b"".join(
            struct.pack(">Ii", size, offsets[n]) if offsets is not None else struct.pack(">I", size)
            for n, size in enumerate(sizes)
        )
    )

    def moof(data_offset: int) -> bytes:
        fields = struct.pack(">IIi", version | flags, len(sizes), data_offset)
        trun = box(b"trun", fields, b"" if alone else struct.pack(">I", first), rows)
        return box(b"moof", box(b"mfhd", struct.pack(">II", 0, 1)), box(b"traf", tfhd, tfdt, trun))

    return moof(len(moof(0)) + 8) + box(
        b"mdat", b"".join(bytes([n % 256]) * size for n, size in enumerate(sizes))
    )
