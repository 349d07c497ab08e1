"""The whole platform in a folder of its own, for as long as a measurement takes."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.running import Platform


@contextmanager
def up(settings: Mapping[str, str] | None = None, *, folder: Path | None = None) -> Iterator[Platform]:
    """Serves when this begins; nothing is left behind, on the disk neither. ``folder``: where its own folder is made."""
    with TemporaryDirectory(dir=folder) as name:
        platform = Platform(Path(name).resolve() / "data", settings)
        try:
            yield platform.start()
        finally:
            if platform.process is not None:
                # Not as Ctrl-C does: a benchmark in the background of a shell has that ignored, and hands it down.
                platform.process.send_signal(signal.SIGTERM)
                platform.process.wait(60)
            platform.close()
