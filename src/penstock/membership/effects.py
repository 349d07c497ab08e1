"""What goes into the core and what comes out of it: the whole boundary with the world.

Inputs are facts (something arrived, a time came, somebody commands); effects are orders to whoever runs the core, to be
carried out in the order given. They are structs of msgspec, since thousands of nodes in one simulation make and read millions.
"""

import msgspec

from penstock.membership.members import Address, Change, NodeId
from penstock.membership.messages import PacketMessage, StreamMessage

StreamId = int  # positive: opened by this core; negative: opened by a peer, numbered by the runner


# -- timers; one that is no longer of interest fires into nothing


class ProbeDue(msgspec.Struct, frozen=True, gc=False):
    """Time to judge the probe that runs, and to begin the next."""


class DirectTimeout(msgspec.Struct, frozen=True, gc=False):
    """The direct answer is late."""

    sequence: int


class RelayDue(msgspec.Struct, frozen=True, gc=False):
    """A relayed probe is unanswered: say so while it still counts."""

    sequence: int


class SuspicionDue(msgspec.Struct, frozen=True, gc=False):
    """A suspicion may have stood long enough."""

    node: NodeId


class GossipDue(msgspec.Struct, frozen=True, gc=False):
    """Time to spread news."""


class SyncDue(msgspec.Struct, frozen=True, gc=False):
    """Time to compare tables with somebody."""


class ReviveDue(msgspec.Struct, frozen=True, gc=False):
    """Time to consider the dead and the seeds."""


class ReturnDue(msgspec.Struct, frozen=True, gc=False):
    """Time to see whether those answer who were probed before coming back."""

    attempt: int


Timer = ProbeDue | DirectTimeout | RelayDue | SuspicionDue | GossipDue | SyncDue | ReviveDue | ReturnDue


# -- inputs


class Start(msgspec.Struct, frozen=True, gc=False):
    """The node begins; its first effects follow."""


class PacketArrived(msgspec.Struct, frozen=True, gc=False):
    """A datagram, verified and decoded. ``sender`` sealed it."""

    source: Address
    sender: NodeId
    messages: tuple[PacketMessage, ...] | list[PacketMessage]


class StreamArrived(msgspec.Struct, frozen=True, gc=False):
    """One message on a stream, verified and decoded."""

    stream: StreamId
    message: StreamMessage


class StreamClosed(msgspec.Struct, frozen=True, gc=False):
    """The stream has ended or could not be opened."""

    stream: StreamId


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    """``due`` is when it should have: the difference tells whether this process was running."""

    due: float
    timer: Timer


class Seeds(msgspec.Struct, frozen=True, gc=False):
    """Addresses of seeds, replacing earlier ones. Those not known as members are tried now."""

    addresses: tuple[Address, ...]


class Join(msgspec.Struct, frozen=True, gc=False):
    """Meet whoever is at these addresses, now; a node that left comes back."""

    addresses: tuple[Address, ...]


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Tell the others that this node leaves on purpose. :class:`Departed` follows."""


class ForceLeave(msgspec.Struct, frozen=True, gc=False):
    """Declare that a member which does not answer has left. Ignored for one that is alive."""

    node: NodeId


class Describe(msgspec.Struct, frozen=True, gc=False):
    """State new metadata or a new address about this node."""

    data: bytes | None = None
    address: Address | None = None


Input = (
    Start
    | PacketArrived
    | StreamArrived
    | StreamClosed
    | TimerFired
    | Seeds
    | Join
    | Leave
    | ForceLeave
    | Describe
)


# -- effects


class SendPacket(msgspec.Struct, frozen=True, gc=False):
    """One datagram."""

    to: Address
    messages: tuple[PacketMessage, ...]


class OpenStream(msgspec.Struct, frozen=True, gc=False):
    """Connect and send the first message."""

    stream: StreamId
    to: Address
    message: StreamMessage


class SendStream(msgspec.Struct, frozen=True, gc=False):
    """One more message on an open stream."""

    stream: StreamId
    message: StreamMessage


class CloseStream(msgspec.Struct, frozen=True, gc=False):
    """Nothing more will be sent: what was sent is delivered, then the stream ends."""

    stream: StreamId


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Fire ``timer`` at ``at``."""

    at: float
    timer: Timer


class Notify(msgspec.Struct, frozen=True, gc=False):
    """A record changed."""

    change: Change


class PersistEpoch(msgspec.Struct, frozen=True, gc=False):
    """Write and sync this epoch before carrying out the effects that follow."""

    epoch: int


class Joined(msgspec.Struct, frozen=True, gc=False):
    """A comparison of tables asked for by this node is complete."""

    stream: StreamId
    with_: NodeId


class Departed(msgspec.Struct, frozen=True, gc=False):
    """The others have been told that this node left: it may stop."""


class Remark(msgspec.Struct, frozen=True, gc=False):
    """Something an operator would want to know that is no change of a record; ``code`` is stable."""

    code: str
    node: NodeId
    detail: str


Effect = (
    SendPacket
    | OpenStream
    | SendStream
    | CloseStream
    | SetTimer
    | Notify
    | PersistEpoch
    | Joined
    | Departed
    | Remark
)
