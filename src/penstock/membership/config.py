"""What can be set about the protocol. Times in seconds; N is the number of members that are not dead or left.

The defaults are for one local network. They were chosen from the curves that ``bench/membership`` draws.
"""

from dataclasses import dataclass, field
from pathlib import Path

PACKET_LIMIT = (
    1400  # bytes of a datagram with header and tag: below every common path MTU, so none is fragmented
)
METADATA_LIMIT = 4096  # bytes: roles, addresses and load of a node, not its data
NAME_LIMIT = 128  # bytes of a display name in UTF-8


@dataclass(frozen=True, slots=True)
class ProtocolConfig:
    """Intervals, counts and factors of one node. Nodes with different values still understand each other."""

    probe_interval: float = 1.0
    """One member is probed per interval. Detection time and steady load are both proportional to it (load inversely)."""

    probe_timeout: float = 0.5
    """How long the direct answer may take before others are asked. Well above the slowest round trip of the network;
    what is left of the interval belongs to the indirect probes."""

    relays: int = 3
    """Members asked to probe on our behalf, beside a stream to the target itself. More hide more loss, and cost more
    packets while something is wrong; they cost nothing in the steady state."""

    nack_share: float = 0.6
    """Share of the time left to the prober after which a relay says that it hears nothing. Must leave room for the way
    back: at 1 every such answer came too late, and healthy probers took themselves for ill."""

    suspicion_alpha: float = 2.25
    """Least suspicion: ``alpha * max(1, log10 N)`` probe intervals. Smaller detects sooner and accuses more wrongly."""

    suspicion_beta: float = 6.0
    """Most suspicion, in multiples of the least: how long an accusation stands that nobody else confirms. It must outlive
    the pauses that a busy process makes; it does not delay the detection of a real crash, which others confirm."""

    confirmations: int = 2
    """Independent accusers after which suspicion is at its least (K of the Lifeguard paper)."""

    gossip_interval: float = 0.2
    """While there is news, it is sent this often."""

    gossip_peers: int = 3
    """Members that get the news each time."""

    gossip_factor: int = 4
    """Each piece of news is sent ``factor * ceil(log10(N + 1))`` times by each node that learns of it."""

    gossip_to_dead: float = 30.0
    """Members dead for less than this still get news: one that is wrongly believed dead must hear of it to object."""

    sync_interval: float = 30.0
    """Tables are compared with a random member this often, by digest. After a comparison that found more than a few
    differences the next one follows after a second, and the pause doubles up to this again."""

    revive_interval: float = 30.0
    """Each dead member and each seed that is nobody's address gets about one attempt in this time, from all members
    together. It is what heals the cluster after a partition."""

    retention: float = 86_400.0
    """Dead and departed members are remembered, and the dead tried again, for this long: a day outlives a repair."""

    health_limit: int = 7
    """Highest local health score; interval and timeout of probes are multiplied by score + 1. 0 turns it off."""

    tell_suspects: bool = True
    """A probe of a suspect carries the accusation, so that it can object at once (the paper's buddy system)."""

    stall: float = 0.25
    """A timer that fires this much late means that this process was not running. Nothing is then judged by what was
    missed meanwhile: each verdict waits for ``probe_timeout``, in which the answers that lie in the buffers are read. It waits
    once: where every timer is L late, a verdict comes at most ``probe_timeout + 2 L`` after its time."""

    return_probes: int = 5
    """A node that learns that it was declared dead first sends this many probes, and comes back once 60 % of them are
    answered; so does one that is suspected again and again. Without it, a node with a bad link dies and returns without end."""

    return_backoff: float = 30.0
    """Longest pause between two such attempts; they start at one probe interval and double."""


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """One node: where it keeps its state, where it is reached, whom it asks first."""

    folder: Path
    """Folder of this node's identity, its key ring and what it knew of the others. On a local file system."""

    name: str
    """Display name, at most 128 bytes. Need not be unique: the id on disk is."""

    bind: str = "127.0.0.1"
    """Address to receive on, UDP and TCP. The default reaches this machine alone; ``0.0.0.0`` the network."""

    port: int = 7946
    """Port to receive on, the same for UDP and TCP; 0 lets the system choose one, another after each start."""

    advertise: str | None = None
    """Address that the others should use, ``HOST`` or ``HOST:PORT``. None: where ``bind`` names one machine, that; else
    the address from which the first seed, or else the default gateway, is reached."""

    seeds: str = ""
    """``HOST:PORT`` of nodes to ask at the start and whenever nobody else is known, separated by commas; a DNS name stands
    for all its addresses. Two or three are enough; they are needed once, as the others are remembered."""

    seeds_file: Path | None = None
    """File with one more seed per line, read again each half minute: for whatever keeps lists of machines."""

    cluster: str = "penstock"
    """Name of the cluster. Nodes of different names do not understand each other, even with the same key."""

    key_file: Path | None = None
    """Key ring, the same for all nodes. None: ``keys`` in ``folder``, made with a new key at the first start."""

    control_socket: Path | None = None
    """Unix socket of the control interface, for its owner alone. None: ``control.sock`` in ``folder``, unless
    ``control_port`` is set."""

    control_port: int | None = None
    """TCP port of the control interface on 127.0.0.1 instead; each request then needs the token that the first start
    writes to ``control.token`` in ``folder``."""

    snapshot_interval: float = 2.0
    """Least seconds between two writes of what is known. The first change after a quiet time is written at once: a node
    that just met its first peer can find it again after a crash."""

    leave_timeout: float = 5.0
    """Most seconds that leaving may take before the process ends anyway; the others then find it dead instead."""

    event_history: int = 1000
    """Events kept in memory for those who ask, or follow with a pause."""

    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    """Intervals and factors."""
