"""The protocol of one node, without I/O: facts go in, effects come out. SWIM with Lifeguard, and what both lack.

``handle(now, input) -> effects`` is all there is. ``now`` is any clock that does not go back; randomness is given. The same
code runs in the agent, in the simulator and in the property tests. It must never read a clock, open a socket or a file, or
know how bytes look.
"""

import random
from collections.abc import Iterable

from penstock.membership.beliefs import Beliefs
from penstock.membership.config import ProtocolConfig
from penstock.membership.effects import (
    CloseStream,
    Departed,
    Describe,
    DirectTimeout,
    Effect,
    ForceLeave,
    GossipDue,
    Input,
    Join,
    Leave,
    PacketArrived,
    ProbeDue,
    RelayDue,
    ReturnDue,
    ReviveDue,
    Seeds,
    SendStream,
    SetTimer,
    Start,
    StreamArrived,
    StreamClosed,
    SuspicionDue,
    SyncDue,
    Timer,
    TimerFired,
)
from penstock.membership.members import Address, Claim, NodeId, Record, Speaker
from penstock.membership.messages import (
    Ack,
    Buckets,
    Compare,
    Equal,
    Fetch,
    Nack,
    News,
    Ping,
    Relay,
    Rows,
    StreamMessage,
    Summaries,
)
from penstock.membership.node import Identity, Node
from penstock.membership.precedence import State
from penstock.membership.probing import Prober
from penstock.membership.reviving import Reviver
from penstock.membership.sync import Synchroniser

FIRST_PEERS = 3  # members of the snapshot that a starting node compares tables with at once
JUDGEMENTS = (ProbeDue, DirectTimeout, SuspicionDue, ReturnDue)  # timers that hold silence against somebody


class Core:
    """One node."""

    def __init__(
        self, config: ProtocolConfig, identity: Identity, rng: random.Random, known: Iterable[Record] = ()
    ) -> None:
        """``known``: records of an earlier run."""
        self.node = Node(config, identity, rng, known)
        self.beliefs = Beliefs(self.node)
        self._returning = self.beliefs.returning
        self._prober = Prober(self.node, self.beliefs)
        self._synchroniser = Synchroniser(self.node, self.beliefs)
        self._reviver = Reviver(self.node, self._synchroniser)
        self._grace_until = float("-inf")
        self._put_off: dict[Timer, float] = {}  # judgements that wait, and until when at the latest
        self._running = False
        self._departing = False

    # -- what others may read

    @property
    def me(self) -> Record:
        """This node's own record."""
        return self.node.me

    @property
    def members(self) -> Iterable[Record]:
        """All records, this node's own included."""
        return self.node.members

    def get(self, node: NodeId) -> Record | None:
        """One record."""
        return self.node.members.get(node)

    @property
    def health(self) -> int:
        """The local health score; 0 is well."""
        return self.node.health.score

    @property
    def round_trip(self) -> float | None:
        """Of the last probe answered directly, in seconds."""
        return self._prober.round_trip

    @property
    def queued(self) -> int:
        """Pieces of news still to be told."""
        return len(self.node.gossip)

    # -- the boundary

    def handle(self, now: float, given: Input) -> list[Effect]:
        """Takes one input; returns what is to be done, in this order."""
        node = self.node
        node.now = max(node.now, now)
        match given:
            case PacketArrived():
                self._packet(given)
            case TimerFired():
                self._timer(given)
            case StreamArrived(stream, message):
                self._stream(stream, message)
            case StreamClosed(stream):
                self._synchroniser.closed(stream)
            case _:
                self._command(given)
        effects, node.effects = node.effects, []
        return effects

    # -- packets and streams

    def _packet(self, packet: PacketArrived) -> None:
        source, sender = packet.source, packet.sender
        speaker = Speaker(sender, source)
        lacking: list[NodeId] = []
        for message in packet.messages:
            match message:
                case News():
                    self._news(speaker, message, lacking)
                case Ping():
                    self._prober.ping(source, sender, message)
                case Ack(sequence):
                    (
                        self._prober.ack(sender, sequence)
                        or self._returning.acked(sender, sequence)
                        or self._reviver.acked(sender, sequence)
                    )
                case Nack(sequence):
                    self._prober.nack(sender, sequence)
                case Relay():
                    self._prober.relay(source, sender, message)
        if lacking:
            self._synchroniser.fetch(source, lacking)

    def _news(self, speaker: Speaker, news: News, lacking: list[NodeId]) -> None:
        if self.beliefs.tells_nothing_new(news):
            return
        reason = "heard by gossip" if news.state is State.ALIVE else "accusation heard by gossip"
        changed = self.beliefs.hear(news.claim, reason, speaker=speaker)
        if changed and news.data is None and news.state is State.ALIVE:
            lacking.append(news.node)  # its metadata was too large for a datagram

    def _stream(self, stream: int, message: StreamMessage) -> None:
        synchroniser = self._synchroniser
        match message:
            case Ping(sequence, target):
                if target == self.node.id:
                    self.node.effects += [SendStream(stream, Ack(sequence)), CloseStream(stream)]
                else:
                    self.node.effects.append(CloseStream(stream))
            case Ack():
                self._prober.stream_ack(stream)
                self.node.effects.append(CloseStream(stream))
            case News():
                self.beliefs.hear(message.claim, "told over a stream")
            case Compare():
                synchroniser.compare(stream, message)
            case Equal():
                synchroniser.equal(stream, message)
            case Buckets():
                synchroniser.buckets(stream, message)
            case Summaries():
                synchroniser.summaries(stream, message)
            case Rows():
                synchroniser.rows(stream, message)
            case Fetch():
                synchroniser.fetched(stream, message)

    # -- timers

    def _timer(self, fired: TimerFired) -> None:
        node, timer = self.node, fired.timer
        if node.now - fired.due > node.config.stall:
            if node.now >= self._grace_until:
                node.health.adjust(1)  # it was this process that did not run
            self._grace_until = node.now + node.config.probe_timeout
        if isinstance(timer, JUDGEMENTS) and (until := self._grace_of(timer)) is not None:
            node.effects.append(SetTimer(until, timer))
        elif self._running or isinstance(timer, GossipDue):
            self._wake(timer)

    def _grace_of(self, judgement: Timer) -> float | None:
        """Until when it waits for what arrived while this process did not run, None where it may be made.

        Each waits once, however often the process stands still meanwhile: else a node whose timers are always late would
        never judge. What lay in the buffers when its time came has then been read.
        """
        latest = self._put_off.get(judgement, self._grace_until)
        if self.node.now >= latest:
            self._put_off.pop(judgement, None)
            return None
        self._put_off[judgement] = latest
        return latest

    def _wake(self, timer: Timer) -> None:
        match timer:
            case ProbeDue():
                self._prober.due()
            case DirectTimeout(sequence):
                self._prober.direct_timeout(sequence)
            case RelayDue(sequence):
                self._prober.relay_due(sequence)
            case SuspicionDue(target):
                self.beliefs.expire(target)
            case GossipDue():
                self._gossip()
            case SyncDue():
                self._synchroniser.due()
            case ReviveDue():
                self._reviver.due()
            case ReturnDue(attempt):
                self._returning.due(attempt)

    def _gossip(self) -> None:
        node = self.node
        for record in self._listeners():
            if len(node.gossip):
                node.send(record.address, node=record.node)
        node.gossip_again()
        if self._departing and (node.id not in node.gossip or node.members.count == 1):
            self._departing = False
            node.effects.append(Departed())

    def _listeners(self) -> list[Record]:
        """Random members to gossip to: the present, and the recently dead in proportion."""
        node = self.node
        config = node.config
        chosen = node.members.sample(config.gossip_peers)
        recent = [
            record
            for absent in node.members.absent
            if (record := node.members.get(absent))
            and record.state is State.DEAD
            and node.now - record.since < config.gossip_to_dead
        ]
        if recent and node.rng.random() * (node.members.count + len(recent)) < len(recent) * len(
            chosen or [0]
        ):
            chosen = [*chosen[1:], node.rng.choice(recent)]
        return chosen

    # -- commands

    def _command(self, command: Input) -> None:
        match command:
            case Start():
                self._start()
            case Seeds(addresses):
                self._reviver.seeds = tuple(seed for seed in addresses if seed != self.me.address)
                self._meet(self._reviver.unanswered_seeds())
            case Join(addresses):
                if self.me.state is State.LEFT:
                    self._departing = False
                    self.beliefs.rise_above(self.me.order, "comes back after leaving")
                    self._run()
                self._meet(addresses)
            case Leave():
                self._leave()
            case ForceLeave(target):
                held = self.get(target)
                if held is not None and held.state in {State.SUSPECT, State.DEAD}:
                    said = Claim(target, held.order, State.LEFT, self.node.id)
                    self.beliefs.hear(said, "declared departed by an operator")
            case Describe(data, address):
                self.beliefs.describe(data, address)
            case _:
                raise TypeError(f"not an input: {command!r}")

    def _start(self) -> None:
        self.node.adopt_clock()
        self.node.tell(self.me, self.node.id)
        self._run()
        self._meet(record.address for record in self.node.members.sample(FIRST_PEERS))

    def _run(self) -> None:
        """Starts the loops, at random moments, so that nodes started together do not march in step."""
        node = self.node
        if not self._running:
            self._running = True
            node.timer(node.now + node.rng.random() * node.config.probe_interval, ProbeDue())
            self._synchroniser.start()
            self._reviver.start()

    def _meet(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            if address != self.me.address:
                self._synchroniser.open(address)

    def _leave(self) -> None:
        if self.me.state is not State.LEFT:
            self._running = False
            self._departing = True
            self._returning.reset()
            self.beliefs.depart()
