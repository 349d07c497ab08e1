from penstock.membership.config import ProtocolConfig
from penstock.membership.effects import CloseStream, OpenStream, Remark, StreamArrived
from penstock.membership.messages import Ack, Nack, News, Ping, Relay
from penstock.membership.precedence import Order, State
from tests.unit.membership.puppet import Puppet, address, news, node_id


def test_one_member_is_probed_per_interval() -> None:
    """Ten intervals, ten probes, ten different members."""
    puppet = Puppet(10)
    targets = []
    for _ in range(10):
        sequence, target = puppet.probed()
        targets.append(target)
        puppet.hear(Ack(sequence), sender=target)
    assert sorted(targets) == list(range(1, 11))
    assert puppet.now <= 10.1


def test_a_probe_is_answered() -> None:
    """Who is asked says that it is there, to the address the question came from."""
    puppet = Puppet(3)
    puppet.hear(Ping(77, node_id(0)), sender=2)
    assert puppet.sent(Ack, address(2)) == [Ack(77)]


def test_a_probe_for_somebody_else_is_not_answered() -> None:
    """An address may have been given to another node: that one must not answer for its predecessor."""
    puppet = Puppet(3)
    puppet.hear(Ping(77, node_id(9)), sender=2)
    assert not puppet.sent(Ack)


def test_a_stranger_is_answered_too() -> None:
    """A member that this node has not heard of yet may probe it."""
    puppet = Puppet(1)
    puppet.hear(Ping(5, node_id(0)), sender=9)
    assert puppet.sent(Ack, address(9)) == [Ack(5)]


def test_no_direct_answer_asks_others_and_a_stream_at_once() -> None:
    """After the timeout three others are asked, and the target itself over a stream."""
    puppet = Puppet(10)
    sequence, target = puppet.probed()
    puppet.pass_time(0.6)
    asked = puppet.sent(Relay)
    assert len(asked) == 3
    assert {message.target for message in asked} == {node_id(target)}
    streams = [opened for opened in puppet.opened() if isinstance(opened.message, Ping)]
    assert [(opened.to, opened.message) for opened in streams] == [
        (address(target), Ping(sequence, node_id(target)))
    ]


def test_the_target_is_not_asked_to_probe_itself() -> None:
    """Relays are others."""
    puppet = Puppet(4)
    _, target = puppet.probed()
    puppet.pass_time(0.6)
    assert len(puppet.sent(Relay)) == 3
    assert not puppet.sent(Relay, address(target))


def test_suspects_are_not_asked_to_probe_for_others() -> None:
    """Their silence would say nothing."""
    puppet = Puppet(6)
    _, target = puppet.probed()
    suspects = [number for number in range(1, 7) if number != target][:3]
    for number in suspects:
        puppet.hear(news(number, State.SUSPECT, by=9))
    puppet.clear()
    puppet.pass_time(0.6)
    assert puppet.sent(Relay)
    assert not any(puppet.sent(Relay, address(number)) for number in suspects)


def test_a_timely_answer_ends_the_probe() -> None:
    """Nobody else is asked, nobody accused."""
    puppet = Puppet(5)
    sequence, target = puppet.probed()
    puppet.hear(Ack(sequence), sender=target)
    puppet.pass_time(0.7)
    assert not puppet.sent(Relay)
    assert puppet.state(target) is State.ALIVE


def test_an_answer_through_a_relay_ends_the_probe() -> None:
    """The target is alive where anybody hears it."""
    puppet = Puppet(5)
    sequence, target = puppet.probed()
    puppet.pass_time(0.6)
    relay = next(number for number in range(1, 6) if puppet.sent(Relay, address(number)))
    puppet.hear(Ack(sequence), sender=relay)
    puppet.pass_time(0.6)
    assert puppet.state(target) is State.ALIVE


def test_an_answer_over_a_stream_ends_the_probe_with_a_remark() -> None:
    """A target whose datagrams are lost is alive, and an operator should know."""
    puppet = Puppet(5)
    sequence, target = puppet.probed()
    puppet.pass_time(0.6)
    stream = next(opened.stream for opened in puppet.opened() if isinstance(opened.message, Ping))
    puppet.do(StreamArrived(stream, Ack(sequence)))
    puppet.pass_time(0.6)
    assert puppet.state(target) is State.ALIVE
    assert [remark.code for remark in puppet.of(Remark)] == ["datagrams_lost"]


def test_an_answer_of_somebody_else_does_not_count() -> None:
    """Only the target and the relays asked can say that the target is there."""
    puppet = Puppet(1)
    sequence, target = puppet.probed()
    puppet.hear(Ack(sequence), sender=9)
    puppet.pass_time(1.1)
    assert puppet.state(target) is State.SUSPECT


def test_an_answer_to_an_earlier_probe_does_not_count() -> None:
    """Sequence numbers pair answers with questions."""
    puppet = Puppet(1)
    first, target = puppet.probed()
    puppet.hear(Ack(first), sender=target)
    puppet.probed()
    puppet.hear(Ack(first), sender=target)
    puppet.pass_time(1.1)
    assert puppet.state(target) is State.SUSPECT


def test_no_answer_at_all_makes_a_suspect() -> None:
    """At the end of the interval the target is suspected, and the others are told."""
    puppet = Puppet(5)
    _, target = puppet.probed()
    puppet.pass_time(1.1)
    assert puppet.state(target) is State.SUSPECT
    told = [said for said in puppet.sent(News) if said.node == node_id(target)]
    assert told
    assert {said.state for said in told} == {State.SUSPECT}


def test_a_relay_probes_and_passes_the_answer_on() -> None:
    """Node 2 asks this node to probe node 3."""
    puppet = Puppet(3)
    puppet.hear(Relay(500, node_id(3), *address(3), 500), sender=2)
    ping = puppet.sent(Ping, address(3))[0]
    puppet.hear(Ack(ping.sequence), sender=3)
    assert puppet.sent(Ack, address(2)) == [Ack(500)]


def test_a_relay_says_in_time_that_it_hears_nothing() -> None:
    """Known defect 1: the answer leaves while it still counts, well before the asker's time is over."""
    puppet = Puppet(3)
    puppet.hear(Relay(500, node_id(3), *address(3), 500), sender=2)
    began = puppet.now
    while not puppet.sent(Nack):
        puppet.pass_time(0.01)
    assert puppet.sent(Nack, address(2)) == [Nack(500)]
    assert puppet.now - began <= 0.8 * 0.5


def test_a_relay_that_was_answered_stays_silent_afterwards() -> None:
    """One answer per question."""
    puppet = Puppet(3)
    puppet.hear(Relay(500, node_id(3), *address(3), 500), sender=2)
    puppet.hear(Ack(puppet.sent(Ping, address(3))[0].sequence), sender=3)
    puppet.pass_time(0.6)
    assert not puppet.sent(Nack)


def test_a_relay_passes_on_a_late_answer_after_all() -> None:
    """Better late than never: the asker may still be waiting."""
    puppet = Puppet(3)
    puppet.hear(Relay(500, node_id(3), *address(3), 500), sender=2)
    sequence = puppet.sent(Ping, address(3))[0].sequence
    puppet.pass_time(0.4)
    assert puppet.sent(Nack, address(2))
    puppet.hear(Ack(sequence), sender=3)
    assert puppet.sent(Ack, address(2)) == [Ack(500)]


def test_a_relay_tells_how_long_the_answer_counts() -> None:
    """The time left travels with the request, so that the relay can be in time."""
    puppet = Puppet(5)
    puppet.probed()
    puppet.pass_time(0.6)
    assert {message.left for message in puppet.sent(Relay)} <= set(range(450, 501))


def test_relayed_probes_are_forgotten_in_the_end() -> None:
    """Requests of others cannot fill the memory."""
    puppet = Puppet(3)
    for number in range(2000):
        puppet.hear(Relay(number, node_id(3), *address(3), 500), sender=2)
    assert len(puppet.core._prober._relayed) <= 256


def test_a_stream_probe_is_answered_on_the_stream() -> None:
    """Where datagrams are lost, a stream shows that the node lives."""
    puppet = Puppet(1)
    puppet.stream(Ping(9, node_id(0)), stream=-4)
    assert puppet.answers(Ack) == [Ack(9)]
    assert CloseStream(-4) in puppet.effects


def test_a_stream_probe_for_somebody_else_is_closed() -> None:
    """As with datagrams: nobody answers for another."""
    puppet = Puppet(1)
    puppet.stream(Ping(9, node_id(8)), stream=-4)
    assert not puppet.answers(Ack)
    assert CloseStream(-4) in puppet.effects


def test_killing_one_of_sixteen_leaves_healthy_probers_at_zero() -> None:
    """Known defect 1: relays that answer for themselves clear the prober."""
    puppet = Puppet(15)
    sequence, target = puppet.probed()
    puppet.pass_time(0.6)
    for number in range(1, 16):
        if puppet.sent(Relay, address(number)):
            puppet.hear(Nack(sequence), sender=number)
    puppet.pass_time(0.6)
    assert puppet.state(target) is State.SUSPECT
    assert puppet.core.health == 0


def test_silent_relays_lower_the_trust_in_this_node() -> None:
    """Where nobody answers at all, the fault is more likely here."""
    puppet = Puppet(15)
    puppet.probed()
    puppet.pass_time(1.1)
    assert puppet.core.health == 3


def test_a_failed_probe_without_relays_lowers_it_by_one() -> None:
    """With one other member there is nobody to ask."""
    puppet = Puppet(1)
    puppet.probed()
    puppet.pass_time(1.1)
    assert puppet.core.health == 1


def test_an_answered_probe_restores_trust() -> None:
    """One point back per answer."""
    puppet = Puppet(1)
    puppet.core.node.health.adjust(3)
    for left in (2, 1, 0):
        sequence, target = puppet.probed()
        puppet.hear(Ack(sequence), sender=target)
        assert puppet.core.health == left


def test_an_unhealthy_node_probes_slower_and_waits_longer() -> None:
    """Interval and timeout are multiplied by score + 1."""
    puppet = Puppet(30)
    puppet.core.node.health.adjust(3)
    puppet.probed()
    puppet.clear()
    puppet.pass_time(1.9)
    assert not puppet.sent(Relay)
    puppet.pass_time(0.2)
    assert len(puppet.sent(Relay)) == 3
    puppet.clear()
    puppet.pass_time(1.7)
    assert not puppet.sent(Ping)


def test_health_is_bounded() -> None:
    """The score stays between 0 and 7."""
    puppet = Puppet(1)
    puppet.core.node.health.adjust(100)
    assert puppet.core.health == 7
    puppet.core.node.health.adjust(-100)
    assert puppet.core.health == 0


def test_objecting_to_a_suspicion_lowers_the_trust_in_this_node() -> None:
    """Who is suspected may be slow."""
    puppet = Puppet(3)
    puppet.hear(news(0, State.SUSPECT, (1, 0)))
    assert puppet.core.health == 1


def test_a_suspect_is_told_in_the_packet_that_probes_it() -> None:
    """The accusation comes with the probe, so that the objection need not wait for gossip."""
    puppet = Puppet(1)
    puppet.hear(news(1, State.SUSPECT, by=9))
    puppet.probed()
    packet = puppet.sent(News, address(1))
    assert any(said.node == node_id(1) and said.state is State.SUSPECT for said in packet)


def test_a_dead_member_that_probes_is_told_in_the_answer() -> None:
    """One that is wrongly held for dead learns of it from the next member that it probes."""
    puppet = Puppet(2)
    puppet.bury(2)
    puppet.clear()
    puppet.hear(Ping(4, node_id(0)), sender=2)
    assert any(said.node == node_id(2) and said.state is State.DEAD for said in puppet.sent(News, address(2)))


def test_the_round_trip_is_measured() -> None:
    """From question to direct answer."""
    puppet = Puppet(1)
    sequence, target = puppet.probed()
    puppet.now += 0.02
    puppet.hear(Ack(sequence), sender=target)
    round_trip = puppet.core.round_trip
    assert round_trip is not None
    assert 0.02 <= round_trip < 0.13


def test_without_lifeguard_parts_the_baseline_is_plain_swim() -> None:
    """The comparison's baseline neither scales by health nor tells suspects."""
    puppet = Puppet(1, ProtocolConfig(health_limit=0, suspicion_beta=1.0, tell_suspects=False))
    puppet.hear(news(1, State.SUSPECT, by=9))
    puppet.pass_time(1.6)
    puppet.core.node.gossip.drop(node_id(1))
    puppet.probed()
    assert not [said for said in puppet.sent(News, address(1)) if said.node == node_id(1)]
    assert puppet.core.health == 0


def test_a_probe_carries_news_besides() -> None:
    """News travels with probes, not only by gossip."""
    puppet = Puppet(3)
    puppet.pass_time(10)
    puppet.hear(news(2, State.ALIVE, (1, 4)), sender=2)
    puppet.clear()
    puppet.hear(Ping(1, node_id(0)), sender=3)
    assert any(
        said.node == node_id(2) and Order(said.epoch, said.incarnation) == (1, 4)
        for said in puppet.sent(News, address(3))
    )
    assert not puppet.of(OpenStream)


def test_a_probe_of_a_member_that_started_again_meanwhile_accuses_nobody() -> None:
    """It was sent to where the member no longer is: the answer that is missing is not the new process's."""
    puppet = Puppet(5)
    _, target = puppet.probed()
    puppet.hear(news(target, State.ALIVE, (2, 0), at=address(200)), sender=target)
    puppet.pass_time(0.95)
    assert puppet.state(target) is State.ALIVE
