"""Damaging real files by a seed, and taking what comes out of it the whole way through the media tools.

One seed is one file: the same on every machine that has the clips, so that a failure can be repeated.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.ffmpeg.encode import encode_audio, encode_chunk
from penstock.ffmpeg.images import captions, poster
from penstock.ffmpeg.inspect import inspect, scan
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import MediaError, ToolFailed
from penstock.video.plan import Plan, ScanResult, Settings, chunks, plan

# Of each kind of container one that is small, because most of a large one is pictures, and damaged pictures are dull.
CLIPS = (
    "bbb_176x144_128kbps_15fps_h263.3gp",
    "bbb_1ch_8kHz_aac_lc.m4a",
    "bbb_642x642_768kbps_30fps_vp9.webm",
    "bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4",
    "bbb_first_750ms.ts",
    "sample.avi",
    "sample_eac3.mp4",
    "sample_fragmented.mp4",
    "sample_with_chapters.mp4",
    "sample_with_srt.mkv",
)
_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF0,
    0xFFFFFFFF,
)
_STRUCTURE = 16 << 10  # bytes at either end, where descriptions lie
_SMALL = Settings(max_rung=240)  # the ladder is the same for every file; its cost is not what is looked for
_MOST_CHUNKS = 3  # of one file: a lie about time makes thousands of chunks of one picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: the code of a refusal or of a failed tool and the step that met it, or ``kept`` and ``end``."""

    seed: int
    clip: str
    step: str
    code: str


def damaged(seed: int, folder: Path) -> tuple[str, bytes]:
    """The clip that was damaged, and what is left of it."""
    choose = random.Random(seed)
    clip = choose.choice(CLIPS)
    data = bytearray((folder / clip).read_bytes())
    for _ in range(choose.choice((1, 1, 2, 4, 16))):
        mutation = choose.choice(_MUTATIONS)
        data = mutation(data, choose)
    if choose.random() < 0.05:
        other = (folder / choose.choice(CLIPS)).read_bytes()
        data += other[choose.randrange(len(other)) :]
    return clip, bytes(data)


def taken(tools: Tools, seed: int, clips: Path, folder: Path) -> Outcome:
    """What becomes of the file of a seed. Raises whatever is neither a refusal nor a failure of a tool."""
    clip, data = damaged(seed, clips)
    source = folder / "source"
    source.write_bytes(data)
    step = "inspect"
    try:
        media = inspect(tools, source)
        step = "plan"
        made = plan(media, replace(_SMALL, fingerprint=tools.fingerprint))
        assert Plan.from_json(made.to_json()) == made
        step = "scan"
        found = scan(tools, source, made)
        assert ScanResult.from_json(found.to_json()) == found
        for name, work in _rest(tools, source, made, found, folder):
            step = name
            work()
    except (MediaError, ToolFailed) as error:
        return Outcome(seed, clip, step, error.code)
    return Outcome(seed, clip, "end", "kept")


def _rest(
    tools: Tools, source: Path, made: Plan, found: ScanResult, folder: Path
) -> list[tuple[str, Callable[[], object]]]:
    """What follows the scan, one after the other; of many chunks the first and the last ones."""
    cut = chunks(made, found)
    work: list[tuple[str, Callable[[], object]]] = [
        (f"chunk {c.index}", lambda c=c: encode_chunk(tools, source, made, c, folder / f"{c.index}"))  # type: ignore[misc]
        for c in (cut if len(cut) <= _MOST_CHUNKS else (cut[0], *cut[1 - _MOST_CHUNKS :]))
    ]
    work += [
        (track.name, lambda track=track: encode_audio(tools, source, made, track, folder))  # type: ignore[misc]
        for track in made.audio[:2]
    ]
    if made.poster:
        work.append(("poster", lambda: poster(tools, source, made, folder)))
    work += [
        (track.name, lambda track=track: captions(tools, source, made, track, folder))  # type: ignore[misc]
        for track in made.captions[:1]
    ]
    return work


def _somewhere(data: bytearray, choose: random.Random) -> int:
    """A place, more often in a description than in a picture."""
    if not data:
        return 0
    kind = choose.random()
    if kind < 0.4:
        return choose.randrange(min(len(data), _STRUCTURE))
    if kind < 0.7:
        return choose.randrange(max(0, len(data) - _STRUCTURE), len(data))
    return choose.randrange(len(data))


def _number(data: bytearray, choose: random.Random) -> bytearray:
    """A number that is at an edge, in either order of bytes and any width."""
    at, code = _somewhere(data, choose), choose.choice(("B", ">H", "<H", ">I", "<I", ">Q", "<Q"))
    value = choose.choice(_NUMBERS) & ((1 << 8 * struct.calcsize(code)) - 1)
    packed = struct.pack(code, value)
    data[at : at + len(packed)] = packed
    return data


def _box(data: bytearray, choose: random.Random) -> bytearray:
    """A field of an MP4 box, right behind its name."""
    names = (b"stts", b"stsc", b"stsz", b"stco", b"ctts", b"stss", b"elst", b"mdhd", b"mvhd", b"tkhd", b"stsd",
             b"avcC", b"esds", b"trun", b"tfhd", b"tfdt", b"trex", b"sidx", b"hdlr", b"moov", b"trak", b"moof", b"mdat")  # fmt: skip
    places = [place for name in names if (place := data.find(name)) >= 4]
    if not places:
        return _number(data, choose)
    at = choose.choice(places) + choose.choice((-4, 4, 8, 12, 16, 20, 24))
    data[at : at + 4] = struct.pack(">I", choose.choice(_NUMBERS))
    return data


def _flip(data: bytearray, choose: random.Random) -> bytearray:
    """One bit."""
    if data:
        data[_somewhere(data, choose)] ^= 1 << choose.randrange(8)
    return data


def _noise(data: bytearray, choose: random.Random) -> bytearray:
    """A stretch of anything."""
    at, length = _somewhere(data, choose), choose.choice((4, 64, 1000, 20_000))
    data[at : at + length] = choose.randbytes(len(data[at : at + length]))
    return data


def _cut(data: bytearray, choose: random.Random) -> bytearray:
    """The end is missing."""
    return data[: _somewhere(data, choose)]


def _drop(data: bytearray, choose: random.Random) -> bytearray:
    """A stretch is missing."""
    at = _somewhere(data, choose)
    del data[at : at + choose.choice((1, 4, 188, 5000))]
    return data


def _repeat(data: bytearray, choose: random.Random) -> bytearray:
    """A stretch comes twice."""
    at = _somewhere(data, choose)
    data[at:at] = data[at : at + choose.choice((4, 188, 5000, 50_000))]
    return data


def _move(data: bytearray, choose: random.Random) -> bytearray:
    """A stretch lies elsewhere."""
    at, length = _somewhere(data, choose), choose.choice((8, 188, 5000))
    piece = data[at : at + length]
    del data[at : at + length]
    to = _somewhere(data, choose)
    data[to:to] = piece
    return data


_MUTATIONS = (_number, _number, _box, _box, _flip, _noise, _cut, _drop, _repeat, _move)
