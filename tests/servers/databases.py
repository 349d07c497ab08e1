"""The catalog's fixtures: every test that asks for one of them runs on SQLite and on a real PostgreSQL.

A ``conftest.py`` that wants them imports them by name. Each test has a database of its own, copied from one that was
migrated once.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from penstock.catalog import Catalog, CatalogConfig
from tests.servers.postgresql import PostgresServer, running


class Database:
    """An empty, migrated database. ``open`` gives a catalog on it, as another process would have."""

    def __init__(self, kind: str, url: str, closing: ExitStack) -> None:
        self.kind = kind
        self.url = url
        self._closing = closing

    def open(self, *, busy_timeout_ms: int = 10_000) -> Catalog:
        """A catalog with connections of its own, closed when the test ends."""
        catalog = Catalog.open(CatalogConfig(self.url, busy_timeout_ms=busy_timeout_ms))
        self._closing.callback(catalog.close)
        return catalog


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server that lasts for the run."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresServer) -> str:
    """The name of a migrated database, to be copied."""
    name = postgresql.create()
    _migrate(postgresql.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file, to be copied."""
    path = tmp_path_factory.mktemp("catalog") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database of each kind."""
    with ExitStack() as closing:
        if request.param == "sqlite":
            path = tmp_path / "catalog.db"
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
            yield Database("sqlite", f"sqlite:///{path}", closing)
        else:
            server: PostgresServer = request.getfixturevalue("postgresql")
            name = server.create(request.getfixturevalue("postgresql_template"))
            closing.callback(server.drop, name)
            yield Database("postgresql", server.url(name), closing)


@pytest.fixture
def catalog(database: Database) -> Catalog:
    """A catalog on an empty database of each kind."""
    return database.open()


def _migrate(url: str) -> None:
    catalog = Catalog.open(CatalogConfig(url))
    catalog.migrate()
    catalog.close()
