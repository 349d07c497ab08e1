import pytest

from penstock.membership.effects import CloseStream, SendStream
from penstock.membership.messages import Ack, Compare, Ping, Row
from penstock.membership.precedence import State
from tests.unit.membership.puppet import Puppet, news, record


def test_a_node_suspected_again_and_again_makes_sure_that_it_is_heard() -> None:
    """After five objections within a minute the sixth waits for answers to its own probes."""
    puppet = Puppet(9)
    for incarnation in range(5):
        puppet.hear(news(0, State.SUSPECT, (1, incarnation)))
        assert puppet.core.me.order == (1, incarnation + 1)
    puppet.clear()
    puppet.hear(news(0, State.SUSPECT, (1, 5)))
    assert puppet.core.me.order == (1, 5)
    pings = [(ping.sequence, int.from_bytes(ping.target)) for ping in puppet.sent(Ping)]
    for sequence, target in pings[:3]:
        puppet.hear(Ack(sequence), sender=target)
    assert puppet.core.me.order == (1, 6)


def test_a_node_whose_objection_was_lost_is_heard_before_it_repeats_it() -> None:
    """Others declared it dead at an order it has left behind: it says nothing of itself until it is heard."""
    puppet = Puppet(9)
    puppet.hear(news(0, State.SUSPECT, (1, 0)))
    puppet.pass_time(3)
    puppet.clear()
    puppet.hear(news(0, State.DEAD, (1, 0)))
    assert not puppet.own_news()
    for ping in puppet.sent(Ping):
        puppet.hear(Ack(ping.sequence), sender=int.from_bytes(ping.target))
    puppet.pass_time(0.3)
    assert {said.incarnation for said in puppet.own_news()} == {1}


def test_a_node_declared_dead_returns_once_it_is_heard() -> None:
    """It probes five members first, and objects when three have answered."""
    puppet = Puppet(9)
    puppet.hear(news(0, State.DEAD, (1, 0)))
    assert puppet.core.me.order == (1, 0)
    pings = [(ping.sequence, int.from_bytes(ping.target)) for ping in puppet.sent(Ping)]
    assert len(pings) == 5
    for sequence, target in pings[:3]:
        puppet.hear(Ack(sequence), sender=target)
    assert puppet.core.me.order == (1, 1)


def test_a_node_declared_dead_that_is_not_heard_stays_away() -> None:
    """It tries again, ever more slowly, and does not object meanwhile."""
    puppet = Puppet(9)
    puppet.hear(news(0, State.DEAD, (1, 0)))
    for sequence, target in [(ping.sequence, int.from_bytes(ping.target)) for ping in puppet.sent(Ping)][:2]:
        puppet.hear(Ack(sequence), sender=target)
    puppet.pass_time(60)
    assert puppet.core.me.order == (1, 0)
    assert not puppet.own_news()


def test_a_node_that_is_heard_later_returns_later() -> None:
    """A link that comes back brings the node back."""
    puppet = Puppet(9)
    puppet.hear(news(0, State.DEAD, (1, 0)))
    puppet.pass_time(1.2)
    puppet.clear()
    for _ in range(100):
        puppet.pass_time(0.1)
        for ping in puppet.sent(Ping):
            puppet.hear(Ack(ping.sequence), sender=int.from_bytes(ping.target))
        if puppet.core.me.order > (1, 0):
            break
        puppet.clear()
    assert puppet.core.me.order == (1, 1)


@pytest.mark.parametrize("others", [0, 1, 2])
def test_one_lucky_answer_does_not_bring_a_node_back(others: int) -> None:
    """A bad link leaves few members that it believes alive, or none: these, or who told it of its death, are probed five times."""
    puppet = Puppet(others)
    puppet.hear(news(0, State.DEAD, (1, 0)), sender=4)
    pings = [(ping.sequence, int.from_bytes(ping.target)) for ping in puppet.sent(Ping)]
    assert {target for _, target in pings} == (set(range(1, others + 1)) or {4})
    assert len(pings) == 5
    for sequence, target in pings[:2]:
        puppet.hear(Ack(sequence), sender=target)
    assert puppet.core.me.order == (1, 0)
    puppet.hear(Ack(pings[2][0]), sender=pings[2][1])
    assert puppet.core.me.order == (1, 1)


def test_a_node_that_is_not_heard_says_nothing_of_itself_on_a_stream_either() -> None:
    """Its latest objection may be unknown to the others, and a stream gets through where datagrams do not."""
    puppet = Puppet(9)
    puppet.hear(news(0, State.SUSPECT))
    puppet.pass_time(10)  # the objection is told, and lost
    puppet.hear(news(0, State.DEAD, (1, 0)), sender=2)
    puppet.clear()
    puppet.stream(Compare(Row.of(record(2), 0.0), root=1))
    assert puppet.of(CloseStream)
    assert not puppet.of(SendStream)
