import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.membership import codec
from penstock.membership.config import METADATA_LIMIT, PACKET_LIMIT
from penstock.membership.effects import Describe, OpenStream, SendPacket
from penstock.membership.gossip import GossipQueue, transmissions
from penstock.membership.messages import Fetch, News, Ping
from penstock.membership.precedence import State
from tests.unit.membership.puppet import Puppet, address, news, node_id


@pytest.mark.parametrize(("count", "times"), [(1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (10_000, 20)])
def test_news_is_sent_a_logarithmic_number_of_times(count: int, times: int) -> None:
    """Factor * ceil(log10(N + 1))."""
    assert transmissions(4, count) == times


def test_each_piece_is_told_as_often_as_the_formula_says() -> None:
    """Then it is dropped."""
    queue = GossipQueue(4)
    queue.add(news(1))
    told = [queue.take(codec.ROOM, 9) for _ in range(5)]
    assert [len(pieces) for pieces in told] == [1, 1, 1, 1, 0]
    assert len(queue) == 0


def test_the_least_told_goes_first() -> None:
    """Fresh news does not wait behind stale news."""
    queue = GossipQueue(4)
    queue.add(news(1))
    queue.take(codec.ROOM, 9)
    queue.add(news(2))
    assert queue.take(codec.size(news(2)), 9) == [news(2)]


def test_newer_news_replaces_older_news_of_the_same_member() -> None:
    """One piece per member: the queue cannot grow beyond the table."""
    queue = GossipQueue(4)
    queue.add(news(1, State.SUSPECT))
    queue.add(news(1, State.ALIVE, (1, 1)))
    assert queue.take(codec.ROOM, 9) == [news(1, State.ALIVE, (1, 1))]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 900)), max_size=80), st.integers(1, 500))
def test_what_is_taken_fits_and_nothing_is_lost(pieces: list[tuple[int, int]], count: int) -> None:
    """Every packet stays within its room, and each piece is told exactly as often as it should."""
    queue = GossipQueue(1)
    for number, size in pieces:
        queue.add(news(number, data=bytes(size)))
    expected = {number for number, _ in pieces}
    told: dict[int, int] = dict.fromkeys(expected, 0)
    while len(queue):
        taken = queue.take(codec.ROOM, count)
        assert sum(map(codec.size, taken)) <= codec.ROOM
        for piece in taken:
            told[int.from_bytes(piece.node)] += 1
    assert set(told.values()) <= {transmissions(1, count)}


@given(st.lists(st.integers(0, METADATA_LIMIT), min_size=1, max_size=30), st.integers(1, 60))
def test_no_packet_exceeds_the_limit(sizes: list[int], rounds: int) -> None:
    """With any metadata, sealed and with its header, a packet stays below the limit."""
    puppet = Puppet(5)
    for number, size in enumerate(sizes, 10):
        puppet.hear(news(number, data=bytes(min(size, 1000))))
    puppet.do(Describe(data=bytes(sizes[0])))
    for round_ in range(rounds):
        puppet.hear(Ping(round_, node_id(0)), sender=2)
        puppet.pass_time(0.1)
    for packet in puppet.of(SendPacket):
        assert len(codec.encode_packet(packet.messages)) + codec.SEAL_BYTES <= PACKET_LIMIT


def test_news_goes_to_three_members_every_fifth_of_a_second() -> None:
    """While there is news."""
    puppet = Puppet(30)
    puppet.pass_time(20)
    puppet.hear(news(31))
    puppet.core._running = False
    puppet.clear()
    puppet.pass_time(0.2)
    assert len(puppet.of(SendPacket)) == 3
    puppet.pass_time(0.2)
    assert len(puppet.of(SendPacket)) == 6


def test_without_news_there_is_no_gossip() -> None:
    """Silence costs nothing but probes."""
    puppet = Puppet(30)
    puppet.pass_time(20)
    puppet.core._running = False
    puppet.clear()
    puppet.pass_time(10)
    assert not puppet.of(SendPacket)


def test_the_recently_dead_hear_news_too() -> None:
    """Else one that is wrongly held for dead would never learn of it."""
    puppet = Puppet(4)
    puppet.bury(4)
    puppet.core._running = False
    heard = False
    for number in range(40):
        puppet.hear(news(3, State.ALIVE, (1, number + 1)))
        puppet.pass_time(0.5)
        heard = heard or bool(puppet.sent(News, address(4)))
    assert heard


def test_the_long_dead_hear_nothing() -> None:
    """After half a minute only the slow retry remembers them."""
    puppet = Puppet(4)
    puppet.bury(4)
    puppet.core._running = False
    puppet.pass_time(31)
    puppet.clear()
    for number in range(40):
        puppet.hear(news(3, State.ALIVE, (1, number + 1)))
        puppet.pass_time(0.5)
    assert not puppet.sent(News, address(4))


def test_large_metadata_is_fetched_over_a_stream() -> None:
    """A datagram says that there is something new; a stream brings it."""
    puppet = Puppet(2)
    puppet.hear(news(2, State.ALIVE, (1, 1), data=None), sender=1)
    opened = puppet.of(OpenStream)
    assert [(effect.to, effect.message) for effect in opened] == [(address(1), Fetch([node_id(2)]))]


def test_own_metadata_is_told_when_it_changes() -> None:
    """A new incarnation carries the new metadata to everybody."""
    puppet = Puppet(5)
    puppet.do(Describe(data=b"role=web"))
    puppet.pass_time(0.3)
    told = {said.data for said in puppet.sent(News) if said.node == node_id(0)}
    assert told == {b"role=web"}
    assert puppet.core.me.order == (1, 1)


def test_large_own_metadata_is_announced_without_its_content() -> None:
    """What does not fit a datagram is not cut."""
    puppet = Puppet(5)
    puppet.do(Describe(data=bytes(METADATA_LIMIT)))
    puppet.pass_time(0.3)
    assert {said.data for said in puppet.sent(News) if said.node == node_id(0)} == {None}
