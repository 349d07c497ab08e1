"""What the control interface shows: the same models in the service and in its client."""

import json
from typing import Any, Literal

from pydantic import BaseModel, Field

from penstock.membership.members import NodeId, Record
from penstock.membership.watching import Event as SeenEvent
from penstock.membership.watching import Kind

StateName = Literal["alive", "suspect", "dead", "left"]
MetadataObject = dict[str, Any]


class Member(BaseModel):
    """One member, as the node that answers sees it."""

    id: str = Field(description="32 hexadecimal digits; stays for the life of the node's disk.")
    name: str
    host: str
    port: int
    state: StateName
    epoch: int = Field(description="Rises with each start of the node.")
    incarnation: int = Field(
        description="Rises with each statement of the node about itself within an epoch."
    )
    metadata: MetadataObject = Field(description="What the node says about itself.")
    age: float = Field(description="Seconds since this state was learned.")
    me: bool = Field(description="True for the node that answers.")

    @classmethod
    def of(cls, record: Record, now: float, me: NodeId) -> "Member":
        """A record, shown."""
        return cls(
            id=record.node.hex(),
            name=record.contact.name,
            host=record.address.host,
            port=record.address.port,
            state=_state(record),
            epoch=record.order.epoch,
            incarnation=record.order.incarnation,
            metadata=read_metadata(record.metadata.data),
            age=max(0.0, round(now - record.since, 1)),
            me=record.node == me,
        )


class MemberList(BaseModel):
    """All members, by name."""

    items: list[Member]


class Event(BaseModel):
    """One change, as the node that answers saw it."""

    id: str = Field(description="Run and number; later events of a run have greater numbers.")
    at: float = Field(description="Seconds since 1970, on the answering node's clock.")
    kind: Kind
    member: Member = Field(description="After the change; for one that is forgotten, before it.")
    before: StateName | None
    by: str = Field(description="Id of the member that said so.")
    reason: str

    @classmethod
    def of(cls, event: SeenEvent, run: int, now: float, me: NodeId) -> "Event":
        """An event, shown."""
        return cls(
            id=f"{run}-{event.number}",
            at=round(event.at, 3),
            kind=event.kind,
            member=Member.of(event.record, now, me),
            before=_state(event.before) if event.before is not None else None,
            by=event.by.hex(),
            reason=event.reason,
        )


class EventList(BaseModel):
    """Recent events, oldest first."""

    items: list[Event]


class Join(BaseModel):
    """Whom to meet."""

    addresses: list[str] = Field(min_length=1, max_length=64, examples=[["10.0.0.5:7946"]])


class Joined(BaseModel):
    """Who answered."""

    met: list[str] = Field(description="Ids.")


class Registration(BaseModel):
    """What one program of the node says of itself."""

    metadata: MetadataObject
    ttl: float = Field(default=15.0, ge=1.0, le=3600.0, description="Seconds until it is gone by itself.")


class Key(BaseModel):
    """A key of the ring, by the name that may be shown."""

    fingerprint: str
    primary: bool


class KeyList(BaseModel):
    """All keys, the primary one first."""

    items: list[Key]


class NewKey(BaseModel):
    """A key to add, the same on all nodes."""

    key: str = Field(description="32 bytes in base64.")


class Status(BaseModel):
    """How this node is."""

    service: Literal["member"] = "member"
    version: str
    status: Literal["ok", "leaving"]
    cluster: str
    node: Member
    members: dict[StateName, int]
    health: int = Field(description="Local health score: 0 is well, up to 7 is slow or badly connected.")
    round_trip_ms: float | None = Field(description="Of the last probe answered directly.")
    news_queued: int


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


def read_metadata(data: bytes) -> MetadataObject:
    """Metadata as JSON; empty where another program stated something else."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def write_metadata(value: MetadataObject) -> bytes:
    """The shortest JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() if value else b""


def _state(record: Record) -> StateName:
    names: tuple[StateName, StateName, StateName, StateName] = ("alive", "suspect", "dead", "left")
    return names[record.state]
