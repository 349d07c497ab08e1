import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.upload.parts import PartMap, PartsMissing, check_claimed, check_complete, divide
from penstock.video.errors import InvalidRequest

MIB = 1024 * 1024
sizes = st.integers(1, 1 << 41)


@given(size=sizes, part_size=st.integers(5, 64).map(lambda n: n * MIB), most_parts=st.integers(1, 10_000))
def test_parts_cover_the_upload_once(size: int, part_size: int, most_parts: int) -> None:
    """However an upload divides, its parts are few enough, big enough, and cover every byte exactly once."""
    parts = divide(size, part_size=part_size, most_parts=most_parts)
    assert parts.count <= most_parts
    assert parts.part_size >= part_size
    assert parts.part_size % MIB == 0
    every = [
        parts.part(number) for number in {1, 2, parts.count - 1, parts.count} if 1 <= number <= parts.count
    ]
    assert all(part is not None and 0 < part.size <= parts.part_size for part in every)
    last = parts.part(parts.count)
    assert last is not None
    assert last.offset + last.size == size
    assert parts.part(0) is parts.part(parts.count + 1) is None


@given(size=st.integers(1, 500), part_size=st.integers(1, 60), data=st.data())
def test_missing_parts_are_exactly_those_not_there(size: int, part_size: int, data: st.DataObject) -> None:
    """A part counts as there only with its full size; only when none is missing may the upload be completed."""
    parts = PartMap(size, part_size)
    every = parts.all()
    assert [part.offset for part in every] == list(range(0, size, part_size))
    assert sum(part.size for part in every) == size
    whole = data.draw(st.sets(st.sampled_from(every)))
    short = data.draw(st.sets(st.sampled_from(every))) - whole
    present = {part.number: part.size for part in whole} | {part.number: part.size - 1 for part in short}
    assert set(parts.missing(present)) == set(every) - whole
    if len(whole) == len(every):
        check_complete(parts, present)
    else:
        with pytest.raises(PartsMissing) as caught:
            check_complete(parts, present)
        assert caught.value.code == "parts_missing"
        assert caught.value.status == 409
        assert 0 < len(caught.value.errors) <= 20


def test_claims_are_compared_with_what_arrived() -> None:
    """An ETag is accepted with or without its quotes; another one, an unknown part or a repetition is not."""
    etags: dict[int, str | None] = {1: "aa", 2: "bb"}
    check_claimed([], etags)
    check_claimed([(2, '"bb"'), (1, "aa")], etags)
    for wrong in ([(1, "bb")], [(3, "aa")]):
        with pytest.raises(PartsMissing) as caught:
            check_claimed(wrong, etags)
        assert caught.value.code == "parts_differ"
    with pytest.raises(InvalidRequest):
        check_claimed([(1, "aa"), (1, "aa")], etags)
