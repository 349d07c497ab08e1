"""Which of two statements about a member holds: the one place that decides it, as a table.

A statement is ordered by (epoch, incarnation), both raised by its subject alone: the epoch at each start of the process,
before its first packet; the incarnation when it objects, changes its address or metadata, or comes back. So a newer order
is evidence from the member itself and always wins; at equal order the graver statement wins. This file must never know
times, addresses or who is speaking: that is what makes merging commutative, associative and idempotent.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import NamedTuple


class State(IntEnum):
    """What is believed about a member, in order of gravity."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Order(NamedTuple):
    """Age of a statement, as its subject counts."""

    epoch: int
    incarnation: int


class Age(Enum):
    """Of what is said, compared with what is held."""

    OLDER = "older"
    EQUAL = "equal"
    NEWER = "newer"


class Verdict(Enum):
    """What to do with what is said."""

    KEEP = "keep"  # what is held; what is said changes nothing
    TAKE = "take"  # what is said replaces what is held
    CONFIRM = "confirm"  # the same suspicion again: no change of state, but perhaps another accuser


K, T, C = Verdict.KEEP, Verdict.TAKE, Verdict.CONFIRM

# Rows: what is held. Columns: what is said, in the order ALIVE, SUSPECT, DEAD, LEFT.
TABLE: Mapping[Age, Mapping[State, tuple[Verdict, Verdict, Verdict, Verdict]]] = {
    Age.OLDER: {
        State.ALIVE: (K, K, K, K),
        State.SUSPECT: (K, K, K, K),
        State.DEAD: (K, K, K, K),
        State.LEFT: (K, K, K, K),
    },
    Age.EQUAL: {
        State.ALIVE: (K, T, T, T),
        State.SUSPECT: (K, C, T, T),
        State.DEAD: (K, K, K, T),
        State.LEFT: (K, K, K, K),
    },
    Age.NEWER: {
        State.ALIVE: (T, T, T, T),
        State.SUSPECT: (T, T, T, T),
        State.DEAD: (T, T, T, T),
        State.LEFT: (T, T, T, T),
    },
}


def decide(held_order: Order, held: State, said_order: Order, said: State) -> Verdict:
    """The verdict on a statement about a member that is known already."""
    return TABLE[_age(held_order, said_order)][held][said]


def _age(held: Order, said: Order) -> Age:
    if said == held:
        return Age.EQUAL
    return Age.NEWER if said > held else Age.OLDER
