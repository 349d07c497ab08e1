"""What clients send and receive, as the OpenAPI document shows it. Values only; the records become them here."""

import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from penstock.catalog.records import Upload, UploadPart, Video
from penstock.catalog.videos import TITLE_LIMIT
from penstock.catalog.words import Transport, UploadState
from penstock.upload.parts import Part
from penstock.upload.urls import SignedUrl
from penstock.video.lifecycle import VideoState
from penstock.video.visibility import Visibility

_VIDEO_ID = "01kq3v5d2m8r1x9c7b4n6t0hsz"
_UPLOAD_ID = "01kq3v5d2n4h7e9w2f5g8j1a3k"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def plain_text(text: str) -> str:
    """``text`` itself. Raises ``ValueError`` for control characters and for what is no Unicode text at all."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise ValueError("control characters are not accepted")
    return text


def base_name(name: object) -> object:
    """The last part of what a client calls its file: browsers and scripts may send a path of their own machine."""
    if not isinstance(name, str):
        return name  # refused by the type that follows
    return name.replace("\\", "/").rpartition("/")[2].strip()


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_LIMIT),
    AfterValidator(plain_text),
]
Filename = Annotated[
    str, BeforeValidator(base_name), Field(min_length=1, max_length=255), AfterValidator(plain_text)
]
ContentType = Annotated[str, Field(max_length=255, pattern=r"^[\x21-\x7e]+/[\x20-\x7e]+$")]
Sha256 = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[0-9a-fA-F]{64}$")]
_CONTENT_TYPE: TypeAdapter[str] = TypeAdapter(ContentType)
UploadId = Annotated[str, Field(min_length=1, max_length=64, examples=[_UPLOAD_ID])]


def media_type(text: str) -> str | None:
    """``text``, where it looks like a media type; what a client says of its bytes is a hint, not worth a refusal."""
    try:
        return _CONTENT_TYPE.validate_python(text)
    except ValidationError:
        return None


def moment(milliseconds: int) -> datetime:
    """A record's time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class Described(BaseModel):
    """What every transport may say about the video."""

    model_config = ConfigDict(extra="forbid")

    filename: Filename = Field(
        description="Name of the file; shown to its owner, never used as a path.", examples=["holiday.mp4"]
    )
    title: Title | None = Field(
        default=None, description="Shown to viewers; the file's name without its ending unless given."
    )
    visibility: Visibility = Field(
        default=Visibility.PRIVATE, description="Who may come upon the video; it can be changed later."
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the whole file in hexadecimal. Bytes with another digest are refused.",
        examples=[_SHA256],
    )
    allow_duplicate: bool = Field(
        default=False,
        description="Make a new video even where the owner already has one of the same bytes.",
    )

    def shown_title(self) -> str:
        """The title, or what stands for it."""
        return self.title or (self.filename.rpartition(".")[0].strip() or self.filename)[:TITLE_LIMIT]


class Initiate(Described):
    """The beginning of an upload in several requests."""

    size: int = Field(description="Bytes of the whole file.", ge=0, examples=[734003200])
    content_type: ContentType | None = Field(default=None, examples=["video/mp4"])
    transport: Literal["put", "direct", "tus"] = Field(
        description="`put`: the whole file to one URL. `direct`: parts of it to one URL each, in any order and in parallel. "
        "`tus`: by that protocol to one URL, going on where a connection broke; no completion is needed.",
    )


class PartUrl(BaseModel):
    """Where to send one part: PUT exactly `size` bytes, those from `offset` on."""

    number: int = Field(description="From 1.")
    offset: int
    size: int
    url: str = Field(
        description="Relative to this API's address where it does not begin with a scheme.",
        examples=[f"/api/uploads/{_UPLOAD_ID}/parts/1?signature=..."],
    )
    expires_at: datetime

    @classmethod
    def of(cls, part: Part, signed: SignedUrl) -> "PartUrl":
        """A part and its address."""
        expires_at = datetime.fromtimestamp(signed.expires, UTC)
        return cls(
            number=part.number, offset=part.offset, size=part.size, url=signed.url, expires_at=expires_at
        )


class Initiated(BaseModel):
    """An open upload, or, with `duplicate`, the video that is there already."""

    upload_id: str | None = Field(description="Null where nothing needs to be sent.", examples=[_UPLOAD_ID])
    video_id: str = Field(examples=[_VIDEO_ID])
    transport: Transport
    duplicate: bool = Field(
        default=False, description="The owner already has a video of this digest: this one."
    )
    size: int
    url: str | None = Field(
        default=None, description="`put`: where to PUT the whole file. `tus`: the upload's address."
    )
    url_expires_at: datetime | None = None
    part_size: int | None = Field(default=None, description="`direct`: bytes of every part but the last.")
    parts: list[PartUrl] | None = Field(default=None, description="`direct`: every part in order.")
    expires_at: datetime | None = Field(
        description="When a silent upload is given up; every part prolongs it."
    )


class PartReceived(BaseModel):
    """A part that is durable."""

    number: int
    size: int
    etag: str = Field(
        description="First 32 hexadecimal digits of the part's SHA-256; of a part in a bucket, the store's own. "
        "Empty once all parts are one object and have none any more.",
        examples=[_SHA256[:32]],
    )

    @classmethod
    def of(cls, record: UploadPart) -> "PartReceived":
        """From its record."""
        return cls(number=record.number, size=record.size, etag=record.etag or "")


class AskParts(BaseModel):
    """Which upload's parts are asked for."""

    model_config = ConfigDict(extra="forbid")

    upload_id: UploadId


class Parts(BaseModel):
    """How far an upload has come, and where to send what is missing."""

    upload_id: str
    part_size: int
    received: list[PartReceived] = Field(description="Parts that are durable.")
    missing: list[PartUrl] = Field(description="Parts that are not there, each with a fresh URL.")


class ClaimedPart(BaseModel):
    """A part as the client sent it."""

    model_config = ConfigDict(extra="forbid")

    number: int
    etag: str = Field(max_length=128, description="As the part's answer gave it, with or without quotes.")


class Complete(BaseModel):
    """The end of an upload in several requests."""

    model_config = ConfigDict(extra="forbid")

    upload_id: UploadId
    parts: list[ClaimedPart] = Field(
        default=[], max_length=10_000, description="Parts to compare with what arrived; may be left out."
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="Of the whole file, for who learns it only while sending. Other bytes are refused, as where it was told "
        "at the beginning; where they went straight into a bucket, processing does so.",
        examples=[_SHA256],
    )


class UploadedVideo(BaseModel):
    """The video that an upload became, or the earlier one of the same bytes."""

    id: str = Field(examples=[_VIDEO_ID])
    upload_id: str | None = Field(examples=[_UPLOAD_ID])
    state: VideoState = Field(examples=[VideoState.UPLOADED])
    playable: bool
    duplicate: bool = Field(
        description="The owner already had this video; the upload's own id is deleted and says `duplicate_of`."
    )
    title: str
    filename: str = Field(examples=["holiday.mp4"])
    visibility: Visibility
    size: int | None = Field(description="Bytes of the source.", examples=[734003200])
    sha256: str | None = Field(description="Of the source, in hexadecimal.", examples=[_SHA256])
    created_at: datetime
    uploaded_at: datetime | None = Field(description="When the source was durable and acknowledged.")

    @classmethod
    def of(cls, video: Video, *, upload_id: str | None, duplicate: bool) -> "UploadedVideo":
        """From its record."""
        return cls(
            id=video.id,
            upload_id=upload_id,
            state=video.state,
            playable=video.playable,
            duplicate=duplicate,
            title=video.title,
            filename=video.filename,
            visibility=video.visibility,
            size=video.source_size,
            sha256=video.source_sha256,
            created_at=moment(video.created_at),
            uploaded_at=None if video.uploaded_at is None else moment(video.uploaded_at),
        )


class UploadStatus(BaseModel):
    """How an upload stands."""

    upload_id: str = Field(examples=[_UPLOAD_ID])
    video_id: str = Field(examples=[_VIDEO_ID])
    transport: Transport
    state: UploadState
    size: int | None = Field(description="Bytes of the whole file; null while it is not known.")
    received: int = Field(description="Bytes that are durable.")
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, upload: Upload, received: int) -> "UploadStatus":
        """From its record."""
        return cls(
            upload_id=upload.id,
            video_id=upload.video_id,
            transport=upload.transport,
            state=upload.state,
            size=upload.size,
            received=received,
            created_at=moment(upload.created_at),
            expires_at=moment(upload.expires_at),
        )
