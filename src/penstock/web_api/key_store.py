"""API keys from the catalog, for the services that have one. Streaming has none and must not import this file."""

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from penstock.catalog import Catalog, accounts, clock
from penstock.catalog.records import ApiKey
from penstock.video.errors import TransientError
from penstock.web_api.authentication import KeyLookup

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyInForce:
    """An API key that is neither revoked nor expired, of an account that is not disabled."""

    id: str
    digest: str
    account_id: str
    role: str
    scopes: Collection[str]


def catalog_lookup(catalog: Catalog) -> KeyLookup:
    """Finds keys in the catalog, and notes about once a minute that a key is in use."""

    def lookup(digest: str) -> KeyInForce | None:
        with catalog.read() as tx:
            found = accounts.find_key(tx, digest)
            now = clock.now(tx)
        if found is None:
            return None
        key, account = found
        if accounts.key_needs_touch(key, now):
            _touch(catalog, key)
        return KeyInForce(key.id, key.digest, account.id, account.role, key.scopes)

    return lookup


def _touch(catalog: Catalog, key: ApiKey) -> None:
    try:
        with catalog.write() as tx:
            accounts.touch_key(tx, key.id)
    except TransientError as error:  # a reader must not fail because a note about it could not be written
        _log.warning("key_use_not_noted", key_id=key.id, code=error.code)
