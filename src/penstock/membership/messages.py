"""What nodes say to each other: in datagrams, and in streams.

Values only; ``codec`` turns them into bytes and back. Each is an array on the wire, its first element the type. Fields are
only ever added at the end, with a default: a node of an older version skips what it does not know.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.membership.config import METADATA_LIMIT, NAME_LIMIT
from penstock.membership.members import Address, Claim, Contact, Metadata, Record
from penstock.membership.precedence import Order, State

Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
Count = Annotated[int, Meta(ge=0, lt=2**40)]
Sequence = Annotated[int, Meta(ge=0, lt=2**32)]
Digest = Annotated[int, Meta(ge=0)]  # 64 bits, the most that msgpack has
Host = Annotated[str, Meta(min_length=1, max_length=255)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Name = Annotated[str, Meta(max_length=NAME_LIMIT)]
Data = Annotated[bytes, Meta(max_length=METADATA_LIMIT)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """Are you there? Only ``target`` answers: an address may have been given to somebody else."""

    sequence: Sequence
    target: Id


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """I am, or the one is whom you asked me to probe."""

    sequence: Sequence


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """I am here, and do not hear the one you asked me to probe."""

    sequence: Sequence


class Relay(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Probe ``target`` for me; the answer is of use to me for ``left`` milliseconds more."""

    sequence: Sequence
    target: Id
    host: Host
    port: Port
    left: Annotated[int, Meta(ge=0, le=600_000)]


class News(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """A statement about a member. Alive: from itself, with its contact, and its metadata where that fits."""

    node: Id
    epoch: Count
    incarnation: Count
    state: State
    by: Id
    name: Name = ""
    host: Annotated[str, Meta(max_length=255)] = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    data: Data | None = None

    @property
    def claim(self) -> Claim:
        """As the table understands it."""
        order = Order(self.epoch, self.incarnation)
        contact = (
            Contact(order, self.name, Address(self.host, self.port)) if self.port and self.host else None
        )
        metadata = Metadata(order, self.data) if self.data is not None else None
        return Claim(self.node, order, self.state, self.by, contact, metadata)


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record of a table. ``age``: seconds since its state was learned, so that no clocks need agree."""

    node: Id
    epoch: Count
    incarnation: Count
    state: State
    contact_epoch: Count
    contact_incarnation: Count
    name: Name
    host: Host
    port: Port
    metadata_epoch: Count
    metadata_incarnation: Count
    data: Data
    age: Annotated[float, Meta(ge=0, le=1e9)]

    @classmethod
    def of(cls, record: Record, now: float) -> "Row":
        """A record as others may read it."""
        contact, metadata = record.contact, record.metadata
        return cls(
            record.node,
            record.order.epoch,
            record.order.incarnation,
            record.state,
            contact.order.epoch,
            contact.order.incarnation,
            contact.name,
            contact.address.host,
            contact.address.port,
            metadata.order.epoch,
            metadata.order.incarnation,
            metadata.data,
            max(0.0, round(now - record.since, 1)),
        )

    def claim(self, by: bytes) -> Claim:
        """As the table understands it, told by the member ``by``."""
        contact = Contact(
            Order(self.contact_epoch, self.contact_incarnation), self.name, Address(self.host, self.port)
        )
        metadata = Metadata(Order(self.metadata_epoch, self.metadata_incarnation), self.data)
        return Claim(self.node, Order(self.epoch, self.incarnation), self.state, by, contact, metadata)


class Summary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which statement one side holds about a member: enough to see who has the newer one."""

    node: Id
    epoch: Count
    incarnation: Count
    state: State
    contact_epoch: Count
    contact_incarnation: Count
    metadata_epoch: Count
    metadata_incarnation: Count


class Compare(msgspec.Struct, frozen=True, array_like=True, tag=16, gc=False):
    """Opens a comparison of tables: who asks, and the digest of all it holds."""

    me: Row
    root: Digest


class Equal(msgspec.Struct, frozen=True, array_like=True, tag=17, gc=False):
    """Nothing differs; and who answers."""

    me: Row


class Buckets(msgspec.Struct, frozen=True, array_like=True, tag=18, gc=False):
    """Something differs: the digest of each bucket of the answering side, and who it is."""

    me: Row
    digests: Annotated[list[Digest], Meta(max_length=256)]


class Summaries(msgspec.Struct, frozen=True, array_like=True, tag=19, gc=False):
    """What the asking side holds in the buckets that differ."""

    buckets: Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(max_length=256)]
    held: list[Summary]


class Rows(msgspec.Struct, frozen=True, array_like=True, tag=20, gc=False):
    """Records that the other side lacks, and the ids of those it should send back. ``last``: nothing follows."""

    me: Id
    rows: list[Row]
    wanted: list[Id]
    last: bool


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag=21, gc=False):
    """Send me these records: their metadata was too large for a datagram."""

    wanted: list[Id]


PacketMessage = Ping | Ack | Nack | Relay | News
StreamMessage = Ping | Ack | News | Compare | Equal | Buckets | Summaries | Rows | Fetch
