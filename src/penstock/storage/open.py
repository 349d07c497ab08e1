"""Turns the configuration of a store into the store. Each scheme is one adapter; callers see the ports alone."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.storage.s3_access import Pace, StoreConfig
from penstock.storage.staging import Staging
from penstock.storage.store import ObjectStore
from penstock.video.errors import ConfigurationError


def open_store(config: StoreConfig, pace: Pace) -> ObjectStore:
    """The store that ``config`` names; ``pace`` is for whom it is opened. Raises ``ConfigurationError``."""
    scheme = urlsplit(config.url).scheme
    if scheme == "s3":
        from penstock.storage.s3 import S3Store  # who keeps a folder loads no client of buckets

        return S3Store(config, pace)
    if scheme != "file":
        raise ConfigurationError(
            f"A storage URL begins with file:// or s3://, not with '{scheme}:'.", code="storage_url_invalid"
        )
    return LocalStore(_folder(config.url))


def open_staging(sources: ObjectStore) -> Staging:
    """The staging that belongs to a store of sources."""
    if isinstance(sources, LocalStore):
        return FolderStaging(sources)
    from penstock.storage.bucket_staging import BucketStaging
    from penstock.storage.s3 import S3Store

    assert isinstance(sources, S3Store)
    return BucketStaging(sources)


def _folder(url: str) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query or parts.fragment:
        raise ConfigurationError(
            "A folder's storage URL has the form file:///absolute/folder.", code="storage_url_invalid"
        )
    return path
