from hypothesis import given
from hypothesis import strategies as st

from penstock.video import identity

milliseconds = st.integers(0, 2**48 - 1)
randomness = st.integers(0, 2**80 - 1)


def test_new_ids_differ_and_have_the_form() -> None:
    """Every id passes the check that handlers make, and no two are equal."""
    made = [identity.new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(identity.is_id(made_id) for made_id in made)


@given(milliseconds, randomness, milliseconds, randomness)
def test_ids_sort_as_their_times(time_a: int, random_a: int, time_b: int, random_b: int) -> None:
    """The order of the text is the order of creation, then of the random part."""
    a, b = identity.encode(time_a, random_a), identity.encode(time_b, random_b)
    assert (a < b) == ((time_a, random_a) < (time_b, random_b))
    assert (a == b) == ((time_a, random_a) == (time_b, random_b))
    assert identity.is_id(a)


@given(st.text(max_size=30))
def test_other_text_is_no_id(text: str) -> None:
    """What has not exactly the form is refused, before it gets near a key or a query."""
    alphabet = set("0123456789abcdefghjkmnpqrstvwxyz")
    assert identity.is_id(text) == (len(text) == 26 and set(text) <= alphabet and text[0] in "01234567")


def test_near_misses_are_no_ids() -> None:
    """Capitals, ambiguous letters, a time beyond 48 bits, and separators of paths are not accepted."""
    good = identity.new_id()
    for bad in (good.upper(), "8" + good[1:], good[:-1], good + "0", good[:-1] + "l", good[:-1] + "/", ""):
        assert not identity.is_id(bad)
