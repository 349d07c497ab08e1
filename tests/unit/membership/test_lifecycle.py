from penstock.membership.effects import Departed, ForceLeave, Join, Leave, Notify, OpenStream, Seeds, Start
from penstock.membership.messages import Ack, Compare, News, Ping
from penstock.membership.precedence import State
from tests.unit.membership.puppet import Puppet, address, news, node_id


def compared_with(puppet: Puppet) -> list[str]:
    """Hosts with which tables were compared."""
    return [opened.to.host for opened in puppet.of(OpenStream) if isinstance(opened.message, Compare)]


def test_a_starting_node_says_so_and_asks_members_of_its_last_run() -> None:
    """It announces itself and compares tables with three it knew."""
    puppet = Puppet(8, start=False)
    puppet.do(Start())
    assert len(compared_with(puppet)) == 3
    puppet.pass_time(0.3)
    assert node_id(0) in {said.node for said in puppet.sent(News)}


def test_seeds_are_asked_at_once() -> None:
    """All of them, but not this node itself."""
    puppet = Puppet(0)
    puppet.do(Seeds((address(5), address(6), address(0))))
    assert compared_with(puppet) == ["10.0.0.5", "10.0.0.6"]


def test_a_node_alone_tries_its_seeds_every_second() -> None:
    """A cluster that starts in any order comes together."""
    puppet = Puppet(0)
    puppet.do(Seeds((address(5),)))
    puppet.clear()
    puppet.pass_time(10)
    assert 7 <= len(compared_with(puppet)) <= 14


def test_a_seed_that_is_a_member_is_not_tried() -> None:
    """It is probed like everybody."""
    puppet = Puppet(5)
    puppet.do(Seeds((address(5),)))
    assert not compared_with(puppet)


def test_an_unanswered_seed_is_tried_slowly_by_all_together() -> None:
    """About once per half minute and cluster: of 30 members each tries it once in a quarter of an hour."""
    puppet = Puppet(29)
    puppet.do(Seeds((address(77),)))
    puppet.clear()
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.pass_time(3600)
    assert 3 <= compared_with(puppet).count("10.0.0.77") <= 5


def test_the_dead_are_tried_slowly() -> None:
    """With two left of three, each tries the third once a minute."""
    puppet = Puppet(2)
    puppet.bury(2)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.pass_time(5)
    puppet.clear()
    puppet.pass_time(600)
    assert 8 <= len([ping for ping in puppet.sent(Ping) if ping.target == node_id(2)]) <= 12


def test_a_dead_member_that_answers_is_asked_for_its_table() -> None:
    """Both sides of a healed partition learn of each other."""
    puppet = Puppet(2)
    puppet.bury(2)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.pass_time(70)
    puppet.clear()
    while not puppet.sent(Ping, address(2)):
        puppet.pass_time(1)
    ping = puppet.sent(Ping, address(2))[0]
    puppet.clear()
    puppet.hear(Ack(ping.sequence), sender=2)
    assert compared_with(puppet) == ["10.0.0.2"]


def test_the_departed_are_not_tried() -> None:
    """Who left on purpose comes back by itself."""
    puppet = Puppet(2)
    puppet.hear(news(2, State.LEFT, by=2))
    puppet.pass_time(600)
    assert not [ping for ping in puppet.sent(Ping) if ping.target == node_id(2)]


def test_the_dead_are_forgotten_after_a_day() -> None:
    """And the departed."""
    puppet = Puppet(3)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    puppet.bury(2)
    puppet.hear(news(3, State.LEFT, by=3))
    puppet.pass_time(86_000)
    assert puppet.state(2) is State.DEAD
    puppet.pass_time(500)
    assert (puppet.state(2), puppet.state(3)) == (None, None)
    forgotten = [notify.change.before for notify in puppet.of(Notify) if notify.change.after is None]
    assert len(forgotten) == 2


def test_leaving_is_told_and_then_over() -> None:
    """The others hear it before the node stops."""
    puppet = Puppet(5)
    puppet.pass_time(5)
    puppet.clear()
    puppet.do(Leave())
    assert not puppet.of(Departed)
    puppet.pass_time(3)
    told = [said for said in puppet.sent(News) if said.node == node_id(0)]
    assert {said.state for said in told} == {State.LEFT}
    assert len(puppet.of(Departed)) == 1


def test_a_node_alone_leaves_at_once() -> None:
    """There is nobody to tell."""
    puppet = Puppet(0)
    puppet.do(Leave())
    puppet.pass_time(0.3)
    assert puppet.of(Departed)


def test_a_node_that_left_probes_nobody() -> None:
    """Its loops stand still."""
    puppet = Puppet(5)
    puppet.do(Leave())
    puppet.pass_time(3)
    puppet.clear()
    puppet.pass_time(60)
    assert not puppet.sent(Ping)
    assert not puppet.opened()


def test_a_node_that_left_says_so_to_whoever_probes_it() -> None:
    """The answer carries the statement to a member that missed it."""
    puppet = Puppet(5)
    puppet.do(Leave())
    puppet.pass_time(3)
    puppet.clear()
    puppet.hear(Ping(3, node_id(0)), sender=2)
    assert {said.state for said in puppet.sent(News, address(2)) if said.node == node_id(0)} == {State.LEFT}


def test_leaving_is_not_contradicted_by_the_one_who_left() -> None:
    """Accusations of a node that left are not answered."""
    puppet = Puppet(5)
    puppet.do(Leave())
    puppet.hear(news(0, State.SUSPECT, (1, 4)))
    assert puppet.core.me.state is State.LEFT


def test_defect_7_a_node_that_left_can_come_back() -> None:
    """In the same process, at a higher incarnation, with its loops running once."""
    puppet = Puppet(5)
    puppet.do(Leave())
    puppet.pass_time(0.1)
    puppet.do(Join((address(1),)))
    assert puppet.core.me.state is State.ALIVE
    assert puppet.core.me.order == (1, 1)
    probes = 0
    for _ in range(200):
        puppet.clear()
        puppet.pass_time(0.1)
        for ping in puppet.sent(Ping):
            puppet.hear(Ack(ping.sequence), sender=int.from_bytes(ping.target))
            probes += 1
        assert not puppet.of(Departed)
    assert 18 <= probes <= 21


def test_leaving_twice_is_leaving_once() -> None:
    """The command may be repeated."""
    puppet = Puppet(2)
    puppet.do(Leave())
    puppet.do(Leave())
    puppet.pass_time(5)
    assert len(puppet.of(Departed)) == 1


def test_a_dead_member_can_be_made_to_leave() -> None:
    """An operator ends the retries."""
    puppet = Puppet(3)
    puppet.bury(3)
    puppet.do(ForceLeave(node_id(3)))
    assert puppet.state(3) is State.LEFT


def test_a_live_member_cannot_be_made_to_leave() -> None:
    """It would object anyway."""
    puppet = Puppet(3)
    puppet.do(ForceLeave(node_id(3)))
    assert puppet.state(3) is State.ALIVE


def test_a_member_made_to_leave_that_lives_comes_back() -> None:
    """What is said of it is answered like a death."""
    puppet = Puppet(0)
    puppet.hear(news(0, State.LEFT, (1, 0), by=3), sender=3)
    for ping in puppet.sent(Ping, address(3)):
        puppet.hear(Ack(ping.sequence), sender=3)
    assert puppet.core.me.order == (1, 1)


def test_the_notifications_replay_to_the_table() -> None:
    """Who follows the changes from the start holds what the node holds."""
    puppet = Puppet(4)
    held = {member.node: member for member in puppet.core.members}
    puppet.hear(news(1, State.SUSPECT, by=2), news(2, State.DEAD, by=3), news(9), news(3, State.LEFT, by=3))
    puppet.pass_time(120)
    for notify in puppet.of(Notify):
        if notify.change.after is not None:
            assert held.get(notify.change.after.node) is notify.change.before
            held[notify.change.after.node] = notify.change.after
    assert held == {member.node: member for member in puppet.core.members}


def test_a_table_beyond_what_the_config_expects_keeps_working() -> None:
    """Ten thousand members are a table like any other."""
    puppet = Puppet(0)
    for number in range(1, 10_001):
        puppet.hear(news(number))
    assert puppet.core.node.members.count == 10_001
    assert puppet.core.queued <= 10_001
