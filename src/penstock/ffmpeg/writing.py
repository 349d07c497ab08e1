"""Turning an encoder's stream of fragments into files of segments, one track at a time.

A segment is written to a name of its own and announced when it is complete. What does not follow the plan's grid is
refused here, before anybody hears of it.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from penstock.ffmpeg.commands import REORDERED_PICTURES
from penstock.ffmpeg.fragments import Fragment, FragmentReader, InitSegment
from penstock.ffmpeg.outputs import EncodedInit, EncodedSegment, EncodedTrack
from penstock.video.errors import ToolFailed
from penstock.video.grid import Grid
from penstock.video.plan import Chunk
from penstock.video.timeline import Keyframe
from penstock.video.tracks import AudioTrack

OnInit = Callable[[EncodedInit], None]
OnSegment = Callable[[EncodedSegment], None]


class FramesDiffer(ToolFailed):
    """The encoder delivered other frames than the plan says. Its output is discarded."""

    code = "frames_missing"


class TrackWriter(ABC):
    """Takes one track's bytes as they come from the encoder. Subclasses know how fragments make segments."""

    def __init__(
        self,
        name: str,
        folder: Path,
        timescale: int,
        pinned: str | None,
        on_init: OnInit | None,
        on_segment: OnSegment | None,
        delay: int = 0,
    ) -> None:
        self._name = name
        self._folder = folder
        self._timescale = timescale
        self._pinned = pinned
        self._on_init = on_init
        self._on_segment = on_segment
        self._reader = FragmentReader(delay)
        self._described: InitSegment | None = None
        self._init: EncodedInit | None = None
        self._segments: list[EncodedSegment] = []
        folder.mkdir(parents=True, exist_ok=True)

    def feed(self, data: bytes) -> None:
        """Take in some bytes. Raises ``ToolFailed`` where they are not what was planned."""
        for item in self._reader.feed(data):
            if isinstance(item, InitSegment):
                self._described = item
                continue
            if self._init is None:
                # Not before: an encoder that got no frame at all describes nothing that could be compared.
                assert self._described is not None
                self._init = self._write_init(self._described)
            self._take(item)

    def close(self) -> EncodedTrack:
        """The whole track, once the encoder has ended. Raises ``ToolFailed`` if something is missing."""
        self._reader.close()
        self._finish()
        assert self._init is not None  # else nothing came, and that was refused
        return EncodedTrack(self._init, tuple(self._segments))

    @property
    def empty(self) -> bool:
        """Whether not a single picture or packet has come."""
        return self._init is None

    @abstractmethod
    def _take(self, fragment: Fragment) -> None:
        """Write a fragment, or keep it for the segment that it belongs to."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what is left, and raise ``ToolFailed`` if something is missing."""

    def _write_init(self, init: InitSegment) -> EncodedInit:
        if init.timescale != self._timescale:
            raise ToolFailed(
                f"Track {self._name} has {init.timescale} ticks per second instead of {self._timescale}."
            )
        path, digest = self._write("init.mp4", init.data)
        if self._pinned is not None and digest != self._pinned:
            raise ToolFailed(
                f"The initialisation segment of {self._name} differs from that of the chunks before: another tool made it.",
                code="init_mismatch",
            )
        made = EncodedInit(self._name, path, len(init.data), digest, init.codecs, init.timescale)
        if self._on_init is not None:
            self._on_init(made)
        return made

    def _announce(
        self,
        number: int,
        start: int,
        duration: int,
        data: bytes,
        frames: int,
        keyframes: tuple[Keyframe, ...],
    ) -> None:
        path, digest = self._write(f"{number:08}.m4s", data)
        segment = EncodedSegment(
            self._name, number, start, duration, path, len(data), digest, frames, keyframes
        )
        self._segments.append(segment)
        if self._on_segment is not None:
            self._on_segment(segment)

    def _write(self, name: str, data: bytes) -> tuple[Path, str]:
        path = self._folder / name
        path.write_bytes(data)
        return path, hashlib.sha256(data).hexdigest()


class RungWriter(TrackWriter):
    """One rung of one chunk: a fragment per keyframe interval, whole segments, every frame where the grid has it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        grid: Grid,
        chunk: Chunk,
        pinned: str | None,
        on_init: OnInit | None,
        on_segment: OnSegment | None,
    ) -> None:
        delay = grid.frame_ticks * REORDERED_PICTURES
        super().__init__(name, folder, grid.timescale, pinned, on_init, on_segment, delay)
        self._grid = grid
        self._chunk = chunk
        self._next = chunk.first_frame  # on the grid
        self._first = chunk.first_frame  # of the segment being gathered
        self._gathered: list[Fragment] = []

    def _take(self, fragment: Fragment) -> None:
        ticks = self._grid.frame_ticks
        expected = range(self._next * ticks, (self._next + len(fragment.times)) * ticks, ticks)
        if (
            sorted(fragment.times) != list(expected)
            or fragment.start != expected.start
            or not fragment.starts_with_keyframe
        ):
            raise FramesDiffer(
                f"The frames of {self._name} after frame {self._next} of chunk {self._chunk.index} are not on the grid."
            )
        self._gathered.append(fragment)
        self._next += len(fragment.times)
        left = self._chunk.first_frame + self._chunk.frames - self._next
        if self._next - self._first >= self._grid.segment_frames and not 0 < left < self._grid.shortest_tail:
            self._complete()

    def _finish(self) -> None:
        if self._gathered:
            self._complete()
        got = self._next - self._chunk.first_frame
        if got != self._chunk.frames:
            raise FramesDiffer(
                f"Chunk {self._chunk.index} of {self._name} has {got} frames where {self._chunk.frames} were planned."
            )

    def _complete(self) -> None:
        fragments, self._gathered = self._gathered, []
        frames, self._first = self._next - self._first, self._next
        # Over the whole video.
        sequence = fragments[0].start // (self._grid.frame_ticks * self._grid.gop_frames) + 1
        keyframes: list[Keyframe] = []
        pieces: list[bytes] = []
        offset = 0
        for position, fragment in enumerate(fragments):
            keyframes.append(Keyframe(offset, fragment.keyframe_length, fragment.duration))
            pieces += (fragment.numbered(sequence + position), fragment.body)
            offset += fragment.size
        self._announce(
            (self._first - frames) // self._grid.segment_frames + 1,
            fragments[0].start,
            frames * self._grid.frame_ticks,
            b"".join(pieces),
            frames,
            tuple(keyframes),
        )


# A last fragment of fewer packets is joined to the one before: see ``Grid.shortest_tail``; the encoder's delay of one
# packet is what the edit list of sound takes back.
_SHORTEST_SOUND = 3


class SoundWriter(TrackWriter):
    """One audio track: every fragment is a segment, but for a last one of a packet or two."""

    def __init__(
        self, track: AudioTrack, folder: Path, on_init: OnInit | None, on_segment: OnSegment | None
    ) -> None:
        super().__init__(track.name, folder, track.sample_rate, None, on_init, on_segment)
        self._track = track
        self._next = 0
        self._held: list[Fragment] = []  # the segment that is complete unless the last fragment is too short

    def _take(self, fragment: Fragment) -> None:
        if fragment.start != self._next:
            raise FramesDiffer(
                f"The sound of {self._name} has a hole at {Fraction(self._next, self._timescale)} s."
            )
        self._next += fragment.duration
        if len(fragment.times) >= _SHORTEST_SOUND:
            self._release()
        self._held.append(fragment)

    def _release(self) -> None:
        held, self._held = self._held, []
        if held:
            self._announce(
                len(self._segments) + 1,
                held[0].start,
                sum(fragment.duration for fragment in held),
                b"".join(piece for fragment in held for piece in (fragment.head, fragment.body)),
                sum(len(fragment.times) for fragment in held),
                (),
            )

    def _finish(self) -> None:
        self._release()
        if not self._segments:
            raise FramesDiffer(f"Track {self._name} came out empty.")
