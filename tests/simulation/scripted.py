"""Media tools that follow a script: the source says what is in it, and what is made of it is a function of the script.

They are held to the same suite as the real tools (``tests/media/test_pipeline_tools.py``) and take microseconds, so that
thousands of encodes can be interleaved, broken off and repeated.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event

from penstock.ffmpeg.outputs import ChunkOutput, EncodedInit, EncodedSegment, EncodedTrack, MadeFile
from penstock.processing.media import Media
from penstock.video import documents
from penstock.video.errors import Cancelled, MediaError, ToolFailed
from penstock.video.media import AudioStream, Colour, Scan, SourceMedia, SubtitleStream, VideoStream
from penstock.video.plan import Chunk, Plan, ScanResult
from penstock.video.timeline import Keyframe
from penstock.video.tracks import AudioTrack, CaptionsTrack

_AAC_FRAME = 1024
_KEYFRAME_EVERY = 50  # source frames


@dataclass(frozen=True, slots=True)
class Script:
    """A source. ``frames`` is the truth, ``header_frames`` what the header claims."""

    name: str
    frames: int = 250
    header_frames: int = 250
    rate: int = 25
    width: int = 640
    height: int = 360
    audio: int = 1  # tracks
    subtitles: int = 0
    refused: str = ""  # the code it is refused with

    def to_bytes(self) -> bytes:
        """The source file."""
        return documents.dumps(self).encode()


@dataclass(frozen=True, slots=True)
class Moment:
    """An operation has begun: ``trial``, ``inspect``, ``scan``, ``chunk``, ``audio``, ``poster`` or ``captions``."""

    operation: str
    cancel: Event
    progress: Callable[[float], None] = lambda _: None


def breaking(*operations: str) -> Callable[[Moment], None]:
    """For ``begun``: these operations never come out."""

    def begun(moment: Moment) -> None:
        if moment.operation in operations:
            raise ToolFailed("The script says that it breaks.")

    return begun


class ScriptedMedia(Media):
    """Deterministic and immediate.

    A test may do anything, or raise, where it is called back: ``begun`` at the beginning of each operation, ``step``
    between segments, ``ended`` with the name of an encode that is complete.
    """

    def __init__(
        self,
        fingerprint: str = "scripted",
        *,
        step: Callable[[], None] = lambda: None,
        begun: Callable[[Moment], None] = lambda _: None,
        ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.fingerprint = fingerprint
        self.step = step
        self.begun = begun
        self.ended = ended
        self.encoded: list[
            tuple[str, int]
        ] = []  # (source, chunk index) of every run that was brought to its end

    def trial(self) -> None:
        """They start, unless the script has it otherwise."""
        self.begun(Moment("trial", Event()))

    def inspect(self, source: Path, *, cancel: Event) -> SourceMedia:
        """The facts, as the header claims them."""
        self.begun(Moment("inspect", cancel))
        script = _read(source)
        _check(cancel)
        if script.refused:
            raise MediaError("The script says so.", code=script.refused)
        duration = Fraction(script.header_frames, script.rate)
        video = VideoStream(
            index=0,
            codec="scripted",
            width=script.width,
            height=script.height,
            sample_aspect=Fraction(1),
            rotation=0,
            pixel_format="yuv420p",
            bit_depth=8,
            colour=Colour(),
            time_base=Fraction(1, script.rate),
            start=Fraction(0),
            duration=duration,
            header_frames=script.header_frames,
            constant_rate=Fraction(script.rate),
            typical_rate=Fraction(script.rate),
            average_rate=Fraction(script.rate),
            scan=Scan.PROGRESSIVE,
        )
        return SourceMedia(
            container="mov,mp4,m4a,3gp,3g2,mj2",
            size=source.stat().st_size,
            start=Fraction(0),
            duration=duration,
            video=(video,),
            audio=tuple(
                AudioStream(
                    index=1 + number,
                    codec="scripted",
                    sample_rate=48_000,
                    channels=2,
                    layout="stereo",
                    start=Fraction(0),
                    duration=duration,
                    default=number == 0,
                )
                for number in range(script.audio)
            ),
            subtitles=tuple(
                SubtitleStream(index=1 + script.audio + number, codec="scripted", text=True)
                for number in range(script.subtitles)
            ),
        )

    def scan(self, source: Path, plan: Plan, *, cancel: Event) -> ScanResult:
        """The facts as they are."""
        self.begun(Moment("scan", cancel))
        script = _read(source)
        self.step()
        _check(cancel)
        return ScanResult(
            time_base=Fraction(1, script.rate),
            keyframes=tuple(range(0, script.frames, _KEYFRAME_EVERY)),
            frames=script.frames,
            last=script.frames - 1,
            end=script.frames,
            truncated=script.frames < script.header_frames,
        )

    def encode_chunk(
        self,
        source: Path,
        plan: Plan,
        chunk: Chunk,
        scratch: Path,
        *,
        pinned: Mapping[str, str],
        on_init: Callable[[EncodedInit], None],
        on_segment: Callable[[EncodedSegment], None],
        on_progress: Callable[[float], None],
        cancel: Event,
    ) -> ChunkOutput:
        """Rungs interleaved, segment by segment; a chunk beyond the source's true end lacks frames."""
        self.begun(Moment("chunk", cancel, on_progress))
        script = _read(source)
        assert plan.grid is not None
        inits: dict[str, EncodedInit] = {}
        made: dict[str, list[EncodedSegment]] = {rung.name: [] for rung in plan.rungs}
        for rung in plan.rungs:
            inits[rung.name] = _init(
                scratch, rung.name, f"{plan.digest()} {rung}", plan.grid.timescale, "avc1.64001e"
            )
            if pinned.get(rung.name, inits[rung.name].sha256) != inits[rung.name].sha256:
                raise ToolFailed("Another encoder made the earlier chunks.", code="init_mismatch")
            on_init(inits[rung.name])
        for number in range(chunk.first_segment, chunk.first_segment + chunk.segments):
            first = (number - 1) * plan.grid.segment_frames
            rest = chunk.first_frame + chunk.frames - first
            ends = number == chunk.first_segment + chunk.segments - 1
            frames = rest if ends else plan.grid.segment_frames
            if first + frames > script.frames:
                raise ToolFailed("The source ended early.", code="frames_missing")
            self.step()
            _check(cancel)
            for rung in plan.rungs:
                text = f"{script} {plan.digest()} {rung.name} {number} {frames}"
                segment = _segment(
                    scratch,
                    rung.name,
                    number,
                    text,
                    first * plan.grid.frame_ticks,
                    frames,
                    plan.grid.frame_ticks,
                )
                made[rung.name].append(segment)
                on_segment(segment)
            on_progress((number - chunk.first_segment + 1) / chunk.segments)
        self.ended("chunk")
        self.encoded.append((script.name, chunk.index))
        return ChunkOutput(
            tuple(EncodedTrack(inits[name], tuple(segments)) for name, segments in made.items())
        )

    def encode_audio(
        self,
        source: Path,
        plan: Plan,
        track: AudioTrack,
        scratch: Path,
        *,
        on_init: Callable[[EncodedInit], None],
        on_segment: Callable[[EncodedSegment], None],
        on_progress: Callable[[float], None],
        cancel: Event,
    ) -> EncodedTrack:
        """Segments of whole AAC frames up to the true end of the source."""
        self.begun(Moment("audio", cancel, on_progress))
        script = _read(source)
        init = _init(scratch, track.name, f"{plan.digest()} {track}", track.sample_rate, "mp4a.40.2")
        on_init(init)
        total = -(-script.frames * track.sample_rate // (script.rate * _AAC_FRAME))
        per_segment = track.segment_samples // _AAC_FRAME
        made: list[EncodedSegment] = []
        for number, first in enumerate(range(0, total, per_segment), start=1):
            self.step()
            _check(cancel)
            frames = min(per_segment, total - first)
            text = f"{script} {plan.digest()} {track.name} {number} {frames}"
            segment = _segment(
                scratch, track.name, number, text, first * _AAC_FRAME, frames, _AAC_FRAME, sound=True
            )
            made.append(segment)
            on_segment(segment)
            on_progress((first + frames) / total)
        self.ended("audio")
        return EncodedTrack(init, tuple(made))

    def poster(self, source: Path, plan: Plan, scratch: Path, *, cancel: Event) -> MadeFile:
        """A still."""
        self.begun(Moment("poster", cancel))
        self.step()
        _check(cancel)
        return _file(scratch, "poster.jpg", f"{_read(source)} poster".encode(), "image/jpeg")

    def captions(
        self, source: Path, plan: Plan, track: CaptionsTrack, scratch: Path, *, cancel: Event
    ) -> MadeFile:
        """A text."""
        self.begun(Moment("captions", cancel))
        self.step()
        _check(cancel)
        return _file(scratch, f"{track.name}.vtt", f"WEBVTT\n\n{_read(source)}".encode(), "text/vtt")


def _read(source: Path) -> Script:
    try:
        return documents.loads(Script, source.read_bytes())
    except documents.DocumentMalformed:
        raise MediaError("The file is no script.", code="media_unreadable") from None


def _check(cancel: Event) -> None:
    if cancel.is_set():
        raise Cancelled("The run was called off.")


def _init(scratch: Path, track: str, text: str, timescale: int, codecs: str) -> EncodedInit:
    made = _file(scratch / track, "init.mp4", f"init {text}".encode(), "video/mp4")
    return EncodedInit(track, made.path, made.size, made.sha256, codecs, timescale)


def _segment(
    scratch: Path,
    track: str,
    number: int,
    text: str,
    start: int,
    frames: int,
    ticks: int,
    *,
    sound: bool = False,
) -> EncodedSegment:
    made = _file(scratch / track, f"{number}.m4s", text.encode(), "video/mp4")
    return EncodedSegment(
        track=track,
        number=number,
        start=start,
        duration=frames * ticks,
        path=made.path,
        size=made.size,
        sha256=made.sha256,
        frames=frames,
        keyframes=() if sound else (Keyframe(0, made.size, frames * ticks),),
    )


def _file(folder: Path, name: str, data: bytes, media_type: str) -> MadeFile:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return MadeFile(name, path, len(data), hashlib.sha256(data).hexdigest(), media_type)
