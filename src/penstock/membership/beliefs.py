"""What this node believes about members, itself included, and why that changes.

Every statement, from whatever source, comes through :meth:`Beliefs.hear`; precedence decides, and this file draws the
consequences: suspicion starts, is confirmed or ends, news spreads, and a statement about this node itself is answered.
"""

from msgspec.structs import replace

from penstock.membership.effects import PersistEpoch, Remark, SuspicionDue
from penstock.membership.members import Address, Claim, Contact, Metadata, NodeId, Record, Speaker, merge
from penstock.membership.messages import News, Ping
from penstock.membership.node import Node, news_of
from penstock.membership.precedence import Order, State, Verdict
from penstock.membership.returning import Returning
from penstock.membership.suspicion import Suspicion

OFTEN = 5  # objections within
OFTEN_SECONDS = 60.0  # after which this node makes sure that it is heard before it objects again
INCARNATIONS = 2**40  # what the wire carries; beyond it the next epoch begins


class Beliefs:
    """Judgement over the table of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._returning = Returning(node, self.restate)
        self._objections: list[float] = []  # when this node last objected to suspicions
        self.suspicions: dict[NodeId, Suspicion] = {}

    @property
    def returning(self) -> Returning:
        """Coming back after being declared dead."""
        return self._returning

    def tells_nothing_new(self, news: News) -> bool:
        """True where :meth:`hear` would change nothing: most news heard is old, and this is quicker to say."""
        held = self._node.members.get(news.node)
        if held is None or news.node == self._node.id:
            return False
        order = (news.epoch, news.incarnation)
        if held.covers(order, news.state):
            return True
        if held.state is not State.SUSPECT or news.state is not State.SUSPECT or held.order != order:
            return False
        suspicion = self.suspicions.get(news.node)
        return suspicion is not None and not suspicion.counts(news.by)

    def hear(
        self,
        said: Claim,
        reason: str,
        *,
        age: float = 0.0,
        spread: bool = True,
        hearsay: bool = False,
        speaker: Speaker | None = None,
    ) -> bool:
        """Takes in a statement; True when the table changed.

        ``age``: how long ago the state was learned by whoever tells. ``spread``: whether the others may lack it too.
        ``hearsay``: found in a table, whoever accused. ``speaker``: whom an objection can be sent to.
        """
        node = self._node
        if said.node == node.id:
            self._about_me(said, speaker)
            return False
        if not self._credible(said):
            return False
        held = node.members.get(said.node)
        # Nobody is dead here who was not accused here before, for long enough to object: the one who declared it may be
        # a node that hears nobody, or be on the other side of a partition.
        sentence = said.state is State.DEAD and said.by != node.id and held is not None and held.present
        if sentence:
            said = replace(said, state=State.SUSPECT)
        record, verdict = merge(held, said, node.now - age)
        if record is None or (record is held and verdict is Verdict.KEEP):
            return False
        if record is not held:
            node.replace(held, record, said.by, reason)
        if verdict is not Verdict.KEEP:
            self._follow(record, None if hearsay else said.by, verdict)
            if spread and verdict is Verdict.TAKE:
                node.tell(record, said.by)
            if sentence and not hearsay:
                self._sentence(record.node)
        return record is not held

    def accuse(self, target: NodeId, order: Order, reason: str) -> None:
        """This node's own probe of ``target`` failed, which stated itself at ``order`` when the probe began.

        Since then it may have objected or started again, elsewhere: then the probe says nothing.
        """
        held = self._node.members.get(target)
        if held is not None and held.present and held.order == order:
            self.hear(Claim(target, order, State.SUSPECT, self._node.id), reason)

    def expire(self, target: NodeId) -> None:
        """A suspicion's time may be over: the accused is dead, unless the time was set for an older accusation.

        Before that it is asked directly, with the accusation: where its objection was lost on the way to this node, it
        repeats it.
        """
        node = self._node
        suspicion = self.suspicions.get(target)
        held = node.members.get(target)
        if suspicion is None or held is None or node.now < suspicion.next_step:
            return
        if suspicion.unasked:
            suspicion.ask(node.now)
            node.send(held.address, Ping(node.next_sequence(), target), node=target)
            node.timer(suspicion.deadline, SuspicionDue(target))
            return
        accusers = len(suspicion.accusers)
        reason = f"suspected for {node.now - suspicion.started:.1f} s, accusers: {accusers}"
        self.hear(Claim(target, held.order, State.DEAD, self._node.id), reason)

    def restate(self, order: Order) -> None:
        """This node is heard: it repeats what it stated above ``order``, or states itself anew above it."""
        if self._node.me.order > order:
            self._node.tell(self._node.me, self._node.id)
        else:
            self.rise_above(order, "was declared gone, and is heard")

    def rise_above(self, order: Order, reason: str, *, state: State = State.ALIVE) -> None:
        """States this node anew at an order higher than ``order`` and than any it used before."""
        me = self._node.me
        above = max(me.order, order)
        raised = Order(above.epoch, above.incarnation + 1)
        if raised.incarnation >= INCARNATIONS:
            raised = Order(above.epoch + 1, 0)
        if raised.epoch > me.order.epoch:
            self._node.effects.append(PersistEpoch(raised.epoch))
        self._state_me(
            replace(
                me,
                order=raised,
                state=state,
                contact=replace(me.contact, order=raised),
                metadata=replace(me.metadata, order=raised),
                since=self._node.now,
            ),
            reason,
        )

    def describe(self, data: bytes | None, address: Address | None) -> None:
        """States new metadata or a new address of this node."""
        me = self._node.me
        order = Order(me.order.epoch, me.order.incarnation + 1)
        contact = Contact(order, me.contact.name, address or me.contact.address)
        metadata = Metadata(order, me.metadata.data if data is None else data)
        reason = "metadata changed" if address is None else "address changed"
        self._state_me(replace(me, order=order, contact=contact, metadata=metadata), reason)

    def depart(self) -> None:
        """States that this node leaves: at its present order, where leaving outweighs everything."""
        self._state_me(
            replace(self._node.me, state=State.LEFT, since=self._node.now), "leaves on its own will"
        )

    def _state_me(self, record: Record, reason: str) -> None:
        self._node.replace(self._node.me, record, self._node.id, reason)
        self._node.tell(record, self._node.id)

    def _credible(self, said: Claim) -> bool:
        # One that is itself held for dead hears nobody and accuses everybody: a node whose receiving side is cut.
        if said.state not in {State.SUSPECT, State.DEAD} or said.by == said.node:
            return True
        accuser = self._node.members.get(said.by)
        return accuser is None or accuser.present

    def _follow(self, record: Record, by: NodeId | None, verdict: Verdict) -> None:
        node = self._node
        suspicion = self.suspicions.get(record.node)
        if record.state is not State.SUSPECT:
            self.suspicions.pop(record.node, None)
        elif verdict is Verdict.TAKE or suspicion is None:
            # At a higher order than the accusation that ran: the accused objected to that one, so time starts anew.
            last_word = node.health.scale(node.config.probe_timeout) if node.config.tell_suspects else None
            suspicion = Suspicion(node.config, node.members.count, record.order, by, node.now, last_word)
            self.suspicions[record.node] = suspicion
            self._schedule(record.node, suspicion)
        elif by is not None and suspicion.confirm(by):
            self._schedule(record.node, suspicion)
            node.tell(record, by)

    def _sentence(self, accused: NodeId) -> None:
        suspicion = self.suspicions.get(accused)
        if suspicion is not None and not suspicion.sentenced:
            suspicion.sentence()
            self._schedule(accused, suspicion)

    def _schedule(self, accused: NodeId, suspicion: Suspicion) -> None:
        self._node.timer(max(self._node.now, suspicion.next_step), SuspicionDue(accused))

    def _about_me(self, said: Claim, speaker: Speaker | None) -> None:
        me, node = self._node.me, self._node
        if me.state is State.LEFT:
            return
        if said.state is State.ALIVE:
            if said.order > me.order:
                where = said.contact.address if said.contact else "an unknown address"
                detail = f"another process states this node at {where}"
                node.effects.append(Remark("identity_conflict", said.node, detail))
                self.rise_above(said.order, "another process used this identity")
        elif said.state is State.SUSPECT and said.order >= me.order:
            node.health.adjust(1)
            if self._objects_often():
                self._returning.challenge(said.order, speaker)
            else:
                self.rise_above(said.order, "objects to a suspicion")
        elif said.state >= State.DEAD and said.order.epoch >= me.order.epoch:
            self._returning.challenge(said.order, speaker)
        elif speaker is not None and not self._returning.active:
            # Somebody missed my latest statement; the direct word is quicker than waiting for a comparison.
            node.send(speaker.address, news_of(me, node.id))

    def _objects_often(self) -> bool:
        """A node that must object again and again is badly connected: it should be heard before it objects once more."""
        now = self._node.now
        self._objections = [moment for moment in self._objections if now - moment < OFTEN_SECONDS]
        self._objections.append(now)
        return len(self._objections) > OFTEN
