"""The parts of one process, built from settings: each at its first use, so that no process has what it does not need."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, cast

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog
from penstock.processing.dispatch.doorbell import Doorbell
from penstock.settings import Settings
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.open import open_staging, open_store
from penstock.storage.s3_access import Pace, StoreConfig
from penstock.storage.staging import Staging
from penstock.storage.store import ObjectStore
from penstock.video.errors import ConfigurationError, StorageFull, StorageUnavailable

if TYPE_CHECKING:
    from penstock.storage.bucket_staging import BucketStaging


class Parts:
    """Shared by all services of a process. Making it touches nothing; :meth:`close` lets go of what was used."""

    def __init__(self, settings: Settings, *, pace: Pace = Pace.WORK) -> None:
        """``pace``: for whom the outputs are read."""
        self._pace = pace
        self.settings = settings
        self._closers: list[Callable[[], None]] = []

    @cached_property
    def catalog(self) -> Catalog:
        """Records. Raises :class:`ConfigurationError` where the database cannot be what the URL says."""
        catalog = Catalog.open(self.settings.catalog)
        self._closers.append(catalog.close)
        return catalog

    @cached_property
    def sources(self) -> ObjectStore:
        """Originals. Raises :class:`ConfigurationError` where they cannot be kept."""
        return _opened(self.settings.sources, Pace.WORK, "originals", "PENSTOCK_SOURCES_URL")

    @cached_property
    def outputs(self) -> ObjectStore:
        """What is played. Raises :class:`ConfigurationError` where it cannot be kept."""
        return _opened(self.settings.outputs, self._pace, "what is played", "PENSTOCK_OUTPUTS_URL")

    @cached_property
    def staging(self) -> Staging:
        """Where uploads lie until they are whole: beside the sources, so that becoming one needs no copy."""
        return open_staging(self.sources)

    @property
    def bucket(self) -> "BucketStaging | None":
        """The staging, where it is a bucket that clients can send to."""
        return None if isinstance(self.staging, FolderStaging) else cast("BucketStaging", self.staging)

    @cached_property
    def keyring(self) -> Keyring:
        """Signing keys, made at the first start."""
        return Keyring(self.settings.access.keyring_path)

    @cached_property
    def announce(self) -> Callable[[], None]:
        """Rings for the processing processes of this machine; to be called after a commit that concerns them."""
        return Doorbell(self.settings.run_folder).ring

    def close(self) -> None:
        """Ends connections, in reverse order of their making."""
        while self._closers:
            self._closers.pop()()


def _opened(config: StoreConfig, pace: Pace, purpose: str, setting: str) -> ObjectStore:
    try:
        return open_store(config, pace)
    except (StorageUnavailable, StorageFull) as error:
        reason = getattr(error.__cause__, "strerror", None) or error.detail
        raise ConfigurationError(
            f"The store of {purpose}, {config.url}, cannot be opened: {str(reason).rstrip('.')}. Let this user write there, or "
            f"name another place in {setting}.",
            code=error.code,
        ) from error
