"""Rung switches, told from the requests of a viewing."""

from penstock.streaming.viewings import Viewings


def test_a_switch_is_a_change_between_consecutive_segments_of_one_viewing() -> None:
    """Staying is none; up and down are told by the heights; the time between is the player's own."""
    now = iter([0.0, 4.0, 9.5, 10.0])
    viewings = Viewings(10, clock=lambda: next(now))
    viewing = ("session", "")
    assert viewings.fetched(viewing, "240p", 240, 1) is None
    up = viewings.fetched(viewing, "720p", 720, 2)
    assert up is not None
    assert (up.direction, up.before.rung, up.after.number, up.after.at - up.before.at) == (
        "up",
        "240p",
        2,
        4.0,
    )
    assert viewings.fetched(viewing, "720p", 720, 3) is None
    down = viewings.fetched(viewing, "480p", 480, 4)
    assert down is not None
    assert down.direction == "down"


def test_viewings_do_not_mix() -> None:
    """Two players with one token are two viewings where they say so."""
    viewings = Viewings(10)
    assert viewings.fetched(("session", "a"), "240p", 240, 1) is None
    assert viewings.fetched(("session", "b"), "720p", 720, 1) is None


def test_the_quietest_viewing_is_forgotten_first() -> None:
    """Memory is bounded; who goes on watching is remembered."""
    viewings = Viewings(2)
    viewings.fetched(("a", ""), "240p", 240, 1)
    viewings.fetched(("b", ""), "240p", 240, 1)
    viewings.fetched(("a", ""), "240p", 240, 2)
    viewings.fetched(("c", ""), "240p", 240, 1)
    assert viewings.fetched(("b", ""), "720p", 720, 2) is None
    viewings.fetched(("c", ""), "240p", 240, 2)
    assert viewings.fetched(("b", ""), "240p", 240, 3) is not None
