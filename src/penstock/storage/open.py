"""Turns a storage URL into a store. Each scheme is one adapter; callers see the port alone."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.storage.local import LocalStore
from penstock.storage.store import ObjectStore
from penstock.video.errors import ConfigurationError


def open_store(url: str) -> ObjectStore:
    """The store that ``url`` names: ``file:///an/absolute/folder``. Raises ``ConfigurationError`` on any other form."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise ConfigurationError(
            f"Storage URLs begin with file:// here, not with '{parts.scheme}:'.", code="storage_url_invalid"
        )
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query or parts.fragment:
        raise ConfigurationError(
            "A folder's storage URL has the form file:///absolute/folder.", code="storage_url_invalid"
        )
    return LocalStore(path)
