"""Anti-entropy: two tables are compared by digest, and only the records that differ travel.

    asking                     answering
    Compare(root)         ->   Equal, or Buckets(256 digests)
    Summaries(differing)  ->   Rows(newer there, wanted from here)
    Rows(wanted)          ->

The answering side keeps no state between messages. Equal tables of any size cost two small messages.
"""

from penstock.membership.beliefs import Beliefs
from penstock.membership.digest import BUCKETS, bucket_of
from penstock.membership.effects import CloseStream, Joined, OpenStream, SendStream, StreamId, SyncDue
from penstock.membership.members import Address, NodeId, Record, Speaker
from penstock.membership.messages import Buckets, Compare, Equal, Fetch, Row, Rows, Summaries, Summary
from penstock.membership.node import Node
from penstock.membership.precedence import State

ROWS_PER_FRAME = 256  # of at most about 4.4 KB each
FEW = 2  # differences that news under way explains
FIRST_PAUSE = 1.0  # seconds until the next comparison after one that found more than a few


class Synchroniser:
    """Compares tables with others, now and then or when asked to join."""

    def __init__(self, node: Node, beliefs: Beliefs) -> None:
        self._node = node
        self._beliefs = beliefs
        self._pause = FIRST_PAUSE
        self._next = 0.0
        self._opened: dict[
            StreamId, int
        ] = {}  # comparisons that this node asked for: differences found so far

    def start(self) -> None:
        """Schedules the first comparison."""
        self._pause = FIRST_PAUSE
        self._schedule()

    def due(self) -> None:
        """Compares with a random member."""
        if self._node.now < self._next:
            return
        self._pause = min(self._pause * 2, self._node.config.sync_interval)
        self._schedule()
        if self.silent:
            return
        for peer in self._node.members.sample(1):
            self.open(peer.address)

    @property
    def silent(self) -> bool:
        """True while a comparison would state this node before it is known to be heard: what it says may be news to others."""
        return self._beliefs.returning.active

    def open(self, to: Address) -> None:
        """Compares with whoever is at ``to``."""
        stream = self._node.next_stream()
        self._opened[stream] = 0
        self._node.effects.append(OpenStream(stream, to, Compare(self._my_row(), self._node.digest.root)))

    def fetch(self, to: Address, wanted: list[NodeId]) -> None:
        """Asks for whole records."""
        stream = self._node.next_stream()
        self._opened[stream] = 0
        self._node.effects.append(OpenStream(stream, to, Fetch(wanted)))

    def closed(self, stream: StreamId) -> None:
        """A stream ended early, or could not be opened."""
        self._opened.pop(stream, None)

    # -- answering

    def compare(self, stream: StreamId, asked: Compare) -> None:
        """The other side's own record is news in any case; then the whole tables are compared."""
        self._learn(asked.me.node, [asked.me])
        if self.silent:
            self._node.effects.append(CloseStream(stream))
            return
        if asked.root == self._node.digest.root:
            self._send(stream, Equal(self._my_row()))
        else:
            self._send(stream, Buckets(self._my_row(), self._node.digest.buckets.copy()))

    def summaries(self, stream: StreamId, asked: Summaries) -> None:
        """Sends what the other side lacks and asks for what it has better."""
        theirs = {summary.node: summary for summary in asked.held}
        rows: list[Record] = []
        wanted: list[NodeId] = []
        for record in self._in(set(asked.buckets)):
            summary = theirs.pop(record.node, None)
            ours = _summary(record)
            if summary is None or _ahead(ours, summary):
                rows.append(record)
            if summary is not None and _ahead(summary, ours):
                wanted.append(record.node)
        self._send_rows(stream, rows, wanted + list(theirs))

    def fetched(self, stream: StreamId, asked: Fetch) -> None:
        """Sends whole records."""
        found = [record for node in asked.wanted if (record := self._node.members.get(node))]
        self._send_rows(stream, found, [])

    # -- asking

    def equal(self, stream: StreamId, answer: Equal) -> None:
        """Nothing to do."""
        self._learn(answer.me.node, [answer.me])
        self._finish(stream, answer.me.node)

    def buckets(self, stream: StreamId, answer: Buckets) -> None:
        """Says what is held where the digests differ."""
        self._learn(answer.me.node, [answer.me])
        ours = self._node.digest.buckets
        theirs = answer.digests + [0] * (BUCKETS - len(answer.digests))
        differing = [number for number in range(BUCKETS) if ours[number] != theirs[number]]
        held = [_summary(record) for record in self._in(set(differing))]
        self._send(stream, Summaries(differing, held))

    def rows(self, stream: StreamId, answer: Rows) -> None:
        """Takes in records, whoever asked; the side that asked sends back what is wanted, and ends."""
        changed = self._learn(answer.me, answer.rows)
        if stream not in self._opened:
            return
        self._opened[stream] += changed + len(answer.wanted)
        if answer.wanted:
            found = [record for node in answer.wanted if (record := self._node.members.get(node))]
            self._send_rows(stream, found, [])
        if answer.last:
            self._finish(stream, answer.me)

    def _finish(self, stream: StreamId, peer: NodeId) -> None:
        found = self._opened.pop(stream, 0)
        if found > FEW and self._pause > FIRST_PAUSE:
            self._pause = FIRST_PAUSE
            self._schedule()
        self._node.effects += [CloseStream(stream), Joined(stream, peer)]

    def _learn(self, peer: NodeId, rows: list[Row]) -> int:
        """Takes in rows of ``peer``'s table; returns how many changed something here.

        That another table has a member for dead, whom this node believes alive at the same order, is hearsay: after a
        partition each side has the other's. It becomes a suspicion, to which the member can object.
        """
        node = self._node
        changed = 0
        teller = node.members.get(peer)
        speaker = Speaker(peer, teller.address) if teller else None
        newcomers_spread = (
            len(rows) <= ROWS_PER_FRAME // 16
        )  # a whole table is told to a newcomer, not to everybody
        for row in rows:
            held = node.members.get(row.node)
            if held is None and row.state >= State.DEAD and row.age >= node.config.retention:
                continue
            own_word = row.node == peer or row.state in {State.ALIVE, State.LEFT}
            changed += self._beliefs.hear(
                row.claim(row.node if own_word else peer),
                "found by comparing tables",
                age=row.age if row.state >= State.DEAD else 0.0,
                spread=held is not None or newcomers_spread,
                hearsay=not own_word,
                speaker=speaker,
            )
        return changed

    def _in(self, buckets: set[int]) -> list[Record]:
        return [record for record in self._node.members if bucket_of(record.node) in buckets]

    def _my_row(self) -> Row:
        return Row.of(self._node.me, self._node.now)

    def _send(self, stream: StreamId, message: Equal | Buckets | Summaries | Rows) -> None:
        self._node.effects.append(SendStream(stream, message))

    def _send_rows(self, stream: StreamId, records: list[Record], wanted: list[NodeId]) -> None:
        now = self._node.now
        for start in range(0, max(len(records), 1), ROWS_PER_FRAME):
            part = [Row.of(record, now) for record in records[start : start + ROWS_PER_FRAME]]
            last = start + ROWS_PER_FRAME >= len(records)
            self._send(stream, Rows(self._node.id, part, wanted if last else [], last))

    def _schedule(self) -> None:
        self._next = self._node.now + self._pause * (0.5 + self._node.rng.random())
        self._node.timer(self._next, SyncDue())


def _summary(record: Record) -> Summary:
    contact, metadata = record.contact.order, record.metadata.order
    return Summary(record.node, *record.order, record.state, *contact, *metadata)


def _ahead(one: Summary, other: Summary) -> bool:
    """Whether ``one`` has any part newer than ``other``."""
    return (
        (one.epoch, one.incarnation, one.state) > (other.epoch, other.incarnation, other.state)
        or (one.contact_epoch, one.contact_incarnation) > (other.contact_epoch, other.contact_incarnation)
        or (one.metadata_epoch, one.metadata_incarnation) > (other.metadata_epoch, other.metadata_incarnation)
    )
