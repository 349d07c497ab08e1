"""The media tools as tasks call them: the ``ffmpeg`` room's functions with the tools that were found at start.

One small class, so that a test can put an encoder that follows a script in its place.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

from penstock.ffmpeg import discovery, encode, images
from penstock.ffmpeg import inspect as looking
from penstock.ffmpeg.outputs import ChunkOutput, EncodedInit, EncodedSegment, EncodedTrack, MadeFile
from penstock.ffmpeg.tools import Tools
from penstock.video.media import SourceMedia
from penstock.video.plan import Chunk, Plan, ScanResult
from penstock.video.tracks import AudioTrack, CaptionsTrack


class Media:
    """Every method blocks, and raises ``Cancelled`` soon after ``cancel`` is set."""

    def __init__(self, tools: Tools) -> None:
        self.fingerprint = tools.fingerprint
        self._tools = tools

    def trial(self) -> None:
        """See ``ffmpeg.discovery.check``. Bounded by its own deadline."""
        discovery.check(self._tools)

    def inspect(self, source: Path, *, cancel: Event) -> SourceMedia:
        """See ``ffmpeg.inspect.inspect``."""
        return looking.inspect(self._tools, source, cancel=cancel)

    def scan(self, source: Path, plan: Plan, *, cancel: Event) -> ScanResult:
        """See ``ffmpeg.inspect.scan``."""
        return looking.scan(self._tools, source, plan, cancel=cancel)

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
        """See ``ffmpeg.encode.encode_chunk``."""
        return encode.encode_chunk(
            self._tools,
            source,
            plan,
            chunk,
            scratch,
            pinned=pinned,
            on_init=on_init,
            on_segment=on_segment,
            on_progress=on_progress,
            cancel=cancel,
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
        """See ``ffmpeg.encode.encode_audio``."""
        return encode.encode_audio(
            self._tools,
            source,
            plan,
            track,
            scratch,
            on_init=on_init,
            on_segment=on_segment,
            on_progress=on_progress,
            cancel=cancel,
        )

    def poster(self, source: Path, plan: Plan, scratch: Path, *, cancel: Event) -> MadeFile:
        """See ``ffmpeg.images.poster``."""
        return images.poster(self._tools, source, plan, scratch, cancel=cancel)

    def captions(
        self, source: Path, plan: Plan, track: CaptionsTrack, scratch: Path, *, cancel: Event
    ) -> MadeFile:
        """See ``ffmpeg.images.captions``."""
        return images.captions(self._tools, source, plan, track, scratch, cancel=cancel)
