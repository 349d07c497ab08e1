"""What the first start makes: the folders, the tables, the first administrator and the file with its API key.

Every start comes by here, and several may at once: each step either finds its work done or does it in one move.
"""

import os
from contextlib import suppress
from pathlib import Path

import structlog
from sqlalchemy import Connection, make_url

from penstock.access import api_keys
from penstock.access.principals import ALL_SCOPES
from penstock.catalog import Catalog, accounts
from penstock.settings import Settings
from penstock.video.errors import CatalogUnavailable, ConfigurationError
from penstock.wiring.parts import Parts

_LOGIN = "admin"

log = structlog.get_logger()


def require_signing_keys(settings: Settings) -> None:
    """For a service that only verifies: keys of its own making would refuse every address that others sign.

    Raises ``ConfigurationError`` where the file is not there.
    """
    path = settings.access.keyring_path
    if not path.exists():
        raise ConfigurationError(
            f"There is no file of signing keys at {path}. The upload service or the library makes it at its first start; start "
            "one of them on this data folder, or copy the file from where they run and name it in PENSTOCK_KEYRING.",
            code="keyring_missing",
        )


def prepare_records(parts: Parts) -> None:
    """Tables of this program's version, and an administrator whose key somebody has.

    Raises :class:`ConfigurationError` with what an operator can do where the database does not answer.
    """
    try:
        parts.catalog.migrate()
    except CatalogUnavailable as error:
        url = make_url(parts.settings.database).render_as_string(hide_password=True)
        raise ConfigurationError(
            f"The database {url} does not answer: {_reason(error)}. Start it and see that this machine may reach it, or correct "
            "PENSTOCK_DATABASE_URL.",
            code=error.code,
        ) from error
    ensure_administrator(parts.catalog, parts.settings.admin_key_file)


def ensure_administrator(catalog: Catalog, key_file: Path) -> None:
    """Makes the first administrator, and a key for it where there is none in force.

    The file is durable before the record that makes its key valid: a crash in between leaves a file that the next start
    replaces. On one machine a lost file is replaced by a new key as well: whoever can write the folder owns the records.
    """
    with catalog.read() as tx:
        administrator = accounts.find_by_login(tx, _LOGIN)
        if (
            administrator is not None
            and _has_key(tx, administrator.id)
            and (key_file.exists() or not catalog.is_sqlite)
        ):
            return
    with catalog.write() as tx:
        administrator, _ = accounts.ensure_administrator(tx, login=_LOGIN, name="Administrator")
        if _has_key(tx, administrator.id) and (key_file.exists() or not catalog.is_sqlite):
            return  # another process was first
        key = api_keys.new()
        _write_secret(key_file, key.text)
        accounts.add_key(
            tx,
            account_id=administrator.id,
            name="first start",
            prefix=key.prefix,
            digest=key.digest,
            scopes=[str(scope) for scope in ALL_SCOPES],
        )
    log.info("administrator_key_made", account_id=administrator.id, key_id=key.id)


def _reason(error: CatalogUnavailable) -> str:
    """The first line of what the driver says; it is told to who starts the process, and to nobody else."""
    said = str(getattr(error.__cause__, "orig", None) or error.detail)
    return said.strip().splitlines()[0].rstrip(".")


def _has_key(tx: Connection, account_id: str) -> bool:
    return any(key.revoked_at is None for key in accounts.keys_of(tx, account_id))


def _write_secret(path: Path, text: str) -> None:
    """Replaces the file in one step, mode 0600 from its first byte, durable when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
