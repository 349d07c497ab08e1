"""A machine whose video is ready and collected, for tests to damage."""

from pathlib import Path

import pytest
from sqlalchemy import update

from penstock.catalog import Catalog, schema
from penstock.processing.config import ProcessingConfig
from tests.servers.databases import catalog, database, postgresql, postgresql_template, sqlite_template
from tests.simulation.scripted import Script, ScriptedMedia
from tests.simulation.workshop import Workshop

__all__ = ["catalog", "database", "postgresql", "postgresql_template", "sqlite_template"]


@pytest.fixture
def workshop(tmp_path: Path, catalog: Catalog) -> Workshop:
    """A machine without a processing process."""
    config = ProcessingConfig(
        node="node-1", run_folder=tmp_path, scratch_folder=tmp_path, retry_base=0.0, publish_interval=0.0
    )
    return Workshop(tmp_path, catalog, config=config)


@pytest.fixture
def ready(workshop: Workshop) -> str:
    """The id of a ready video, of which nothing waits for collection."""
    video_id = workshop.upload(Script("clip", subtitles=1).to_bytes())
    room = workshop.room(ScriptedMedia())
    room.work()
    with workshop.catalog.write() as tx:
        tx.execute(update(schema.garbage).values(not_before=0))
    room.collector.sweep()
    return video_id
