import pytest

from penstock.catalog import Catalog, idempotency
from penstock.video.errors import Conflict, InvalidRequest
from tests.contract.catalog import scenes

ANN, BEN = "ann", "ben"
FIRST, OTHER = scenes.sha256("first"), scenes.sha256("other")


def test_the_first_request_runs_and_the_second_gets_its_answer(catalog: Catalog) -> None:
    """Once answered, the same request under the same key is answered from the record."""
    with catalog.write() as tx:
        begun = idempotency.begin(tx, ANN, "k", FIRST)
        assert begun.answer is None
        assert idempotency.finish(tx, ANN, "k", begun.holder, status=201, body={"id": "v"})
    with catalog.write() as tx:
        again = idempotency.begin(tx, ANN, "k", FIRST)
    assert again.answer is not None
    assert (again.answer.status, again.answer.body) == (201, {"id": "v"})


def test_another_request_under_the_key_is_refused(catalog: Catalog) -> None:
    """A key stands for one request, answered or not; another owner's equal key is another key."""
    with catalog.write() as tx:
        idempotency.begin(tx, ANN, "k", FIRST)
        with pytest.raises(InvalidRequest) as raised:
            idempotency.begin(tx, ANN, "k", OTHER)
        assert idempotency.begin(tx, BEN, "k", OTHER).answer is None
    assert raised.value.code == "idempotency_key_reused"


def test_while_the_first_runs_the_second_is_told_to_wait(catalog: Catalog) -> None:
    """A repeated request does not run beside the first."""
    with catalog.write() as tx:
        idempotency.begin(tx, ANN, "k", FIRST)
        with pytest.raises(Conflict) as raised:
            idempotency.begin(tx, ANN, "k", FIRST)
    assert raised.value.code == "request_in_progress"
    assert raised.value.retry_after == 1


def test_a_request_that_went_silent_gives_way(catalog: Catalog) -> None:
    """The key of a request whose process died is taken over, and what died can no longer answer."""
    with catalog.write() as tx:
        dead = idempotency.begin(tx, ANN, "k", FIRST, running_ms=-1)
        heir = idempotency.begin(tx, ANN, "k", FIRST)
        assert heir.answer is None
        assert not idempotency.finish(tx, ANN, "k", dead.holder, status=201, body=None)
        assert not idempotency.prolong(tx, ANN, "k", dead.holder)
        assert idempotency.finish(tx, ANN, "k", heir.holder, status=201, body="heir")


def test_a_streaming_request_keeps_its_key(catalog: Catalog) -> None:
    """Hours of upload do not make a request look dead."""
    with catalog.write() as tx:
        begun = idempotency.begin(tx, ANN, "k", FIRST, running_ms=-1)
        assert idempotency.prolong(tx, ANN, "k", begun.holder)
        with pytest.raises(Conflict):
            idempotency.begin(tx, ANN, "k", FIRST)


def test_a_request_that_failed_may_be_repeated(catalog: Catalog) -> None:
    """An abandoned key is free; an answered one is not abandoned."""
    with catalog.write() as tx:
        begun = idempotency.begin(tx, ANN, "k", FIRST)
        idempotency.abandon(tx, ANN, "k", begun.holder)
        second = idempotency.begin(tx, ANN, "k", FIRST)
        assert second.answer is None
        idempotency.finish(tx, ANN, "k", second.holder, status=201, body=None)
        idempotency.abandon(tx, ANN, "k", second.holder)
        assert idempotency.begin(tx, ANN, "k", FIRST).answer is not None


def test_answers_are_forgotten_in_time(catalog: Catalog) -> None:
    """An expired answer is no answer, and its row goes."""
    with catalog.write() as tx:
        begun = idempotency.begin(tx, ANN, "old", FIRST)
        idempotency.finish(tx, ANN, "old", begun.holder, status=201, body=None, life_ms=-1)
        idempotency.begin(tx, ANN, "new", FIRST)
        assert idempotency.expire(tx) == 1
        assert idempotency.begin(tx, ANN, "old", OTHER).answer is None


def test_an_unusable_key_is_refused(catalog: Catalog) -> None:
    """A key longer than the record holds is named as the cause."""
    with pytest.raises(InvalidRequest), catalog.write() as tx:
        idempotency.begin(tx, ANN, "k" * 256, FIRST)
