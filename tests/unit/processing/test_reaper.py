from pathlib import Path

from penstock.catalog import Catalog, CatalogConfig, accounts, idempotency
from penstock.processing.config import ProcessingConfig
from penstock.processing.failures import retry_policy
from penstock.processing.publisher import Publisher
from penstock.processing.reaper import Reaper
from penstock.storage.local import LocalStore


def test_answers_are_forgotten_once_they_expired(tmp_path: Path) -> None:
    """An idempotency key is free again after its life, and its record does not stay for ever."""
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}"))
    catalog.migrate()
    config = ProcessingConfig(node="a", run_folder=tmp_path, scratch_folder=tmp_path)
    publisher = Publisher(catalog, LocalStore(tmp_path / "outputs"), config)
    reaper = Reaper(catalog, publisher, retry_policy(config), announce=lambda: None)
    with catalog.write() as tx:
        owner = accounts.create(tx, login="ann", name="Ann")
        idempotency.begin(tx, owner.id, "over", "digest", running_ms=0)
        idempotency.begin(tx, owner.id, "in force", "digest")
    reaper.sweep()
    with catalog.write() as tx:
        assert idempotency.expire(tx) == 0
        assert idempotency.begin(tx, owner.id, "over", "another digest").answer is None
    catalog.close()
