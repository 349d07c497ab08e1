"""Reading fragmented MP4 (ISO/IEC 14496-12) as it is written: the init segment, then one fragment after the other.

Bytes go in as they come from a pipe, values come out as soon as they are complete. Only what our own encoders write is
understood: one track per file, ``moof`` and ``mdat`` in turn. No files, no processes.

Pictures that are decoded in another order than shown need times for both. FFmpeg writes signed composition offsets,
which is right by the book, but its own demuxer (and every player built on it) then shows all pictures late by the
reordering. So the reader turns them into what everybody reads alike: unsigned offsets, larger by a constant delay, and
an edit list that takes the delay back. Sound has the same kind of edit list for its encoder's priming.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain

from penstock.video.errors import ToolFailed

_BOX = struct.Struct(">I4s")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
# Bytes; a fragment of two seconds is far below, so a larger size is a broken length field.
_MAX_BOX = 256 << 20
_MAX_SAMPLES = 100_000  # in a fragment of some seconds; more is a broken count
_CONTAINERS = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex"})
_OFFSETS = 0x800  # flag of ``trun``: composition offsets are there (section 8.8.8)
_NON_SYNC = 0x0001_0000  # sample_is_non_sync_sample of the sample flags (section 8.8.3.1)


class FragmentMalformed(ToolFailed):
    """Bytes that are no fragmented MP4 of the expected form."""

    code = "tool_output_malformed"


@dataclass(frozen=True, slots=True)
class InitSegment:
    """``ftyp`` and ``moov``: what a decoder must know before the first fragment."""

    data: bytes
    timescale: int  # ticks per second of the track's media
    media_time: (
        int  # decode time at which the show begins, from the edit list: a delay of pictures, priming of sound
    )
    codecs: str  # RFC 6381: ``avc1.64001f``, ``mp4a.40.2``


@dataclass(frozen=True, slots=True)
class Fragment:
    """One ``moof`` and its ``mdat``. Times are ticks of the init segment's timescale."""

    head: bytes  # the moof
    body: bytes  # the mdat: megabytes, which are copied once, into the segment
    start: int  # decode time of the first sample (``tfdt``)
    duration: int
    times: tuple[int, ...]  # when each sample is shown, the edit list applied, in decode order
    starts_with_keyframe: bool
    keyframe_length: int  # bytes from the beginning through the end of the first sample

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.head) + len(self.body)

    def numbered(self, sequence: int) -> bytes:
        """The head with another sequence number: each encoder run counts from 1, a track counts on (section 8.8.5)."""
        # moof header 8, mfhd header 8, version and flags 4: mfhd is the first child of every moof we read.
        return self.head[:20] + _U32.pack(sequence & 0xFFFF_FFFF) + self.head[24:]


class FragmentReader:
    """Feed it bytes, take what is complete. Raises :class:`FragmentMalformed` as soon as the form is wrong.

    ``delay`` is in ticks, at least the longest reordering of the track's pictures; 0 leaves everything as it is.
    """

    def __init__(self, delay: int = 0) -> None:
        self._delay = delay
        self._buffer = bytearray()
        self._ftyp = b""
        self._init: InitSegment | None = None
        self._defaults = _Defaults(0, 0, 0)
        self._moof = b""

    def feed(self, data: bytes) -> Iterator[InitSegment | Fragment]:
        """Take in some bytes and give what they completed, in order."""
        self._buffer += data
        while (box := self._take_box()) is not None:
            try:
                item = self._understand(*box)
            except (struct.error, IndexError, ValueError) as error:
                raise FragmentMalformed("The encoder wrote a box that contradicts itself.") from error
            if item is not None:
                yield item

    def close(self) -> None:
        """Say that no bytes will follow. Raises :class:`FragmentMalformed` if something was left incomplete."""
        if self._buffer or self._moof:
            raise FragmentMalformed("The encoder's output ends in the middle of a fragment.")
        if self._init is None:
            raise FragmentMalformed("The encoder wrote no initialisation segment.")

    def _take_box(self) -> tuple[bytes, bytes] | None:
        if len(self._buffer) < 16:  # the longest header; every box we meet is at least as long
            return None
        size, kind = _BOX.unpack_from(self._buffer)
        if size == 1:
            (size,) = _U64.unpack_from(self._buffer, 8)
        if not 8 <= size <= _MAX_BOX:
            raise FragmentMalformed(f"The encoder wrote a box of impossible size {size}.")
        if len(self._buffer) < size:
            return None
        with memoryview(self._buffer) as view:
            raw = bytes(view[:size])
        del self._buffer[:size]
        return kind, raw

    def _understand(self, kind: bytes, raw: bytes) -> InitSegment | Fragment | None:
        if kind == b"ftyp":
            self._ftyp = raw
        elif kind == b"moov":
            self._init, self._defaults = _read_moov(self._ftyp, raw, self._delay)
            return self._init
        elif kind == b"moof":
            self._moof = raw
        elif kind == b"mdat":
            if self._init is None or not self._moof:
                raise FragmentMalformed("The encoder wrote media data without its description.")
            moof, self._moof = self._moof, b""
            # What is still to be delayed is shown as it is; what was delayed before, or primed, is shown earlier.
            shift = 0 if self._delay else self._init.media_time
            return _read_fragment(moof, raw, self._defaults, self._delay, shift)
        return None


@dataclass(frozen=True, slots=True)
class _Defaults:
    """Of ``trex`` or ``tfhd``: what a sample has unless its ``trun`` says otherwise."""

    duration: int
    size: int
    flags: int


def _boxes(data: bytes, start: int = 8) -> Iterator[tuple[bytes, bytes]]:
    """All boxes below the one that ``data`` is, depth first: kind and whole bytes."""
    offset = start
    while offset + 8 <= len(data):
        size, kind = _BOX.unpack_from(data, offset)
        if size < 8 or offset + size > len(data):
            raise FragmentMalformed("The encoder wrote a box that is longer than the one around it.")
        raw = data[offset : offset + size]
        yield kind, raw
        if kind in _CONTAINERS:
            yield from _boxes(raw)
        offset += size


def _only(boxes: dict[bytes, bytes], kind: bytes) -> bytes:
    try:
        return boxes[kind]
    except KeyError:
        raise FragmentMalformed(f"The encoder's output lacks the box '{kind.decode()}'.") from None


def _read_moov(ftyp: bytes, moov: bytes, delay: int) -> tuple[InitSegment, _Defaults]:
    boxes = dict(_boxes(moov))
    if delay:
        if b"elst" in boxes or b"edts" in boxes:
            raise FragmentMalformed("The encoder wrote an edit list where none was asked for.")
        moov = _with_edit_list(moov, _only(boxes, b"tkhd"), delay)
    mdhd, trex = _only(boxes, b"mdhd"), _only(boxes, b"trex")
    (timescale,) = _U32.unpack_from(mdhd, 28 if mdhd[8] == 1 else 20)  # version 1 has 64-bit times before it
    _, duration, size, flags = struct.unpack_from(">4I", trex, 16)
    media_time = _media_time(boxes[b"elst"]) if b"elst" in boxes else delay
    init = InitSegment(ftyp + moov, timescale, media_time, _codecs(_only(boxes, b"stsd")))
    return init, _Defaults(duration, size, flags)


def _media_time(elst: bytes) -> int:
    """Of an edit list with one entry (section 8.6.6), the only kind that is written here."""
    version_flags, count = struct.unpack_from(">2I", elst, 8)
    if count != 1:
        raise FragmentMalformed(f"The encoder wrote an edit list of {count} entries.")
    (media_time,) = (
        struct.unpack_from(">q", elst, 24) if version_flags >> 24 else struct.unpack_from(">i", elst, 20)
    )
    return int(media_time)


def _with_edit_list(moov: bytes, tkhd: bytes, delay: int) -> bytes:
    """The ``moov`` whose only track begins to be shown ``delay`` ticks after its first decode time (section 8.6.6)."""
    # One edit at normal speed; duration 0 in a movie of fragments means all of it.
    elst = struct.pack(">I4sIIIIHH", 28, b"elst", 0, 1, 0, delay, 1, 0)
    edts = _BOX.pack(8 + len(elst), b"edts") + elst
    trak = _child(moov, b"trak")
    (trak_size,) = _U32.unpack_from(moov, trak)
    place = trak + _child(moov[trak:], b"tkhd") + len(tkhd)
    return (
        _U32.pack(len(moov) + len(edts))
        + moov[4:trak]
        + _U32.pack(trak_size + len(edts))
        + moov[trak + 4 : place]
        + edts
        + moov[place:]
    )


def _codecs(stsd: bytes) -> str:
    size, kind = _BOX.unpack_from(stsd, 16)
    entry = stsd[16 : 16 + size]
    if kind == b"avc1":
        avcc = _only(dict(_boxes(entry, 8 + 78)), b"avcC")  # VisualSampleEntry is 78 bytes (section 12.1.3)
        return f"avc1.{avcc[9]:02x}{avcc[10]:02x}{avcc[11]:02x}"  # RFC 6381 section 3.3: profile, constraints, level
    if kind == b"mp4a":
        esds = _only(dict(_boxes(entry, 8 + 28)), b"esds")  # AudioSampleEntry is 28 bytes (section 12.2.3)
        return _mp4a(esds[12:])
    raise FragmentMalformed(f"The encoder wrote a track of the unknown kind '{kind.decode('latin-1')}'.")


def _mp4a(descriptors: bytes) -> str:
    """RFC 6381 section 3.3: ``mp4a``, object type indication in hexadecimal, audio object type in decimal."""
    offset, indication = 0, 0
    while offset < len(descriptors):
        tag, offset = descriptors[offset], offset + 1
        # ISO/IEC 14496-1 section 8.3.3: seven bits of the length in each byte.
        while descriptors[offset] & 0x80:
            offset += 1
        offset += 1
        if tag == 0x03:  # ES_Descriptor: id 2, flags 1; our encoders set no flags
            offset += 3
        elif tag == 0x04:  # DecoderConfigDescriptor: 13 bytes, the object type indication first
            indication = descriptors[offset]
            offset += 13
        elif tag == 0x05:  # DecoderSpecificInfo: the audio object type in the first five bits
            return f"mp4a.{indication:x}.{descriptors[offset] >> 3}"
        else:
            break
    raise FragmentMalformed("The encoder's audio description is not understood.")


def _read_fragment(moof: bytes, mdat: bytes, defaults: _Defaults, delay: int, shift: int) -> Fragment:
    if moof[12:16] != b"mfhd":
        raise FragmentMalformed("The encoder wrote a fragment without its number in front.")
    boxes = dict(_boxes(moof))
    tfdt, trun = _only(boxes, b"tfdt"), _only(boxes, b"trun")
    (start,) = (_U64 if tfdt[8] == 1 else _U32).unpack_from(tfdt, 12)
    run = _read_trun(trun, _read_tfhd(_only(boxes, b"tfhd"), defaults))
    *decode_times, end = accumulate(run.durations, initial=start)
    growth = 0
    if delay:
        moof, growth = _with_delay(moof, trun, run, delay)
    return Fragment(
        head=moof,
        body=mdat,
        start=start,
        duration=end - start,
        times=tuple(
            time + offset - shift for time, offset in zip(decode_times, run.composition_offsets, strict=True)
        ),
        starts_with_keyframe=not run.first_flags & _NON_SYNC,
        keyframe_length=run.data_offset + growth + run.first_size,
    )


def _read_tfhd(tfhd: bytes, defaults: _Defaults) -> _Defaults:
    """Section 8.8.7: optional fields, each there if its flag is set."""
    flags, offset = _U32.unpack_from(tfhd, 8)[0], 16
    offset += 8 if flags & 0x01 else 0  # base data offset
    offset += 4 if flags & 0x02 else 0  # sample description index
    values = []
    for bit, default in ((0x08, defaults.duration), (0x10, defaults.size), (0x20, defaults.flags)):
        values.append(_U32.unpack_from(tfhd, offset)[0] if flags & bit else default)
        offset += 4 if flags & bit else 0
    return _Defaults(*values)


@dataclass(frozen=True, slots=True)
class _Run:
    """The samples of a fragment, column by column: a picture's row would be looked at by itself thousands of times."""

    columns: dict[int, tuple[int, ...]]  # what the rows say, by its flag; what all have alike has no column
    durations: tuple[int, ...]
    composition_offsets: tuple[int, ...]
    first_size: int
    first_flags: int
    data_offset: int  # of the first sample, from the beginning of the fragment
    rows: int  # where the table of samples begins in the box


def _read_trun(trun: bytes, defaults: _Defaults) -> _Run:
    """Section 8.8.8: optional fields for all samples, then a row per sample with what differs from the defaults."""
    version_flags, count = struct.unpack_from(">2I", trun, 8)
    version, flags, offset = version_flags >> 24, version_flags & 0xFF_FFFF, 16
    if not 0 < count <= _MAX_SAMPLES:
        raise FragmentMalformed(f"The encoder wrote a fragment of {count} samples.")
    data_offset = 0
    if flags & 0x001:
        (data_offset,) = struct.unpack_from(">i", trun, offset)
        offset += 4
    first_flags = None
    if flags & 0x004:
        (first_flags,) = _U32.unpack_from(trun, offset)
        offset += 4
    present = [bit for bit in (0x100, 0x200, 0x400, _OFFSETS) if flags & bit]
    row = "".join("i" if bit == _OFFSETS and version else "I" for bit in present)
    values = struct.unpack_from(f">{row * count}", trun, offset)
    columns = {bit: values[place :: len(present)] for place, bit in enumerate(present)}
    if first_flags is None:
        first_flags = columns.get(0x400, (defaults.flags,))[0]
    return _Run(
        columns,
        durations=columns.get(0x100) or (defaults.duration,) * count,
        composition_offsets=columns.get(_OFFSETS) or (0,) * count,
        first_size=columns.get(0x200, (defaults.size,))[0],
        first_flags=first_flags,
        data_offset=data_offset,
        rows=offset,
    )


def _with_delay(moof: bytes, trun: bytes, run: _Run, delay: int) -> tuple[bytes, int]:
    """The ``moof`` with every composition offset larger by ``delay``, and by how many bytes it is longer."""
    delayed = [offset + delay for offset in run.composition_offsets]
    if min(delayed) < 0:
        raise FragmentMalformed("The encoder reorders pictures further than the plan allows for.")
    # Where nothing is reordered so far, there is no such column.
    growth = 0 if _OFFSETS in run.columns else 4 * len(delayed)
    kept = [column for bit, column in run.columns.items() if bit != _OFFSETS]
    values = [*chain.from_iterable(zip(*kept, delayed, strict=True))]
    rows = struct.pack(f">{len(values)}I", *values)
    flags = _U32.unpack_from(trun, 8)[0] & 0xFF_FFFF | _OFFSETS  # version 0: unsigned offsets
    fields = bytearray(trun[12 : run.rows])  # the count, and the optional fields before the rows
    if flags & 0x001:
        struct.pack_into(">i", fields, 4, run.data_offset + growth)
    changed = _BOX.pack(len(trun) + growth, b"trun") + _U32.pack(flags) + bytes(fields) + rows
    traf = _child(moof, b"traf")
    place = traf + _child(moof[traf:], b"trun")
    return (
        _U32.pack(len(moof) + growth)
        + moof[4:traf]
        + _U32.pack(_U32.unpack_from(moof, traf)[0] + growth)
        + moof[traf + 4 : place]
        + changed
        + moof[place + len(trun) :]
    ), growth


def _child(data: bytes, kind: bytes) -> int:
    """Where the first child of this kind begins in the box that ``data`` starts with."""
    offset = 8
    while offset + 8 <= len(data):
        size, found = _BOX.unpack_from(data, offset)
        if found == kind:
            return offset
        if size < 8:
            break
        offset += size
    raise FragmentMalformed(f"The encoder's output lacks the box '{kind.decode()}'.")
