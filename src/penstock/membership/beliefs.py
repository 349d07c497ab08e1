"""What this node believes about members, itself included, and why that changes.

Every statement, from whatever source, comes through :meth:`Beliefs.hear`; precedence decides, and this file draws the
consequences: suspicion starts, is confirmed or ends, news spreads, and a statement about this node itself is answered.
"""

from collections.abc import Callable

from msgspec.structs import replace

from penstock.membership.effects import PersistEpoch, Remark, SuspicionDue
from penstock.membership.members import Address, Claim, Contact, Metadata, NodeId, Record, merge
from penstock.membership.node import Node, news_of
from penstock.membership.precedence import Order, State, Verdict
from penstock.membership.suspicion import Suspicion

INCARNATIONS = 2**40  # what the wire carries; beyond it the next epoch begins


class Beliefs:
    """Judgement over the table of one node."""

    def __init__(self, node: Node, declared_gone: Callable[[Claim], None]) -> None:
        """``declared_gone`` is called when others hold this node for dead or departed."""
        self._node = node
        self._declared_gone = declared_gone
        self.suspicions: dict[NodeId, Suspicion] = {}

    def hear(
        self,
        said: Claim,
        reason: str,
        *,
        age: float = 0.0,
        spread: bool = True,
        source: Address | None = None,
    ) -> bool:
        """Takes in a statement; True when the table changed.

        ``age``: how long ago the state was learned by whoever tells. ``spread``: whether the others may lack it too.
        ``source``: where it came from, if an objection can be sent there.
        """
        node = self._node
        if said.node == node.id:
            self._about_me(said, source)
            return False
        held = node.members.get(said.node)
        if not self._credible(said):
            return False
        record, verdict = merge(held, said, node.now - age)
        if record is None or (record is held and verdict is Verdict.KEEP):
            return False
        if record is not held:
            node.replace(held, record, said.by, reason)
        if verdict is Verdict.TAKE:
            self._follow(record, said.by)
            if spread:
                node.tell(record, said.by)
        elif verdict is Verdict.CONFIRM:
            self._confirm(record, said.by)
        return record is not held

    def accuse(self, target: NodeId, reason: str) -> None:
        """This node's own probe of ``target`` failed."""
        held = self._node.members.get(target)
        if held is not None and held.present:
            self.hear(Claim(target, held.order, State.SUSPECT, self._node.id), reason)

    def expire(self, target: NodeId) -> None:
        """A suspicion's time may be over: the accused is dead, unless the time was set for an older accusation."""
        suspicion = self.suspicions.get(target)
        held = self._node.members.get(target)
        if suspicion is None or held is None:
            return
        if self._node.now < suspicion.deadline:
            return
        accusers = len(suspicion.accusers)
        reason = f"suspected for {self._node.now - suspicion.started:.1f} s, accusers: {accusers}"
        self.hear(Claim(target, held.order, State.DEAD, self._node.id), reason)

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

    def _follow(self, record: Record, by: NodeId) -> None:
        if record.state is State.SUSPECT:
            # At a higher order than the accusation that runs: the accused has objected to that one, so time starts anew.
            suspicion = Suspicion(
                self._node.config,
                self._node.members.count,
                record.order,
                None if by == record.node else by,  # hearsay: nobody is named
                self._node.now,
            )
            self.suspicions[record.node] = suspicion
            self._node.timer(suspicion.deadline, SuspicionDue(record.node))
        else:
            self.suspicions.pop(record.node, None)

    def _confirm(self, record: Record, by: NodeId) -> None:
        suspicion = self.suspicions.get(record.node)
        if suspicion is None:  # a suspect of an earlier run of this process, read from its snapshot
            self._follow(record, by)
        elif by != record.node and suspicion.confirm(by):
            self._node.timer(max(self._node.now, suspicion.deadline), SuspicionDue(record.node))
            self._node.tell(record, by)

    def _about_me(self, said: Claim, source: Address | None) -> None:
        me = self._node.me
        if me.state is State.LEFT:
            return
        if said.order < me.order:
            # Somebody missed my latest statement; the direct word is quicker than waiting for a comparison.
            if said.state is not State.ALIVE and source is not None:
                self._node.send(source, news_of(me, self._node.id))
        elif said.state is State.ALIVE:
            if said.order > me.order:
                where = said.contact.address if said.contact else "an unknown address"
                self._node.effects.append(
                    Remark("identity_conflict", said.node, f"another process states this node at {where}")
                )
                self.rise_above(said.order, "another process used this identity")
        elif said.state is State.SUSPECT:
            self._node.health.adjust(1)
            self.rise_above(said.order, "objects to a suspicion")
        else:
            self._declared_gone(said)
