import hypothesis.strategies as st
import pytest
from hypothesis import given

from penstock.membership.config import ProtocolConfig
from penstock.membership.effects import PersistEpoch, Remark, StreamArrived
from penstock.membership.members import Address, Speaker
from penstock.membership.messages import News, Ping, Row, Rows
from penstock.membership.precedence import Order, State
from penstock.membership.suspicion import Suspicion, least_timeout
from tests.unit.membership.puppet import Puppet, address, news, node_id, record


def test_a_stranger_becomes_a_member() -> None:
    """News of an alive node brings it into the table."""
    puppet = Puppet(1)
    puppet.hear(news(5))
    assert puppet.changes() == [(5, None, State.ALIVE)]


def test_an_accusation_of_a_stranger_is_ignored() -> None:
    """Without contact a member could neither be probed nor asked."""
    puppet = Puppet(1)
    puppet.hear(news(5, State.SUSPECT), news(5, State.DEAD))
    assert puppet.state(5) is None


def test_news_is_told_once_and_not_again_when_it_is_old() -> None:
    """What changes nothing is not spread."""
    puppet = Puppet(3)
    puppet.pass_time(5)
    puppet.hear(news(2, State.ALIVE, (1, 0)), sender=2)
    puppet.clear()
    puppet.pass_time(1)
    assert not [said for said in puppet.sent(News) if said.node == node_id(2)]


def test_a_suspect_that_objects_is_alive() -> None:
    """A higher incarnation ends the suspicion."""
    puppet = Puppet(5)
    puppet.hear(news(3, State.SUSPECT, by=2), sender=2)
    puppet.hear(news(3, State.ALIVE, (1, 1)), sender=3)
    puppet.clear()
    puppet.hear(*[Ping(n, node_id(0)) for n in range(3)], sender=3)
    assert puppet.state(3) is State.ALIVE
    assert not puppet.core.beliefs.suspicions


def test_a_suspect_that_does_not_object_is_dead() -> None:
    """After the longest time of suspicion, unconfirmed."""
    puppet = Puppet(5)
    puppet.hear(news(3, State.SUSPECT, by=2), sender=2)
    least = least_timeout(puppet.config, 6)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.pass_time(6 * least - 0.01)
    assert puppet.state(3) is State.SUSPECT
    puppet.pass_time(0.02)
    assert puppet.state(3) is State.DEAD


def test_independent_accusers_shorten_the_suspicion() -> None:
    """K accusers besides the first bring it to the least; the same one again does not count."""
    config = ProtocolConfig()
    suspicion = Suspicion(config, 100, Order(1, 0), node_id(1), 0.0)
    least = least_timeout(config, 100)
    assert suspicion.timeout == 6 * least
    assert not suspicion.confirm(node_id(1))
    assert suspicion.confirm(node_id(2))
    assert least < suspicion.timeout < 6 * least
    assert suspicion.confirm(node_id(3))
    assert suspicion.timeout == pytest.approx(least)
    assert not suspicion.confirm(node_id(4))


@pytest.mark.parametrize(("count", "factor"), [(1, 1), (10, 1), (100, 2), (1000, 3)])
def test_the_least_suspicion_grows_with_the_logarithm_of_members(count: int, factor: float) -> None:
    """Alpha * max(1, log10 N) intervals."""
    config = ProtocolConfig(suspicion_alpha=3.0, probe_interval=2.0)
    assert least_timeout(config, count) == pytest.approx(3.0 * factor * 2.0)


def test_two_nodes_do_not_wait_for_confirmations_that_cannot_come() -> None:
    """Where fewer than K others exist, suspicion is at its least at once."""
    config = ProtocolConfig()
    assert Suspicion(config, 2, Order(1, 0), node_id(1), 0.0).timeout == least_timeout(config, 2)


def test_hearsay_names_no_accuser() -> None:
    """An accusation found in a table counts as none of the independent ones."""
    config = ProtocolConfig()
    suspicion = Suspicion(config, 100, Order(1, 0), None, 0.0)
    assert suspicion.confirm(node_id(1))
    assert suspicion.timeout == 6 * least_timeout(config, 100)


def test_a_confirmation_is_passed_on() -> None:
    """The others should count the new accuser too."""
    puppet = Puppet(9)
    puppet.hear(news(3, State.SUSPECT, by=2), sender=2)
    puppet.pass_time(4)
    puppet.clear()
    puppet.hear(news(3, State.SUSPECT, by=4), sender=4)
    puppet.pass_time(0.3)
    assert node_id(4) in {said.by for said in puppet.sent(News) if said.node == node_id(3)}


def test_a_sentence_passed_elsewhere_counts_as_all_confirmations() -> None:
    """Declared dead by another, the accused still has the least time to object here."""
    puppet = Puppet(5)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.hear(news(3, State.DEAD, by=2), sender=2)
    assert puppet.state(3) is State.SUSPECT
    puppet.pass_time(least_timeout(puppet.config, 6) - 0.01)
    assert puppet.state(3) is State.SUSPECT
    puppet.pass_time(0.02)
    assert puppet.state(3) is State.DEAD


def test_a_member_wrongly_declared_dead_can_object_everywhere() -> None:
    """Its objection ends what another node has concluded."""
    puppet = Puppet(5)
    puppet.hear(news(3, State.DEAD, by=2), sender=2)
    puppet.hear(news(3, State.ALIVE, (1, 1)), sender=3)
    assert puppet.state(3) is State.ALIVE


def test_the_accused_is_asked_directly_before_it_is_declared_dead() -> None:
    """Where its objection was lost on the way to this node, it repeats it."""
    puppet = Puppet(5)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.hear(news(3, State.SUSPECT, by=2), sender=2)
    puppet.pass_time(5)
    puppet.clear()
    puppet.pass_time(6 * least_timeout(puppet.config, 6) - 5.1)
    assert [ping.target for ping in puppet.sent(Ping, address(3))] == [node_id(3)]
    assert {said.state for said in puppet.sent(News, address(3))} == {State.SUSPECT}
    assert puppet.state(3) is State.SUSPECT


def test_a_node_that_recovers_while_it_suspects_another_still_comes_to_a_verdict() -> None:
    """An ill node asks the accused for the last time earlier; that it is well again by then loses no timer."""
    puppet = Puppet(5)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.core.node.health.adjust(7)
    puppet.hear(news(3, State.SUSPECT, by=2), sender=2)
    puppet.core.node.health.adjust(-7)
    puppet.pass_time(puppet.config.suspicion_beta * least_timeout(puppet.config, 6) + 0.1)
    assert puppet.state(3) is State.DEAD


def test_an_old_timer_does_not_end_a_new_suspicion() -> None:
    """The accused objected in between: the time of the new accusation counts from its own beginning."""
    puppet = Puppet(2)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.hear(news(2, State.SUSPECT, (1, 0), by=1))
    puppet.pass_time(2.0)
    puppet.hear(news(2, State.ALIVE, (1, 1)), sender=2)
    puppet.hear(news(2, State.SUSPECT, (1, 1), by=1))
    puppet.pass_time(0.4)
    assert puppet.state(2) is State.SUSPECT


# -- the known defects of other implementations


def test_defect_2_an_order_once_heard_is_never_forgotten() -> None:
    """Dead at 1, dead at 10, then alive at 2: the member stays dead, at 10."""
    puppet = Puppet(3)
    puppet.bury(3)
    puppet.hear(news(3, State.DEAD, (1, 1), by=2))
    puppet.hear(news(3, State.DEAD, (1, 10), by=2))
    puppet.hear(news(3, State.ALIVE, (1, 2)))
    assert (puppet.state(3), puppet.order(3)) == (State.DEAD, (1, 10))


def test_defect_3_a_newer_suspicion_raises_the_order() -> None:
    """Suspect at 5 while a suspicion runs: alive at 2 does not clear it, alive at 6 does."""
    puppet = Puppet(3)
    puppet.hear(news(3, State.SUSPECT, (1, 1), by=2))
    puppet.hear(news(3, State.SUSPECT, (1, 5), by=2))
    puppet.hear(news(3, State.ALIVE, (1, 2)))
    assert (puppet.state(3), puppet.order(3)) == (State.SUSPECT, (1, 5))
    puppet.hear(news(3, State.ALIVE, (1, 6)))
    assert puppet.state(3) is State.ALIVE


def test_defect_4_an_old_alive_from_a_new_address_does_not_undo_leaving() -> None:
    """Left at 7, then alive at 1 from elsewhere: refused."""
    puppet = Puppet(3)
    puppet.hear(news(3, State.LEFT, (1, 7), by=3))
    puppet.hear(news(3, State.ALIVE, (1, 1), at=address(33)))
    assert puppet.state(3) is State.LEFT


def test_defect_4_a_replayed_leave_does_not_end_the_new_instance() -> None:
    """The member left in epoch 1 and came back in epoch 2: the old leave is history."""
    puppet = Puppet(3)
    puppet.hear(news(3, State.LEFT, (1, 7), by=3))
    puppet.hear(news(3, State.ALIVE, (2, 0), at=address(33)))
    puppet.hear(news(3, State.LEFT, (1, 7), by=3))
    assert puppet.state(3) is State.ALIVE


def test_defect_5_a_restart_beats_whatever_was_said_before() -> None:
    """A new epoch outweighs any incarnation of the last one."""
    puppet = Puppet(3)
    puppet.hear(news(3, State.DEAD, (1, 99), by=2))
    puppet.hear(news(3, State.ALIVE, (2, 0)))
    assert puppet.state(3) is State.ALIVE


# -- what is said about this node itself


def test_a_suspected_node_objects_at_once() -> None:
    """It raises its incarnation above the accusation's."""
    puppet = Puppet(3)
    puppet.hear(news(0, State.SUSPECT, (1, 4)))
    assert puppet.core.me.order == (1, 5)
    puppet.pass_time(0.3)
    assert {said.incarnation for said in puppet.own_news()} == {5}


def test_an_accusation_of_the_past_is_corrected_directly() -> None:
    """Somebody missed the latest statement: it is sent to where the old one came from."""
    puppet = Puppet(3)
    puppet.pass_time(5)
    puppet.hear(news(0, State.SUSPECT, (1, 0)))
    puppet.pass_time(5)
    puppet.clear()
    puppet.hear(news(0, State.SUSPECT, (1, 0)), sender=2)
    assert puppet.core.me.order == (1, 1)
    assert [said.incarnation for said in puppet.sent(News, address(2)) if said.node == node_id(0)] == [1]


def test_a_higher_epoch_is_on_disk_before_it_is_stated() -> None:
    """After a lost or rolled-back disk, others know more of this node than it does."""
    puppet = Puppet(3)
    done = puppet.hear(news(0, State.SUSPECT, (8, 2)))
    assert puppet.core.me.order == (8, 3)
    assert done[0] == PersistEpoch(8)


def test_two_processes_with_one_identity_are_reported() -> None:
    """The other one is contradicted, and an operator told where it is."""
    puppet = Puppet(3)
    puppet.hear(news(0, State.ALIVE, (3, 0), at=address(99)))
    assert [remark.code for remark in puppet.of(Remark)] == ["identity_conflict"]
    assert puppet.core.me.order > (3, 0)


def test_the_last_incarnation_is_followed_by_a_new_epoch() -> None:
    """Counters have an end on the wire; orders have none."""
    puppet = Puppet(3)
    puppet.hear(news(0, State.SUSPECT, (1, 2**40 - 1)))
    assert puppet.core.me.order == (2, 0)


def test_accusations_by_the_dead_are_ignored() -> None:
    """A node that hears nobody accuses everybody; once it is dead itself, nobody listens."""
    puppet = Puppet(4)
    puppet.bury(4)
    puppet.hear(news(2, State.SUSPECT, by=4), news(3, State.DEAD, by=4))
    assert (puppet.state(2), puppet.state(3)) == (State.ALIVE, State.ALIVE)


def test_a_member_that_moves_is_reached_at_its_new_address() -> None:
    """The newest statement of the member itself says where it is."""
    puppet = Puppet(1)
    puppet.hear(news(1, State.ALIVE, (2, 0), at=Address("10.9.9.9", 1234)))
    held = puppet.core.get(node_id(1))
    assert held is not None
    assert held.address == ("10.9.9.9", 1234)


def test_an_older_address_does_not_come_back() -> None:
    """Late news of the old address changes nothing."""
    puppet = Puppet(1)
    puppet.hear(news(1, State.ALIVE, (2, 0), at=address(11)))
    puppet.hear(news(1, State.ALIVE, (1, 9), at=address(1)))
    held = puppet.core.get(node_id(1))
    assert held is not None
    assert held.address == address(11)


def test_a_death_in_another_table_is_only_a_suspicion_here() -> None:
    """After a partition each side has the other for dead: members get the chance to object."""
    puppet = Puppet(3)
    dead = Row.of(record(3, state=State.DEAD), 5.0)
    puppet.do(StreamArrived(-1, Rows(node_id(2), [dead], [], last=True)))
    assert puppet.state(3) is State.SUSPECT


def test_a_death_at_a_newer_order_in_another_table_is_a_suspicion_too() -> None:
    """This node may have missed the objection, but so may the other have missed the latest one."""
    puppet = Puppet(3)
    dead = Row.of(record(3, state=State.DEAD, order=Order(1, 5)), 5.0)
    puppet.do(StreamArrived(-1, Rows(node_id(2), [dead], [], last=True)))
    assert (puppet.state(3), puppet.order(3)) == (State.SUSPECT, (1, 5))


statements = st.builds(
    lambda number, state, order, by: news(number, state, order, by=by),
    st.integers(1, 4),
    st.sampled_from(State),
    st.tuples(st.integers(1, 2), st.integers(0, 2)),
    st.integers(1, 4),
)


@given(said=st.lists(statements, max_size=30))
def test_news_that_is_skipped_would_have_changed_nothing(said: list[News]) -> None:
    """What is recognised as old at a glance leaves table, suspicions and queue as they are when it is heard in full."""
    puppet = Puppet(3)
    beliefs, node = puppet.core.beliefs, puppet.core.node

    def everything() -> object:
        accusers = {accused: set(running.accusers) for accused, running in beliefs.suspicions.items()}
        return list(node.members), accusers, list(node.gossip), list(node.effects)

    for each in said:
        old, before = beliefs.tells_nothing_new(each), everything()
        beliefs.hear(each.claim, "heard by gossip", speaker=Speaker(node_id(1), address(1)))
        assert not old or everything() == before
        node.effects.clear()
