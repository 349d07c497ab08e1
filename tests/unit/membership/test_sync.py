import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from penstock.membership import codec
from penstock.membership.digest import TableDigest
from penstock.membership.effects import CloseStream, Join, Joined, OpenStream, SendStream, StreamArrived
from penstock.membership.members import Record
from penstock.membership.messages import (
    Buckets,
    Compare,
    Equal,
    Fetch,
    News,
    Row,
    Rows,
    StreamMessage,
    Summaries,
)
from penstock.membership.precedence import Order, State
from tests.unit.membership.puppet import Puppet, address, news, node_id, record


def compare(asking: Puppet, answering: Puppet) -> list[StreamMessage]:
    """Lets one compare its table with the other's; returns what went over the stream."""
    asking.clear()
    asking.do(Join((address(200),)))
    opened = asking.of(OpenStream)[0]
    said: list[StreamMessage] = [opened.message]
    pending: list[tuple[Puppet, int, StreamMessage]] = [(answering, -1, opened.message)]
    while pending:
        puppet, stream, message = pending.pop(0)
        other, back = (asking, opened.stream) if puppet is answering else (answering, -1)
        for effect in puppet.do(StreamArrived(stream, message)):
            if isinstance(effect, SendStream):
                said.append(effect.message)
                pending.append((other, back, effect.message))
    return said


def tables(*puppets: Puppet) -> list[dict[bytes, tuple[object, ...]]]:
    """What each holds, without when it learned it."""
    return [
        {held.node: (held.order, held.state, held.contact, held.metadata) for held in puppet.core.members}
        for puppet in puppets
    ]


def two(*, known: int = 0) -> tuple[Puppet, Puppet]:
    """Two different nodes: number 0, and number 200."""
    one, other = Puppet(known), Puppet(0, identity=200)
    for number in range(1, known + 1):
        other.hear(news(number))
    return one, other


def test_equal_tables_cost_two_small_messages() -> None:
    """Digest and agreement, whatever the size of the tables."""
    one, other = two(known=100)
    compare(one, other)
    said = compare(one, other)
    assert [type(message) for message in said] == [Compare, Equal]
    assert sum(len(codec.encode_frame(message)) for message in said) < 250


def test_a_newcomer_learns_the_whole_table() -> None:
    """One comparison with anybody is enough to join."""
    one, other = Puppet(0), Puppet(0, identity=200)
    for number in range(1, 101):
        other.hear(news(number))
    compare(one, other)
    assert tables(one) == tables(other)
    assert [(joined.with_) for joined in one.of(Joined)] == [node_id(200)]


def test_a_newcomer_is_known_to_whom_it_asks() -> None:
    """Even before tables are compared: its own record comes with the question."""
    one, other = two()
    compare(one, other)
    assert other.state(0) is State.ALIVE


def test_only_what_differs_travels() -> None:
    """One difference in a thousand records moves a handful, not a thousand."""
    one, other = two(known=200)
    compare(one, other)
    other.hear(news(7, State.ALIVE, (1, 3)))
    said = compare(one, other)
    rows = [row for message in said if isinstance(message, Rows) for row in message.rows]
    assert [row.node for row in rows] == [node_id(7)]
    assert tables(one) == tables(other)


def test_a_large_table_travels_in_parts() -> None:
    """No message of a stream holds more than 256 records."""
    one, other = Puppet(0), Puppet(0, identity=200)
    for number in range(1000, 1700):
        other.hear(news(number))
    said = compare(one, other)
    parts = [message for message in said if isinstance(message, Rows)]
    assert [len(part.rows) for part in parts] == [256, 256, 188]
    assert [part.last for part in parts] == [False, False, True]
    assert tables(one) == tables(other)


claims = st.tuples(
    st.integers(1, 6), st.sampled_from(State), st.tuples(st.integers(1, 3), st.integers(0, 3)), st.booleans()
)


@given(st.lists(claims, max_size=25))
def test_after_a_comparison_nobody_lacks_anything(
    heard: list[tuple[int, State, tuple[int, int], bool]],
) -> None:
    """Whatever two nodes heard, afterwards both hold the newest of each member, deaths being suspicions where it was alive."""
    one, other = two(known=6)
    for number, state, order, first in heard:
        (one if first else other).hear(news(number, state, order, by=9))
    newest = {
        number: max(held.order for puppet in (one, other) if (held := puppet.core.get(node_id(number))))
        for number in range(1, 7)
    }
    for _ in range(3):
        compare(one, other)
    for number, order in newest.items():
        assert one.order(number) == other.order(number) == order


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5), st.sampled_from(State)), max_size=60))
def test_a_digest_follows_every_change(changes: list[tuple[int, int, State]]) -> None:
    """Computed step by step it equals the digest of the final table: equal tables, equal digests."""
    table: dict[int, Record] = {}
    running = TableDigest()
    for number, incarnation, state in changes:
        after = record(number, order=Order(1, incarnation), state=state)
        running.replace(after.node, table.get(number), after)
        table[number] = after
    fresh = TableDigest()
    for held in random.Random(1).sample(list(table.values()), len(table)):
        fresh.replace(held.node, None, held)
    assert (running.root, running.buckets) == (fresh.root, fresh.buckets)


def test_different_tables_have_different_digests() -> None:
    """In order, state, contact or metadata."""
    digests = set()
    for held in (record(1), record(1, order=Order(1, 1)), record(1, state=State.SUSPECT), record(2)):
        digest = TableDigest()
        digest.replace(held.node, None, held)
        digests.add(digest.root)
    assert len(digests) == 4


def test_fetching_brings_the_whole_record() -> None:
    """Metadata that did not fit a datagram."""
    one = Puppet(3)
    done = one.do(StreamArrived(-1, Fetch([node_id(0), node_id(2), node_id(99)])))
    sent = [effect.message for effect in done if isinstance(effect, SendStream)]
    assert isinstance(sent[0], Rows)
    assert [row.node for row in sent[0].rows] == [node_id(0), node_id(2)]
    assert sent[0].last


def test_the_asking_side_ends_the_stream() -> None:
    """After the last part, what is wanted having been sent."""
    one, other = two(known=3)
    one.hear(news(2, State.ALIVE, (1, 5)))
    compare(one, other)
    assert one.of(CloseStream)
    assert other.order(2) == (1, 5)


def test_records_of_the_long_dead_are_not_taken_over() -> None:
    """Who forgot them yesterday does not learn of them again today."""
    puppet = Puppet(1)
    row = Row.of(record(5, state=State.DEAD), 90_000.0)
    puppet.stream(Rows(node_id(1), [row], [], last=True))
    assert puppet.state(5) is None


def test_the_age_of_a_death_travels_with_it() -> None:
    """Everybody forgets the dead at about the same time, whenever they heard of it."""
    puppet = Puppet(1)
    row = Row.of(record(5, state=State.DEAD), 50_000.0)
    puppet.stream(Rows(node_id(1), [row], [], last=True))
    held = puppet.core.get(node_id(5))
    assert held is not None
    assert puppet.now - held.since == 50_000.0


def test_a_table_given_to_a_newcomer_is_not_told_to_everybody() -> None:
    """Whoever told it has told the others."""
    one, other = Puppet(0), Puppet(0, identity=200)
    for number in range(1, 101):
        other.hear(news(number))
    compare(one, other)
    one.clear()
    one.pass_time(5)
    assert not [said for said in one.sent(News) if said.node == node_id(50)]


def test_comparisons_follow_quickly_while_tables_differ_and_slowly_once_they_agree() -> None:
    """One second after differences, doubling to half a minute."""
    puppet = Puppet(3)
    puppet.core._prober.due = lambda: None  # type: ignore[method-assign]
    moments = []
    for _ in range(1600):
        puppet.clear()
        puppet.pass_time(0.1)
        moments += [puppet.now for opened in puppet.opened() if isinstance(opened.message, Compare)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses[0] < 5
    assert pauses[-1] > 14


def test_answers_out_of_place_are_harmless() -> None:
    """Any message of a comparison may arrive at any time, from a peer that is mad."""
    puppet = Puppet(3)
    row = Row.of(record(2), 0.0)
    for message in (
        Equal(row),
        Buckets(row, []),
        Summaries([1, 2], []),
        Rows(node_id(2), [], [node_id(1)], last=False),
        Fetch([]),
    ):
        puppet.stream(message, stream=-9)
    assert [puppet.state(number) for number in (1, 2, 3)] == [State.ALIVE] * 3
