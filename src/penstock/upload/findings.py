"""What inspection found in a source, and what the plan decided, as an administrator's client sees it. Values only.

Numbers that the plan keeps exact are shown as floats; who needs them exact has ``penstock plan``.
"""

from fractions import Fraction

from pydantic import BaseModel, Field

from penstock.video.media import Hdr, Scan, SourceMedia
from penstock.video.plan import Plan


class FoundPicture(BaseModel):
    """One stream of moving pictures in the source."""

    codec: str = Field(examples=["h264"])
    width: int = Field(description="Pixels as decoded, before rotation.")
    height: int
    rotation: int = Field(description="Degrees clockwise that bring it upright.")
    frame_rate: float | None = Field(description="Frames per second; null where the rate varies.")
    bit_depth: int
    hdr: Hdr | None = Field(description="The kind of high dynamic range; null for the standard range.")
    scan: Scan = Field(description="Whether it is interlaced, and which field comes first.")


class FoundSound(BaseModel):
    """One stream of sound in the source."""

    codec: str = Field(examples=["aac"])
    channels: int
    sample_rate: int = Field(description="Hz.")
    language: str | None
    title: str | None


class FoundSubtitles(BaseModel):
    """One stream of subtitles in the source."""

    codec: str = Field(examples=["subrip"])
    text: bool = Field(description="Only text can become captions.")
    language: str | None


class LeftOut(BaseModel):
    """A stream of the source that is not used."""

    stream: int
    kind: str
    reason: str = Field(examples=["cover_art"])


class Found(BaseModel):
    """What is in the source."""

    container: str = Field(examples=["mov,mp4,m4a,3gp,3g2,mj2"])
    size: int = Field(description="Bytes.")
    duration: float | None = Field(description="Seconds as the header claims.")
    truncated: bool = Field(description="The file ends before its own structure says it does.")
    video: list[FoundPicture]
    audio: list[FoundSound]
    subtitles: list[FoundSubtitles]
    left_out: list[LeftOut]

    @classmethod
    def of(cls, media: SourceMedia, *, truncated: bool) -> "Found":
        """From the facts; ``truncated`` is what inspection and scan together say."""
        return cls(
            container=media.container,
            size=media.size,
            duration=_number(media.duration),
            truncated=truncated,
            video=[
                FoundPicture(
                    codec=stream.codec,
                    width=stream.width,
                    height=stream.height,
                    rotation=stream.rotation,
                    frame_rate=_number(stream.constant_rate),
                    bit_depth=stream.bit_depth,
                    hdr=stream.colour.hdr,
                    scan=stream.scan,
                )
                for stream in media.video
            ],
            audio=[
                FoundSound(
                    codec=stream.codec,
                    channels=stream.channels,
                    sample_rate=stream.sample_rate,
                    language=stream.language,
                    title=stream.title,
                )
                for stream in media.audio
            ],
            subtitles=[
                FoundSubtitles(codec=stream.codec, text=stream.text, language=stream.language)
                for stream in media.subtitles
            ],
            left_out=[
                LeftOut(stream=stream.index, kind=stream.kind, reason=stream.reason)
                for stream in media.skipped
            ],
        )


class DecidedGrid(BaseModel):
    """The frames and segments that all rungs share."""

    frame_rate: float = Field(description="Frames per second.")
    keyframe_every: int = Field(description="Frames.")
    segment_seconds: float
    frames: int | None = Field(description="Of the whole video in every rung; an estimate before the scan.")
    chunks: int | None = Field(description="Tasks that encode it; null before the scan.")


class DecidedTreatment(BaseModel):
    """What is done to every picture before it is scaled."""

    rotate: int = Field(description="Degrees clockwise.")
    deinterlace: bool
    tonemap: bool = Field(description="Mapped from HDR to the standard range.")


class DecidedRung(BaseModel):
    """One video rendition."""

    name: str = Field(examples=["720p"])
    width: int
    height: int
    crf: int = Field(description="The quality aimed at.")
    max_bitrate: int = Field(description="Bit/s that the encoder is capped to.")


class DecidedAudio(BaseModel):
    """One audio rendition."""

    name: str = Field(examples=["audio-0"])
    channels: int
    bitrate: int = Field(description="Bit/s.")
    language: str | None
    label: str
    loudness: bool = Field(description="Brought to -16 LUFS.")


class DecidedCaptions(BaseModel):
    """One track of captions."""

    name: str = Field(examples=["captions-0"])
    language: str | None
    label: str


class Decided(BaseModel):
    """What becomes of the source: its plan."""

    digest: str = Field(description="Equal for equal plans.")
    preset: str = Field(description="The encoder's.", examples=["veryfast"])
    grid: DecidedGrid | None = Field(description="Null for a source without pictures.")
    treatment: DecidedTreatment | None = Field(description="Null for a source without pictures.")
    rungs: list[DecidedRung] = Field(description="Lowest first.")
    audio: list[DecidedAudio]
    captions: list[DecidedCaptions]

    @classmethod
    def of(cls, plan: Plan, *, frames: int | None, chunks: int | None) -> "Decided":
        """From the plan, and what the scan has settled of it."""
        return cls(
            digest=plan.digest(),
            preset=plan.preset,
            grid=_grid(plan, frames, chunks),
            treatment=_treatment(plan),
            rungs=[
                DecidedRung(
                    name=rung.name,
                    width=rung.width,
                    height=rung.height,
                    crf=rung.crf,
                    max_bitrate=rung.maxrate,
                )
                for rung in plan.rungs
            ],
            audio=[
                DecidedAudio(
                    name=track.name,
                    channels=track.channels,
                    bitrate=track.bitrate,
                    language=track.language,
                    label=track.label,
                    loudness=track.loudness,
                )
                for track in plan.audio
            ],
            captions=[
                DecidedCaptions(name=track.name, language=track.language, label=track.label)
                for track in plan.captions
            ],
        )


def _grid(plan: Plan, frames: int | None, chunks: int | None) -> DecidedGrid | None:
    if plan.grid is None:
        return None
    return DecidedGrid(
        frame_rate=float(plan.grid.rate),
        keyframe_every=plan.grid.gop_frames,
        segment_seconds=float(plan.grid.segment_frames / plan.grid.rate),
        frames=frames,
        chunks=chunks,
    )


def _treatment(plan: Plan) -> DecidedTreatment | None:
    if plan.video is None:
        return None
    return DecidedTreatment(
        rotate=plan.video.rotation,
        deinterlace=plan.video.deinterlace is not Scan.PROGRESSIVE,
        tonemap=plan.video.tonemap,
    )


def _number(value: Fraction | None) -> float | None:
    return None if value is None else float(value)
