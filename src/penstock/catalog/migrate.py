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

    Raises :class:`ConfigurationError` where the tables are of a program that this one does not know: it must not touch them.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = configuration()
    if require_known(tx) == ScriptDirectory.from_config(config).get_current_head():
        return
    config.attributes["connection"] = tx
    command.upgrade(config, "head")


def require_known(tx: Connection) -> str | None:
    """The revision of the tables, None where there are none yet. Raises as :func:`upgrade`."""
    known = {revision.revision for revision in ScriptDirectory.from_config(configuration()).walk_revisions()}
    current = MigrationContext.configure(tx).get_current_revision()
    if current is not None and current not in known:
        raise ConfigurationError(
            "The database was written by a version of Penstock that this program does not know: a later one, which asks for an "
            "update of this program, or one from before the first release, whose data cannot be taken over.",
            code="catalog_too_new",
        )
    return current
