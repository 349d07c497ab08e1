"""The catalog's connection: transactions, the settings of both databases, and vendor errors translated at this edge.

Nothing above this file sees a database exception, and nothing here knows what the records mean. A transaction is short:
no file, network or media work happens inside one.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, Self

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, select, text
from sqlalchemy.exc import ArgumentError

from penstock import faults
from penstock.catalog import filesystem, history
from penstock.catalog.config import CatalogConfig
from penstock.catalog.migrations import REVISION
from penstock.faults import Point
from penstock.video.errors import CatalogUnavailable, ConfigurationError, Conflict, PenstockError, StorageFull

log = structlog.get_logger()

type_of_write = "penstock_write"  # the execution option that makes a SQLite transaction begin as a writer


class Catalog:
    """A database of records. Safe to share between threads; one per process."""

    def __init__(self, engine: Engine, *, busy_timeout_ms: int = 10_000) -> None:
        """``engine`` comes from :func:`open_engine`; use :meth:`open` unless the engine is needed."""
        self.engine = engine
        self._reader = engine.execution_options(**{type_of_write: False})
        self._writer = engine.execution_options(**{type_of_write: True})
        self._busy_timeout_ms = busy_timeout_ms
        # SQLite has one writer at a time and lets waiters poll. Threads of one process queue here instead, so that none
        # starves and the database's own waiting is left to the few processes.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else None

    @classmethod
    def open(cls, config: CatalogConfig) -> Self:
        """Reaches the database (and makes an empty SQLite file). The tables are :meth:`migrate`'s work.

        Raises :class:`ConfigurationError` for a URL that is not understood or a file on a network file system.
        """
        return cls(open_engine(config), busy_timeout_ms=config.busy_timeout_ms)

    @property
    def is_sqlite(self) -> bool:
        """Whether the records are in a file of this machine."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may change records: committed when the block ends, undone when it raises.

        Keep the order of locks: generation, then video, then tasks, then anything else. Raises
        :class:`CatalogUnavailable` where the database does not answer or stays locked; nothing was changed then.
        """
        with self._translated(), self._in_turn(), self._writer.connect() as tx:
            history.begin(tx)
            with tx.begin():
                yield tx
                faults.reach(Point.RECORD_WRITTEN)
            written = history.end(tx)
        faults.reach(Point.RECORD_COMMITTED)
        history.log(written)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads. On SQLite it sees one moment; on PostgreSQL each statement sees its own."""
        with self._translated(), self._reader.connect() as tx, tx.begin():
            yield tx

    def ping(self) -> None:
        """Raises :class:`CatalogUnavailable` unless the database answers."""
        with self.read() as tx:
            tx.execute(select(1))

    def check_version(self) -> None:
        """Raises ``ConfigurationError`` where the tables are of a program that this one does not know."""
        from penstock.catalog import migrate

        with self.read() as tx:
            migrate.require_known(tx)

    def migrate(self) -> None:
        """Brings the tables to this program's version. Safe when several processes start at once: one does it."""
        if self._is_current():
            return
        from penstock.catalog import migrate

        with self._translated(), self._in_turn(), self._writer.connect() as tx, tx.begin():
            migrate.upgrade(tx)

    def _is_current(self) -> bool:
        """Whether there is nothing to migrate, as at nearly every start; told without Alembic's 12 MB and 270 ms."""
        try:
            with self.read() as tx:
                return tx.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [
                    REVISION
                ]
        except (exc.DBAPIError, PenstockError):
            return False  # no tables yet, or trouble that the migration itself will tell

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=self._busy_timeout_ms / 1000):
            raise _locked()
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.TimeoutError as error:
            raise CatalogUnavailable("All connections to the database are in use; try again.") from error
        except exc.DBAPIError as error:
            _translate(error)


def open_engine(config: CatalogConfig) -> Engine:
    """The engine for ``config.url`` with this room's settings applied to every connection."""
    try:
        url = make_url(config.url)
    except ArgumentError as error:
        raise ConfigurationError(
            "The database URL is not understood; give sqlite:///PATH or postgresql://..."
        ) from error
    match url.get_backend_name():
        case "sqlite":
            return _sqlite(url, config)
        case "postgresql":
            return _postgresql(url, config)
        case other:
            raise ConfigurationError(
                f"The database '{other}' is not supported; give sqlite:///PATH or postgresql://..."
            )


def _sqlite(url: URL, config: CatalogConfig) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("The SQLite database must be a file: sqlite:///PATH.")
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    filesystem.refuse_network(path.parent)
    _make_private(path)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        pool_size=config.pool_size,
        max_overflow=config.max_overflow,
        pool_timeout=config.connect_timeout_s,
        connect_args={"timeout": config.busy_timeout_ms / 1000},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        _enter_wal(connection, config.busy_timeout_ms)
        connection.execute(
            "PRAGMA synchronous=FULL"
        )  # a commit is on the disk when it returns, not merely in the log
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A transaction that reads and then writes cannot wait for another writer, so a writer says so at once.
        write = connection.get_execution_options().get(type_of_write, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _make_private(path: Path) -> None:
    """The file is its owner's alone from its first byte, whatever folder it lies in; SQLite gives its log the same mode."""
    # One that is there is left alone: to close it again would end every lock that this process holds on it.
    with suppress(OSError):  # what is in the way is told when the database is opened
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _enter_wal(connection: Any, busy_timeout_ms: int) -> None:
    """Readers go on while one writes. The first change of mode does not wait for others by itself, so wait here."""
    deadline = time.monotonic() + busy_timeout_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _postgresql(url: URL, config: CatalogConfig) -> Engine:
    timeout = config.busy_timeout_ms
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",  # a statement that waited for a lock sees what the holder committed
        pool_size=config.pool_size,
        max_overflow=config.max_overflow,
        pool_timeout=config.connect_timeout_s,
        pool_pre_ping=True,  # a restarted server costs one round trip, not an error
        connect_args={
            "connect_timeout": config.connect_timeout_s,
            "application_name": "penstock",
            # A process that stops in mid-transaction must not hold its locks for ever.
            "options": f"-c lock_timeout={timeout} -c idle_in_transaction_session_timeout={6 * timeout}",
        },
    )


def _locked() -> CatalogUnavailable:
    return CatalogUnavailable(
        "The database stayed locked by another writer; try again. If it goes on, a process is stuck or the disk is.",
        code="catalog_locked",
        retry_after=1,
    )


def _translate(error: exc.DBAPIError) -> NoReturn:
    """Raises this program's error for the driver's; a fault of a statement itself is a bug and goes on as it is."""
    message = str(error.orig)
    state = getattr(error.orig, "sqlstate", None)  # PostgreSQL, appendix A of its manual
    code = (
        getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    )  # the primary result code, sqlite.org/rescode.html
    if state == "53100" or code == sqlite3.SQLITE_FULL:
        raise StorageFull("The disk of the database is full; make room and try again.") from error
    if state == "55P03" or code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        raise _locked() from error
    if isinstance(error, exc.IntegrityError):
        raise Conflict("The change contradicts another record.", code="catalog_conflict") from error
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        raise PenstockError(
            "The database file is damaged or is none; restore it from a backup.", code="catalog_damaged"
        ) from error
    if state == "42P01" or "no such table" in message:
        raise PenstockError(
            "The database has no tables yet; migrate it first.", code="catalog_not_migrated"
        ) from error
    if code == sqlite3.SQLITE_ERROR:
        raise error
    if isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated:
        log.warning("catalog_unavailable", reason=message)  # for the operator: the answer names no host
        raise CatalogUnavailable("The database does not answer; try again.") from error
    raise error
