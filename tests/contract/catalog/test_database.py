import threading
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from penstock.catalog import Catalog, CatalogConfig, accounts, clock, events, schema
from penstock.video.errors import CatalogUnavailable, ConfigurationError, Conflict, PenstockError
from tests.contract.catalog import scenes
from tests.servers.databases import Database
from tests.servers.postgresql import PostgresServer


class Boom(Exception):
    """What a test raises in the middle of a transaction."""


def test_a_transaction_that_raises_leaves_nothing(catalog: Catalog) -> None:
    """What a failed block wrote is undone, to the first row."""
    with suppress(Boom), catalog.write() as tx:
        accounts.create(tx, login="ann", name="Ann")
        raise Boom
    with catalog.read() as tx:
        assert accounts.find_by_login(tx, "ann") is None


def test_the_clock_is_utc_milliseconds(catalog: Catalog) -> None:
    """Both databases tell the time of the Unix epoch, and it does not go back."""
    with catalog.read() as tx:
        before, after = clock.now(tx), clock.now(tx)
    assert 1_750_000_000_000 < before <= after < before + 60_000


def test_the_clock_goes_on_within_a_transaction(database: Database) -> None:
    """A lease is judged by the moment of the statement, not by when its transaction began to wait."""
    with database.open().write() as tx:
        first = clock.now(tx)
        while clock.now(tx) == first:
            pass


def test_migrated_tables_are_the_schema(catalog: Catalog) -> None:
    """The migrations lead to exactly the tables that the code speaks of."""
    with catalog.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), schema.metadata) == []


@pytest.mark.needs_postgresql
def test_several_processes_migrate_at_once(postgresql: PostgresServer, tmp_path: Path) -> None:
    """Starting together, all find the tables there and none fails."""
    name = postgresql.create()
    try:
        for url in (f"sqlite:///{tmp_path / 'new.db'}", postgresql.url(name)):
            _migrate_together(url)
    finally:
        postgresql.drop(name)


def _migrate_together(url: str) -> None:
    starting = threading.Barrier(4)
    failures: list[BaseException] = []

    def start() -> None:
        catalog = Catalog.open(CatalogConfig(url))
        try:
            starting.wait()
            catalog.migrate()
            with catalog.read() as tx:
                assert accounts.listing(tx) == []
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)
        finally:
            catalog.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_migrating_again_changes_nothing(catalog: Catalog) -> None:
    """Every later start finds its work done."""
    scenes.owner(catalog)
    catalog.migrate()
    with catalog.read() as tx:
        assert len(accounts.listing(tx)) == 1


def test_tables_of_a_later_program_are_refused(catalog: Catalog) -> None:
    """An old program that meets a new database says so and keeps its hands off."""
    with catalog.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="does not know") as raised:
        catalog.migrate()
    assert raised.value.code == "catalog_too_new"


def test_readers_go_on_while_one_writes(database: Database) -> None:
    """A reader sees what was committed before, and is not held up by a writer."""
    writer, reader = database.open(), database.open(busy_timeout_ms=100)
    scenes.owner(writer, "ann")
    with writer.write() as tx:
        accounts.create(tx, login="ben", name="Ben")
        with reader.read() as other:
            assert [account.login for account in accounts.listing(other)] == ["ann"]
    with reader.read() as other:
        assert [account.login for account in accounts.listing(other)] == ["ann", "ben"]


def test_a_lock_that_lasts_is_one_clear_error(database: Database) -> None:
    """A writer that waits in vain is told that the database is locked, and nothing of how."""
    holder, other = database.open(), database.open(busy_timeout_ms=50)
    video = scenes.pending(holder, scenes.owner(holder))
    with holder.write() as tx:
        events.append(tx, video.id, "held", who="test")
        with pytest.raises(CatalogUnavailable) as raised, other.write() as second:
            events.append(second, video.id, "waiting", who="test")
    assert raised.value.code == "catalog_locked"
    assert "stayed locked" in raised.value.detail


def test_a_write_inside_a_write_does_not_hang(database: Database) -> None:
    """A thread that nests transactions, which is a mistake, gets an error within the busy timeout."""
    catalog = database.open(busy_timeout_ms=50)
    video = scenes.pending(catalog, scenes.owner(catalog))
    with catalog.write() as tx:
        events.append(tx, video.id, "outer", who="test")
        with pytest.raises(CatalogUnavailable), catalog.write() as inner:
            events.append(inner, video.id, "inner", who="test")


def test_a_contradiction_is_a_conflict(catalog: Catalog) -> None:
    """A constraint of the database that no function foresaw still leaves as this program's error."""
    account = scenes.owner(catalog)
    video = scenes.pending(catalog, account)
    with pytest.raises(Conflict) as raised, catalog.write() as tx:
        tx.execute(schema.videos.update().where(schema.videos.c.id == video.id).values(owner_id="nobody"))
    assert raised.value.code == "catalog_conflict"


@pytest.mark.needs_postgresql
def test_an_unmigrated_database_says_so(tmp_path: Path, postgresql: PostgresServer) -> None:
    """Tables that are missing are named as the cause."""
    name = postgresql.create()
    for url in (f"sqlite:///{tmp_path / 'empty.db'}", postgresql.url(name)):
        catalog = Catalog.open(CatalogConfig(url))
        with pytest.raises(PenstockError) as raised, catalog.read() as tx:
            accounts.listing(tx)
        assert raised.value.code == "catalog_not_migrated"
        catalog.close()
    postgresql.drop(name)


def test_ping_answers(catalog: Catalog) -> None:
    """A database that is there passes the readiness check."""
    catalog.ping()


@pytest.mark.needs_postgresql
def test_a_server_that_is_away_is_unavailable_and_found_again(postgresql: PostgresServer) -> None:
    """Cut connections are an error of the moment; the next transaction connects anew, and no host is named."""
    name = postgresql.create()
    catalog = Catalog.open(CatalogConfig(postgresql.url(name)))
    with pytest.raises(CatalogUnavailable) as raised:
        _read_while_cut(catalog, postgresql, name)
    assert "host" not in raised.value.detail
    catalog.ping()
    catalog.close()
    postgresql.drop(name)
    with pytest.raises(CatalogUnavailable):
        catalog.ping()
    catalog.close()


def _read_while_cut(catalog: Catalog, server: PostgresServer, name: str) -> None:
    with catalog.read() as tx:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )
        clock.now(tx)
