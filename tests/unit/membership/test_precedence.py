import itertools
from collections.abc import Callable, Mapping

import pytest

from penstock.membership import precedence
from penstock.membership.precedence import TABLE, Age, Order, State, Verdict, decide

Standing = tuple[Order, State]
STANDINGS: list[Standing] = [
    (Order(epoch, incarnation), state)
    for epoch, incarnation in itertools.product((1, 2), (0, 1, 2))
    for state in State
]


def after(held: Standing, said: Standing) -> Standing:
    """What is held after ``said`` was heard."""
    verdict = decide(held[0], held[1], said[0], said[1])
    return said if verdict is Verdict.TAKE else held


def test_the_order_held_never_falls() -> None:
    """Whatever is said, what is held afterwards is of the same order or a newer one."""
    for held, said in itertools.product(STANDINGS, STANDINGS):
        assert after(held, said)[0] >= held[0]


def test_merging_is_idempotent() -> None:
    """Hearing the same twice changes nothing the second time."""
    for held, said in itertools.product(STANDINGS, STANDINGS):
        once = after(held, said)
        assert after(once, said) == once


def test_merging_is_commutative() -> None:
    """Two statements leave the same belief in either order of arrival."""
    for one, other in itertools.product(STANDINGS, STANDINGS):
        assert after(one, other) == after(other, one)


def test_merging_is_associative() -> None:
    """Three statements leave the same belief however they are grouped."""
    small = [standing for standing in STANDINGS if standing[0].epoch == 1]
    for one, two, three in itertools.product(small, repeat=3):
        assert after(after(one, two), three) == after(one, after(two, three))


def test_a_newer_order_wins_whatever_it_says() -> None:
    """A newer order is evidence from the member itself, so it always replaces what is held."""
    for held, said in itertools.product(STANDINGS, STANDINGS):
        if said[0] > held[0]:
            assert decide(*held, *said) is Verdict.TAKE


def test_nobody_is_resurrected_by_an_old_or_equal_statement() -> None:
    """A dead or departed member comes back only at an order that it raised itself."""
    for held, said in itertools.product(STANDINGS, STANDINGS):
        if held[1] >= State.DEAD and after(held, said)[1] <= State.SUSPECT:
            assert said[0] > held[0]


def test_the_graver_statement_wins_at_equal_order() -> None:
    """Alive yields to suspect, suspect to dead, dead to left."""
    for graver, milder in itertools.permutations(State, 2):
        expected = Verdict.TAKE if graver > milder else Verdict.KEEP
        assert decide(Order(3, 3), milder, Order(3, 3), graver) is expected


def test_the_same_suspicion_again_is_a_confirmation() -> None:
    """Only a suspicion of a suspect at the same order may confirm; nothing else does."""
    for held, said in itertools.product(STANDINGS, STANDINGS):
        same_suspicion = held == said and held[1] is State.SUSPECT
        assert (decide(*held, *said) is Verdict.CONFIRM) == same_suspicion


def test_what_is_held_already_is_not_taken_again() -> None:
    """Repeated news would otherwise be told for ever."""
    for held in STANDINGS:
        assert decide(*held, *held) is not Verdict.TAKE


def test_the_epoch_outweighs_the_incarnation() -> None:
    """A restarted member beats its past, however often that objected."""
    assert decide(Order(1, 1000), State.DEAD, Order(2, 0), State.ALIVE) is Verdict.TAKE
    assert decide(Order(2, 0), State.ALIVE, Order(1, 1000), State.LEFT) is Verdict.KEEP


PROPERTIES: list[Callable[[], None]] = [
    test_the_order_held_never_falls,
    test_merging_is_idempotent,
    test_merging_is_commutative,
    test_merging_is_associative,
    test_a_newer_order_wins_whatever_it_says,
    test_nobody_is_resurrected_by_an_old_or_equal_statement,
    test_the_graver_statement_wins_at_equal_order,
    test_the_same_suspicion_again_is_a_confirmation,
    test_what_is_held_already_is_not_taken_again,
]


def mutated(age: Age, held: State, said: State, verdict: Verdict) -> Mapping[Age, Mapping[State, object]]:
    """The table with one verdict replaced."""
    row = list(TABLE[age][held])
    row[said] = verdict
    return {**TABLE, age: {**TABLE[age], held: tuple(row)}}


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("held", State)
@pytest.mark.parametrize("said", State)
def test_every_changed_cell_of_the_table_is_noticed(
    age: Age, held: State, said: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any one verdict of the table replaced by another, at least one property above fails."""
    for wrong in set(Verdict) - {TABLE[age][held][said]}:
        monkeypatch.setattr(precedence, "TABLE", mutated(age, held, said, wrong))
        survivors = 0
        for holds in PROPERTIES:
            try:
                holds()
            except AssertionError:
                continue
            survivors += 1
        assert survivors < len(PROPERTIES), f"{wrong} went unnoticed"
        monkeypatch.undo()
