from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from penstock.catalog import Catalog, CatalogConfig, accounts, events, generations, videos
from penstock.catalog.words import Visibility


class Undone(Exception):
    """What ends a transaction that is to leave nothing."""


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An open, migrated catalog."""
    opened = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}"))
    opened.migrate()
    yield opened
    opened.close()


def create(catalog: Catalog) -> str:
    """A pending video."""
    with catalog.write() as tx:
        owner = accounts.create(tx, login="ann", name="Ann")
        video = videos.create(
            tx,
            owner_id=owner.id,
            title="T",
            filename="t.mov",
            visibility=Visibility.PRIVATE,
            who="account:ann",
        )
    return video.id


def test_each_event_is_one_line_of_the_log_after_the_commit(catalog: Catalog) -> None:
    """The log tells the history with the same names and facts; inside the transaction it is silent."""
    with capture_logs() as lines:
        video_id = create(catalog)
        with catalog.write() as tx:
            generations.open_next(tx, video_id)
            events.append(
                tx, video_id, "task_failed", who="worker:w", why="It fell.", data={"code": "x", "event": "y"}
            )
            assert len(lines) == 1
    created, failed = lines
    assert (created["event"], created["to_state"], created["filename"]) == (
        "video_created",
        "pending",
        "t.mov",
    )
    assert failed == {
        "event": "task_failed",
        "log_level": "info",
        "video_id": video_id,
        "number": 2,
        "who": "worker:w",
        "why": "It fell.",
        "code": "x",
    }


def test_what_was_undone_is_not_told(catalog: Catalog) -> None:
    """A transaction that raised leaves no line, nor does it smuggle one into the next on the same connection."""
    video_id = create(catalog)
    with capture_logs() as lines:
        with suppress(Undone), catalog.write() as tx:
            events.append(tx, video_id, "never_happened", who="test")
            raise Undone
        with catalog.write() as tx:
            events.append(tx, video_id, "happened", who="test")
    assert [line["event"] for line in lines] == ["video_happened"]
    with catalog.read() as tx:
        assert [event.event for event in events.listing(tx, video_id)] == ["created", "happened"]
