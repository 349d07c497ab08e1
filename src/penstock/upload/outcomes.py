"""What the rules of uploads hand to each other: what is asked for, what came of it, and what both say of a session."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from penstock.access.principals import Principal
from penstock.catalog.records import Upload, Video
from penstock.catalog.words import Transport
from penstock.storage.staging import Staged
from penstock.upload.config import UploadConfig
from penstock.upload.messages import Described
from penstock.upload.parts import PartMap
from penstock.video.errors import Gone

StoreAnswer = Callable[[Connection, "Outcome"], None]


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What is about to be sent: as its client describes it, and how it will come. ``size`` may not be known."""

    described: Described
    transport: Transport
    size: int | None
    content_type: str | None
    transport_data: Any = None  # what the transport must remember
    answers_with_session: bool = (
        False  # its protocol cannot say that there is nothing to send: found out at the end
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """A new session or, with ``duplicate``, none, and the video that stands for the bytes."""

    video: Video
    upload: Upload | None
    duplicate: bool = False


def store_nothing(_tx: Connection, _outcome: Outcome) -> None:
    """For a caller whose answer nobody will ask for again."""


def staged(upload: Upload, config: UploadConfig) -> Staged:
    """A session's bytes, as the staging knows them."""
    return Staged(upload.id, upload.source_key, upload.size or config.max_size, upload.staged)


def ended() -> Gone:
    """The refusal where a session's bytes are no more, though its record may not say so yet."""
    return Gone("The upload has ended and its bytes are gone; start a new one.", code="upload_ended")


def account_of(principal: Principal) -> str:
    """Who did it, as the history of a video names them."""
    return f"account:{principal.account_id}"


def part_map(upload: Upload) -> PartMap:
    """How a session divides: a ``put`` upload is one part."""
    size = upload.size or 0
    return PartMap(size, upload.part_size or max(size, 1))
