"""Bringing the tables to this program's version, by Alembic, inside a transaction of the caller."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from penstock.video.errors import ConfigurationError

_LOCK = 0x70656E73746F636B  # "penstock": PostgreSQL's advisory lock that one migrating process holds


def configuration() -> Config:
    """Alembic's settings: the scripts lie in this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(tx: Connection) -> None:
    """Applies what is missing. SQLite's ``BEGIN IMMEDIATE`` already excludes others; PostgreSQL is asked for a lock.

    Raises :class:`ConfigurationError` where the tables are of a later program: an old one must not touch them.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = configuration()
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(tx).get_current_revision()
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise ConfigurationError(
            "The database was written by a later version of Penstock; update this program.",
            code="catalog_too_new",
        )
    if current == script.get_current_head():
        return
    config.attributes["connection"] = tx
    command.upgrade(config, "head")
