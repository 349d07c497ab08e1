"""What runs every few seconds must not read what is finished: in the end nearly every row is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from penstock.catalog import (
    Catalog,
    CatalogConfig,
    accounts,
    claims,
    events,
    garbage,
    generations,
    growing,
    idempotency,
    queue,
    segments,
    skew,
    uploads,
    videos,
    workers,
)
from penstock.catalog.words import TaskKind, Transport, Visibility
from penstock.video.identity import new_id

SWEEPS: dict[str, Callable[[Connection], object]] = {
    "announceable": lambda tx: queue.announceable(tx, 4, again_after_ms=5),
    "waiting": lambda tx: queue.waiting(tx, 4, kinds=list(TaskKind)),
    "next_due": queue.next_due,
    "announced": queue.announced,
    "forget_announcements": queue.forget_announcements,
    "depth": queue.depth,
    "waiting_work": queue.waiting_work,
    "lost": claims.lost,
    "renew": lambda tx: workers.claimed(tx, new_id()),
    "expired": uploads.expired,
    "stranded": generations.stranded,
    "owing_tombstone": generations.owing_tombstone,
    "growing": growing.listing,
    "due": garbage.due,
    "expire": idempotency.expire,
    "amend": skew.amend,
    "referenced_keys": lambda tx: segments.referenced_keys(tx, "v/t.1/"),
    "events": lambda tx: events.listing(tx, new_id()),
    "find_duplicate": lambda tx: videos.find_duplicate(tx, new_id(), "a" * 64),
}
PARTIAL = (
    "ix_tasks_waiting",
    "ix_tasks_due",
    "ix_tasks_announced",
    "ix_tasks_claimed",
    "ix_tasks_dead",
    "ix_generations_untold",
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An open, migrated catalog."""
    opened = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}"))
    opened.migrate()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", list(SWEEPS))
def test_a_sweep_reads_only_what_may_concern_it(catalog: Catalog, name: str) -> None:
    """The plan of each statement searches an index, or scans one that holds unfinished rows alone."""
    plans: list[str] = []

    @event.listens_for(catalog.engine, "before_cursor_execute")
    def explain(tx: Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            plan = tx.connection.cursor()
            plan.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            plans.extend(row[3] for row in plan.fetchall())

    with catalog.write() as tx:
        SWEEPS[name](tx)
    assert plans
    # Workers are few, and their rows go when they are long silent.
    scans = [
        plan
        for plan in plans
        if plan.startswith("SCAN") and not plan.startswith(("SCAN CONSTANT", "SCAN workers", "SCAN ("))
    ]
    assert [plan for plan in scans if not plan.endswith(PARTIAL)] == []


def test_the_next_task_is_read_off_an_index(catalog: Catalog) -> None:
    """However many wait: nothing is sorted, and of each kind no more is read than was asked for."""
    with catalog.write() as tx:
        owner = accounts.create(tx, login="ann", name="Ann")
        video = videos.create(
            tx, owner_id=owner.id, title="t", filename="f", visibility=Visibility.PUBLIC, who="test"
        )
        upload = uploads.create(tx, video, transport=Transport.PUT, life_ms=1000)
        uploads.complete(tx, upload.id, size=1, who="test")
    plans: list[str] = []

    @event.listens_for(catalog.engine, "before_cursor_execute")
    def explain(tx: Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "ORDER BY tasks.turn" in statement:
            plan = tx.connection.cursor()
            plan.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            plans.extend(row[3] for row in plan.fetchall())

    with catalog.read() as tx:
        assert len(queue.waiting(tx, 4, kinds=list(TaskKind))) == 1
    assert len(plans) >= len(TaskKind)
    assert [plan for plan in plans if "ix_tasks_waiting" not in plan or "TEMP B-TREE" in plan] == []
