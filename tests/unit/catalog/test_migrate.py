import hashlib
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import text

from penstock.catalog import Catalog, CatalogConfig
from penstock.catalog.migrate import configuration
from penstock.catalog.migrations import REVISION


def test_the_program_knows_the_last_migration() -> None:
    """Otherwise tables that lack a step would be taken for complete."""
    assert ScriptDirectory.from_config(configuration()).get_current_head() == REVISION


def test_the_last_migration_is_named_after_its_tables(tmp_path: Path) -> None:
    """Tables made before a change in place would be taken for current; under another name the start refuses them."""
    catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{tmp_path}/records.db"))
    catalog.migrate()
    with catalog.read() as tx:
        made = tx.execute(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")).scalars()
        digest = hashlib.sha256("\n".join(made).encode()).hexdigest()
    catalog.close()
    assert REVISION.partition("_")[2] == digest[:8], f"give the last migration the suffix _{digest[:8]}"


def test_tables_of_another_version_are_not_taken_for_ours(tmp_path: Path) -> None:
    """Only the very last revision spares the migration; an earlier one is brought up."""
    catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{tmp_path}/records.db"))
    catalog.migrate()
    with catalog.write() as tx:
        tx.execute(text("DELETE FROM alembic_version"))
    assert not catalog._is_current()
    catalog.close()
