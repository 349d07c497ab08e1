"""The folders that a machine needs, made or refused with what to do about it. It loads nothing heavy: the parent of all processes reads it too."""

from pathlib import Path
from typing import TYPE_CHECKING

from penstock.video.errors import ConfigurationError

if TYPE_CHECKING:
    from penstock.settings import Settings


def make_folders(settings: "Settings") -> None:
    """The data folder and its run folder, for this user alone: they hold keys, originals and records.

    Raises :class:`ConfigurationError` where they cannot be.
    """
    for folder in (settings.folder, settings.run_folder):
        _make(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder} cannot be made: {error.strerror}. Choose another with --data or PENSTOCK_DATA."
        ) from None
