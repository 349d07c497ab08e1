"""Uploads that nobody will finish: collected round by round, each of bounded work, and by the records' clock alone."""

import os
import tracemalloc
from pathlib import Path

from penstock.audit.audit import Audit
from penstock.catalog import Catalog, CatalogConfig, accounts, garbage, schema, uploads, videos
from penstock.catalog.records import Upload
from penstock.catalog.retries import RetryPolicy
from penstock.catalog.words import Transport, UploadState
from penstock.processing.collector import Collector
from penstock.processing.config import ProcessingConfig
from penstock.processing.publisher import Publisher
from penstock.processing.reaper import Reaper
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.video.lifecycle import VideoState
from penstock.video.visibility import Visibility

# ABANDONED_UPLOADS=10000 asks for more than fits into every run: making and collecting them takes some minutes.
MANY = int(os.environ.get("ABANDONED_UPLOADS", "500"))


def abandoned(catalog: Catalog, staging: FolderStaging, count: int) -> list[Upload]:
    """Open sessions with a byte each."""
    with catalog.write() as tx:
        owner = accounts.create(tx, login="ann", name="Ann")
        made = []
        for _ in range(count):
            video = videos.create(
                tx, owner_id=owner.id, title="a", filename="a", visibility=Visibility.PRIVATE, who="test"
            )
            made.append(uploads.create(tx, video, transport=Transport.TUS, life_ms=3_600_000, size=10))
    for upload in made:
        folder = staging._folder(upload.id)
        folder.mkdir()
        (folder / "data").write_bytes(b"x")
    return made


def test_thousands_of_abandoned_uploads_are_collected(tmp_path: Path) -> None:
    """Their bytes, folders and videos go, in memory that does not grow with their number; the one that lives stays."""
    catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{tmp_path / 'records.sqlite'}"))
    catalog.migrate()
    sources, outputs = LocalStore(tmp_path / "sources"), LocalStore(tmp_path / "outputs")
    staging = FolderStaging(sources)
    config = ProcessingConfig(node="here", run_folder=tmp_path, scratch_folder=tmp_path / "scratch")
    publisher = Publisher(catalog, outputs, config)
    reaper = Reaper(catalog, publisher, RetryPolicy(), announce=lambda: None)
    collector = Collector(catalog, config, sources=sources, outputs=outputs, staging=staging)
    *dead, living = abandoned(catalog, staging, MANY + 1)
    with catalog.write() as tx:
        gone = schema.uploads.c.id != living.id
        tx.execute(schema.uploads.update().where(gone).values(expires_at=1))
    rounds = 0
    while reaper.sweep():
        rounds += 1
    assert rounds >= MANY // 100  # a hundred in each, so that nothing else waits for long
    tracemalloc.start()
    assert collector.sweep()
    # Of one round: tracing all of them would take five times as long.
    assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    tracemalloc.stop()
    while collector.sweep():
        pass
    assert [left.name for left in staging.leftovers()] == [living.id]
    with catalog.read() as tx:
        assert garbage.due(tx) == []
        assert {uploads.get(tx, each.id).state for each in dead} == {UploadState.EXPIRED}
        assert {videos.get(tx, each.video_id).state for each in dead} == {VideoState.DELETED}
        assert uploads.get(tx, living.id).state is UploadState.OPEN
    assert list(Audit(catalog, sources=sources, outputs=outputs, staging=staging, deep=True).run()) == []
    catalog.close()
