import logging
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import exc, text

from penstock.catalog import Catalog, CatalogConfig, accounts
from penstock.video.errors import CatalogUnavailable, ConfigurationError, PenstockError, StorageFull


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "folder" / "penstock.db"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    """An open, migrated catalog."""
    opened = Catalog.open(CatalogConfig(f"sqlite:///{path}"))
    opened.migrate()
    return opened


@pytest.mark.parametrize(
    "url",
    ["", "penstock.db", "mysql://root@localhost/penstock", "sqlite://", "sqlite:///:memory:", "oracle://x"],
)
def test_a_url_that_cannot_serve_is_refused(url: str) -> None:
    """The start fails with what to give instead, and shows nothing of the URL, which may hold a password."""
    with pytest.raises(ConfigurationError) as raised:
        Catalog.open(CatalogConfig(url))
    assert "sqlite:///PATH" in raised.value.detail
    assert "root@" not in raised.value.detail


def test_every_connection_has_the_settings_that_promises_rest_on(catalog: Catalog) -> None:
    """Write-ahead log, a sync at every commit, foreign keys: on the first connection and on later ones."""
    with catalog.read() as first, catalog.read() as second:
        for tx in (first, second):
            settings = {
                name: tx.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert settings == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 10_000,
            }
    catalog.close()


def test_the_file_and_its_log_are_for_this_user_alone(tmp_path: Path) -> None:
    """In a folder that others may enter, too: who may list it must not read titles, names and addresses there."""
    tmp_path.chmod(0o755)
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path}/penstock.db"))
    catalog.migrate()
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    catalog.close()
    assert modes == dict.fromkeys(("penstock.db", "penstock.db-wal", "penstock.db-shm"), 0o600)


def test_a_writer_takes_its_place_before_it_reads(catalog: Catalog, path: Path) -> None:
    """A write transaction excludes other writers from its first moment, so that nothing it read can be outdated."""
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    with catalog.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    with catalog.read():
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    other.close()
    catalog.close()


def test_threads_of_one_process_write_in_turn(catalog: Catalog) -> None:
    """Many writers at once neither fail nor lose anything, however short the database's own patience."""
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def write(number: int) -> None:
        start.wait()
        try:
            for turn in range(5):
                with catalog.write() as tx:
                    accounts.create(tx, login=f"{number}-{turn}", name="A")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with catalog.read() as tx:
        assert len(accounts.listing(tx)) == 40
    catalog.close()


def test_a_file_that_is_no_database_says_so(path: Path) -> None:
    """Something else under the database's name is neither overwritten nor taken for an outage."""
    path.parent.mkdir()
    path.write_bytes(b"my diary" * 1000)
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{path}"))
    with pytest.raises(PenstockError) as raised:
        catalog.migrate()
    assert raised.value.code == "catalog_damaged"
    assert path.read_bytes() == b"my diary" * 1000
    catalog.close()


def test_a_full_disk_is_named(catalog: Catalog) -> None:
    """A write that finds no room fails as a full disk, which passes, and leaves what was there."""
    with catalog.write() as tx:
        pages = tx.execute(text("PRAGMA page_count")).scalar_one()
    with pytest.raises(StorageFull):
        _write_until_full(catalog, pages)
    catalog.close()  # the limit was the connection's
    with catalog.read() as tx:
        assert accounts.listing(tx) == []
    catalog.close()


def test_a_folder_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    """A database file that cannot be opened is an error of ours."""
    (tmp_path / "penstock.db").mkdir()
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}"))
    with pytest.raises(CatalogUnavailable):
        catalog.ping()
    catalog.close()


def test_a_mistake_in_a_statement_is_not_dressed_up(catalog: Catalog) -> None:
    """A bug shows as itself; nobody is told to try again."""
    with pytest.raises(exc.SQLAlchemyError), catalog.read() as tx:
        tx.execute(text("SELECT nothing FROM accounts"))
    catalog.close()


def test_migrating_does_not_touch_the_programs_logging(path: Path) -> None:
    """Alembic's own habit is to configure logging anew; here nothing of it is changed."""
    before = list(logging.root.handlers), logging.root.level
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{path}"))
    catalog.migrate()
    catalog.close()
    assert (list(logging.root.handlers), logging.root.level) == before


def _write_until_full(catalog: Catalog, pages: int) -> None:
    with catalog.write() as tx:
        tx.execute(text(f"PRAGMA max_page_count={pages}"))
        for number in range(10_000):
            accounts.create(tx, login=f"account-{number}", name="A" * 255)
