"""Simulations run on a database that does not wait for the disk: they break processes, not machines."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import faults
from penstock.catalog import Catalog
from tests.servers.databases import sqlite_template
from tests.simulation.simulation import hurried

__all__ = ["sqlite_template"]

_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is such a thing: a simulation makes thousands of small durable files."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    """What a test arms ends with it."""
    yield
    faults.disarm()


@pytest.fixture
def catalog(folder: Path, sqlite_template: Path) -> Iterator[Catalog]:
    """An empty catalog on SQLite."""
    shutil.copy(sqlite_template, folder / "catalog.db")
    catalog = hurried(folder)
    yield catalog
    catalog.close()
