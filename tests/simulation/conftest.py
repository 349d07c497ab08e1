"""Simulations run on a database that does not wait for the disk: they break processes, not machines."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from penstock.catalog import Catalog, CatalogConfig
from penstock.catalog.database import open_engine
from tests.servers.databases import sqlite_template

__all__ = ["sqlite_template"]

_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is such a thing: a simulation makes thousands of small durable files."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        yield Path(path)


@pytest.fixture
def catalog(folder: Path, sqlite_template: Path) -> Iterator[Catalog]:
    """An empty catalog on SQLite."""
    shutil.copy(sqlite_template, folder / "catalog.db")
    engine = open_engine(CatalogConfig(f"sqlite:///{folder}/catalog.db"))

    @event.listens_for(engine, "connect")
    def _hurry(connection: object, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]  # the driver's connection

    catalog = Catalog(engine)
    yield catalog
    catalog.close()
