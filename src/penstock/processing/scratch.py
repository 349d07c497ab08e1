"""Scratch space: one folder per attempt, gone when the attempt is.

Nothing below it is ever durable or referred to; a crash leaves folders behind that the next start of the same slot removes.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from penstock.video.errors import StorageUnavailable

_log = structlog.get_logger()


class Scratch:
    """The scratch space of one processing process."""

    def __init__(self, root: Path, slot: int) -> None:
        """``slot`` is the process's own, held by its lock: what lies in its folder belongs to nobody alive."""
        self.folder = root / str(slot)
        if self.folder.exists():
            _log.info("scratch_cleared", attempts=sum(1 for _ in self.folder.iterdir()))
            shutil.rmtree(self.folder)
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(mode=0o700)

    @contextmanager
    def attempt(self, task_id: str, attempt: int) -> Iterator[Path]:
        """A new empty folder, removed with all it holds at the end."""
        path = self.folder / f"{task_id}.{attempt}"
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise StorageUnavailable("The scratch space cannot be written to.") from error
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def free_bytes(self) -> int:
        """Room left on the scratch space's file system. Raises ``StorageUnavailable`` where it is not there any more."""
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as error:
            raise StorageUnavailable(
                "The folder of scratch space is gone. Was the data folder moved, or its disk unmounted? Put it back, or restart "
                "Penstock where it is now; no task is started until then."
            ) from error
