from penstock.membership.config import ProtocolConfig
from penstock.membership.messages import Ack
from penstock.membership.precedence import State
from tests.unit.membership.puppet import Puppet, news


def test_a_process_that_did_not_run_accuses_nobody() -> None:
    """After a pause of half a minute the answers in the buffers are read before anything is judged."""
    puppet = Puppet(5)
    sequence, target = puppet.probed()
    puppet.sleep(30)
    puppet.hear(Ack(sequence), sender=target)
    puppet.pass_time(0.6)
    assert puppet.state(target) is State.ALIVE
    assert not [change for change in puppet.changes() if change[2] is not State.ALIVE]


def test_a_process_that_did_not_run_declares_nobody_dead() -> None:
    """A suspicion whose time passed during the pause waits for the objection that lies in the buffer."""
    puppet = Puppet(5)
    puppet.hear(news(3, State.SUSPECT, by=2))
    puppet.sleep(60)
    assert puppet.state(3) is State.SUSPECT
    puppet.hear(news(3, State.ALIVE, (1, 1)), sender=3)
    puppet.pass_time(1)
    assert puppet.state(3) is State.ALIVE


def test_a_pause_does_not_put_judgement_off_for_ever() -> None:
    """Once the grace is over, silence counts again."""
    puppet = Puppet(5)
    puppet.hear(news(3, State.SUSPECT, by=2))
    puppet.sleep(60)
    puppet.pass_time(1.6)
    assert puppet.state(3) is State.DEAD


def test_judgement_has_a_bound_on_a_node_whose_timers_are_always_late() -> None:
    """Each verdict waits once, then silence counts, though every single timer is as late as after a pause."""
    late, config = 0.3, ProtocolConfig()
    puppet = Puppet(5)
    puppet.bury(4)
    puppet.bury(5)
    puppet.pass_time(
        8 * 4 * config.probe_interval, late=late
    )  # nobody answers; at the worst health, one round
    assert puppet.changes()
    accused = puppet.changes()[0][0]
    assert puppet.changes()[0][2] is State.SUSPECT
    most = config.suspicion_alpha * config.suspicion_beta + 2 * (config.probe_timeout + 2 * late)
    puppet.pass_time(most + 8 * config.probe_timeout, late=late)
    assert (accused, State.SUSPECT, State.DEAD) in puppet.changes()


def test_a_verdict_put_off_once_is_not_put_off_by_another_pause() -> None:
    """A node that stands still again and again still comes to a verdict: it has read what arrived before the last pause."""
    puppet = Puppet(5)
    puppet.hear(news(3, State.SUSPECT, by=2))
    for _ in range(4):  # the last question, put off and asked; the verdict, put off and passed
        puppet.sleep(30)
        puppet.pass_time(0.1)
    assert puppet.state(3) is State.DEAD


def test_a_pause_counts_against_the_health_of_this_node_once() -> None:
    """Many late timers are one pause."""
    puppet = Puppet(5)
    puppet.probed()
    puppet.sleep(10)
    assert puppet.core.health == 1
