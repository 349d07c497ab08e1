"""Most of these tests run a room by hand, with media tools that follow a script, on both databases."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.catalog import Catalog
from penstock.processing.config import ProcessingConfig
from tests.servers.databases import catalog, database, postgresql, postgresql_template, sqlite_template
from tests.simulation.scripted import Script, ScriptedMedia
from tests.simulation.workshop import Room, Workshop

__all__ = ["catalog", "database", "postgresql", "postgresql_template", "sqlite_template"]

Open = Callable[..., Room]


@pytest.fixture
def config(tmp_path: Path) -> ProcessingConfig:
    """No waiting between tries or versions, and no lease that ends by itself: tests say what time it is."""
    return ProcessingConfig(
        node="node-1",
        run_folder=tmp_path,
        scratch_folder=tmp_path,
        retry_base=0.0,
        publish_interval=0.0,
        lease=3600.0,
    )


@pytest.fixture
def workshop(tmp_path: Path, catalog: Catalog, config: ProcessingConfig) -> Workshop:
    """A machine without a processing process yet."""
    return Workshop(tmp_path, catalog, config=config)


@pytest.fixture
def media() -> ScriptedMedia:
    """Tools that follow the source's script."""
    return ScriptedMedia()


@pytest.fixture
def room(workshop: Workshop, media: ScriptedMedia) -> Room:
    """One processing process, worked by hand."""
    return workshop.room(media)


@pytest.fixture
def clip() -> bytes:
    """Ten seconds: a first chunk of one segment and one chunk of two."""
    return Script("clip").to_bytes()
