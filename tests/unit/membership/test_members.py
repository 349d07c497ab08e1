import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.membership.members import Address, Claim, Contact, Members, Metadata, Record, merge
from penstock.membership.precedence import Order, State, Verdict
from tests.unit.membership.puppet import node_id, record

orders = st.builds(Order, st.integers(1, 3), st.integers(0, 3))
contacts = st.builds(
    Contact, orders, st.sampled_from(["a", "b"]), st.builds(Address, st.just("10.0.0.1"), st.integers(1, 2))
)
metadatas = st.builds(Metadata, orders, st.sampled_from([b"", b"x", b"y"]))
claims = st.builds(
    Claim,
    st.just(node_id(7)),
    orders,
    st.sampled_from(State),
    st.just(node_id(1)),
    contacts,
    st.none() | metadatas,
)


def held_after(*said: Claim) -> Record:
    """The record that results from these claims in this order."""
    held = None
    for claim in said:
        held, _ = merge(held, claim, 0.0)
    assert held is not None
    return held


@given(claims, claims)
def test_two_claims_merge_alike_in_either_order(one: Claim, other: Claim) -> None:
    """Standing, contact and metadata end the same whichever of two statements comes first."""
    assert held_after(one, other) == held_after(other, one)


@given(st.lists(claims, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_arrival_of_many_claims_leaves_the_same_record(said: list[Claim], order: random.Random) -> None:
    """Statements may come in any order and repeatedly: two tables that heard the same hold the same."""
    shuffled = said + order.choices(said, k=3)
    order.shuffle(shuffled)
    assert held_after(*said) == held_after(*shuffled)


@given(st.lists(claims, min_size=1, max_size=8))
def test_no_part_of_a_record_ever_gets_older(said: list[Claim]) -> None:
    """The orders of standing, contact and metadata only rise."""
    held: Record | None = None
    for claim in said:
        before = held
        held, _ = merge(held, claim, 0.0)
        assert held is not None
        if before is not None:
            assert held.order >= before.order
            assert held.contact.order >= before.contact.order
            assert held.metadata.order >= before.metadata.order


def test_a_stranger_without_contact_is_not_taken() -> None:
    """An accusation of somebody unknown is of no use: he could not be asked."""
    assert merge(None, Claim(node_id(7), Order(1, 0), State.SUSPECT, node_id(1)), 0.0)[0] is None


def test_a_claim_that_changes_nothing_leaves_the_same_object() -> None:
    """Unchanged records are recognised by identity, so nothing is notified."""
    held = record(3, order=Order(2, 2))
    old = Claim(node_id(3), Order(2, 1), State.DEAD, node_id(1))
    assert merge(held, old, 5.0)[0] is held


def table(count: int) -> Members:
    """A table of this many others."""
    members = Members(random.Random(3), node_id(0))
    members.put(record(0))
    for number in range(1, count + 1):
        members.put(record(number))
    return members


def test_each_member_is_probed_once_before_any_is_probed_again() -> None:
    """Shuffled round-robin: one round probes everybody."""
    members = table(20)
    for _ in range(3):
        chosen = Counter(members.next_to_probe() for _ in range(20))
        assert set(chosen.values()) == {1}


def test_the_order_of_probes_differs_between_rounds() -> None:
    """Rounds are shuffled anew, so members are not probed in step."""
    members = table(20)
    rounds = [[members.next_to_probe() for _ in range(20)] for _ in range(2)]
    assert rounds[0] != rounds[1]


def test_a_node_does_not_probe_itself_or_the_absent() -> None:
    """Only others that are alive or suspect are probed."""
    members = table(2)
    members.put(record(1, state=State.DEAD))
    assert {held.node for _ in range(5) if (held := members.next_to_probe())} == {node_id(2)}


def test_nobody_is_probed_by_a_node_that_is_alone() -> None:
    """Alone, there is nothing to probe."""
    assert table(0).next_to_probe() is None


def test_a_newcomer_is_probed_within_the_round() -> None:
    """It takes a random place in the round that runs."""
    members = table(10)
    members.next_to_probe()
    members.put(record(11))
    assert node_id(11) in {held.node for _ in range(10) if (held := members.next_to_probe())}


@given(st.integers(0, 30), st.integers(0, 5), st.integers(0, 2**16))
def test_a_sample_holds_different_present_members(count: int, asked: int, seed: int) -> None:
    """No repetition, nobody excluded, nobody absent."""
    members = Members(random.Random(seed), node_id(0))
    for number in range(1, count + 1):
        members.put(record(number, state=State.DEAD if number % 5 == 0 else State.ALIVE))
    chosen = [held.node for held in members.sample(asked, without={node_id(1)})]
    assert len(chosen) == len(set(chosen)) <= asked
    assert node_id(1) not in chosen
    assert all(int.from_bytes(node) % 5 for node in chosen)


def test_the_count_is_of_present_members_and_this_node() -> None:
    """N of the formulas leaves out the dead and the departed."""
    members = table(5)
    members.put(record(1, state=State.DEAD))
    members.put(record(2, state=State.SUSPECT))
    members.put(record(3, state=State.LEFT))
    assert members.count == 4
    members.forget(node_id(1))
    assert len(members) == 5


@given(st.lists(claims, min_size=1, max_size=6), claims)
def test_what_is_covered_would_change_nothing(said: list[Claim], later: Claim) -> None:
    """The quick look at old news agrees with the merge: what it drops could not have changed the record."""
    held = held_after(*said)
    alive = later.state is State.ALIVE
    news = Claim(
        later.node,
        later.order,
        later.state,
        later.by,
        Contact(later.order, "n", Address("h", 1)) if alive else None,
        Metadata(later.order, b"") if alive else None,
    )
    if held.covers(later.order, later.state):
        merged, verdict = merge(held, news, 9.0)
        assert verdict is Verdict.KEEP
        assert merged is not None
        assert (merged.order, merged.state) == (held.order, held.state)
        assert (merged.contact.order, merged.metadata.order) == (held.contact.order, held.metadata.order)


def test_a_table_given_to_another_member_is_as_if_it_had_put_each_record() -> None:
    """Records, who is present, and sampling: the same, but for whose it is."""
    members = table(9)
    members.put(record(4, state=State.DEAD))
    copy = members.for_another(node_id(3), random.Random(1))
    assert {held.node for held in copy} == {held.node for held in members}
    assert copy.count == members.count
    assert copy.absent == members.absent
    assert {held.node for held in copy.sample(20)} == {node_id(number) for number in (0, 1, 2, 5, 6, 7, 8, 9)}
    copy.put(record(5, state=State.DEAD))
    assert {held.node for held in copy.sample(20)} == {node_id(number) for number in (0, 1, 2, 6, 7, 8, 9)}
    assert members.count == 9
    assert members.count == copy.count + 1
