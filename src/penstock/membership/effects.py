"""What goes into the core and what comes out of it: the whole boundary with the world.

Inputs are facts (something arrived, a time came, somebody commands); effects are orders to whoever runs the core, to be
carried out in the order given.
"""

from dataclasses import dataclass

from penstock.membership.members import Address, Change, NodeId
from penstock.membership.messages import PacketMessage, StreamMessage

StreamId = int  # positive: opened by this core; negative: opened by a peer, numbered by the runner


# -- timers; one that is no longer of interest fires into nothing


@dataclass(frozen=True, slots=True)
class ProbeDue:
    """Time to judge the probe that runs, and to begin the next."""


@dataclass(frozen=True, slots=True)
class DirectTimeout:
    """The direct answer is late."""

    sequence: int


@dataclass(frozen=True, slots=True)
class RelayDue:
    """A relayed probe is unanswered: say so while it still counts."""

    sequence: int


@dataclass(frozen=True, slots=True)
class SuspicionDue:
    """A suspicion may have stood long enough."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class GossipDue:
    """Time to spread news."""


@dataclass(frozen=True, slots=True)
class SyncDue:
    """Time to compare tables with somebody."""


@dataclass(frozen=True, slots=True)
class ReviveDue:
    """Time to consider the dead and the seeds."""


@dataclass(frozen=True, slots=True)
class ReturnDue:
    """Time to see whether those answer who were probed before coming back."""

    attempt: int


Timer = ProbeDue | DirectTimeout | RelayDue | SuspicionDue | GossipDue | SyncDue | ReviveDue | ReturnDue


# -- inputs


@dataclass(frozen=True, slots=True)
class Start:
    """The node begins; its first effects follow."""


@dataclass(frozen=True, slots=True)
class PacketArrived:
    """A datagram, verified and decoded. ``sender`` sealed it."""

    source: Address
    sender: NodeId
    messages: tuple[PacketMessage, ...] | list[PacketMessage]


@dataclass(frozen=True, slots=True)
class StreamArrived:
    """One message on a stream, verified and decoded."""

    stream: StreamId
    message: StreamMessage


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The stream has ended or could not be opened."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class TimerFired:
    """``due`` is when it should have: the difference tells whether this process was running."""

    due: float
    timer: Timer


@dataclass(frozen=True, slots=True)
class Seeds:
    """Addresses of seeds, replacing earlier ones. Those not known as members are tried now."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """Meet whoever is at these addresses, now; a node that left comes back."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Tell the others that this node leaves on purpose. :class:`Departed` follows."""


@dataclass(frozen=True, slots=True)
class ForceLeave:
    """Declare that a member which does not answer has left. Ignored for one that is alive."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Describe:
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


@dataclass(frozen=True, slots=True)
class SendPacket:
    """One datagram."""

    to: Address
    messages: tuple[PacketMessage, ...]


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Connect and send the first message."""

    stream: StreamId
    to: Address
    message: StreamMessage


@dataclass(frozen=True, slots=True)
class SendStream:
    """One more message on an open stream."""

    stream: StreamId
    message: StreamMessage


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Nothing more will be sent: what was sent is delivered, then the stream ends."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire ``timer`` at ``at``."""

    at: float
    timer: Timer


@dataclass(frozen=True, slots=True)
class Notify:
    """A record changed."""

    change: Change


@dataclass(frozen=True, slots=True)
class PersistEpoch:
    """Write and sync this epoch before carrying out the effects that follow."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A comparison of tables asked for by this node is complete."""

    stream: StreamId
    with_: NodeId


@dataclass(frozen=True, slots=True)
class Departed:
    """The others have been told that this node left: it may stop."""


@dataclass(frozen=True, slots=True)
class Remark:
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
