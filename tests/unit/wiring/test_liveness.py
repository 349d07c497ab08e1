import pytest

from penstock.membership.views import Member, StateName
from penstock.wiring.liveness import dead_names


def member(name: str, state: StateName, *, number: int = 0, me: bool = False) -> Member:
    """One member as an agent tells of it."""
    return Member(
        id=f"{name}-{number}", name=name, host="10.0.0.1", port=7946, state=state, epoch=1, incarnation=0,
        metadata={}, age=0.0, me=me,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("members", "dead"),
    [
        ([member("a", "alive", me=True), member("b", "dead")], {"b"}),
        ([member("a", "alive", me=True), member("b", "suspect")], set()),
        ([member("a", "alive", me=True), member("b", "left")], set()),
        ([member("a", "alive", me=True), member("b", "dead"), member("b", "alive", number=1)], set()),
        ([member("a", "alive", me=True), member("b", "dead"), member("b", "suspect", number=1)], set()),
        ([member("a", "alive", me=True), member("a", "dead", number=1)], set()),
        ([member("a", "left", me=True), member("a", "dead", number=1)], set()),
    ],
    ids=[
        "dead",
        "suspected",
        "left",
        "lost disk",
        "lost disk, suspected",
        "this one",
        "this one, having left",
    ],
)
def test_a_name_is_dead_when_nobody_living_has_it(members: list[Member], dead: set[str]) -> None:
    """Suspicion is not death, leaving is not death, and a machine that came back with a new identity lives."""
    assert dead_names(members) == dead
