import re
from collections.abc import Iterator

import pytest

from penstock.video import errors
from penstock.video.errors import FieldError, PenstockError, PermanentError, TransientError


def tree(root: type[PenstockError]) -> Iterator[type[PenstockError]]:
    """A class and everything below it, of this module."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


@pytest.mark.parametrize("error", list(tree(PenstockError)))
def test_every_error_can_be_told_to_a_client(error: type[PenstockError]) -> None:
    """Each class has a stable snake_case code, a title, and a status of the 4xx or 5xx kind."""
    raised = error("What happened and what to do.")
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", raised.code)
    assert 400 <= raised.status <= 599
    assert raised.title
    assert (raised.detail, str(raised)) == ("What happened and what to do.",) * 2
    assert (raised.retry_after, raised.errors) == (None, ())


def test_what_may_succeed_later_is_told_from_what_cannot() -> None:
    """No error is both permanent and transient, so that nobody retries in vain or gives up too soon."""
    permanent, transient = set(tree(PermanentError)), set(tree(TransientError))
    assert not permanent & transient
    assert set(tree(PenstockError)) - permanent - transient == {PenstockError, errors.Cancelled}


def test_one_raise_may_be_more_precise_than_its_class() -> None:
    """A code of its own, the seconds to wait and the fields at fault belong to the single error."""
    field = FieldError("/title", "At most 512 characters.")
    raised = errors.InvalidRequest("No.", code="title_too_long", retry_after=3, errors=(field,))
    assert (raised.code, raised.retry_after, raised.errors) == ("title_too_long", 3, (field,))
    assert errors.InvalidRequest("No.").code == "invalid_request"
