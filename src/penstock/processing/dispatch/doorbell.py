"""The doorbell: how one process tells the processing processes of the same machine that there is something to look at.

A ring carries nothing. Whoever hears it looks at the records, so a ring may be lost, repeated or late without harm; the
sweep finds what a lost one would have announced. It is a named pipe per processing process below the run folder: unlike a
Unix socket, its path may be as long as the user's data folder makes it.
"""

import contextlib
import os
import select
from pathlib import Path

_PATTERN = "doorbell-*"
_RING = b"!"


class Doorbell:
    """The outside: rings at every processing process of this machine. Cheap, never blocks, never raises."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder

    def ring(self) -> None:
        """Call it after a commit that queued, cancelled or deleted something."""
        for path in self._run_folder.glob(_PATTERN):
            # ENXIO: nobody listens (the next start looks at the records anyway). EAGAIN: it rings already.
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    os.write(descriptor, _RING)
                finally:
                    os.close(descriptor)


class Listener:
    """The inside, held by one processing process for as long as it runs."""

    def __init__(self, run_folder: Path, slot: int) -> None:
        """``slot`` is the process's own, so that no two processes listen on one pipe (a byte would wake only one)."""
        path = run_folder / _PATTERN.replace("*", str(slot))
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # Opened for writing too: so the pipe never ends, and this process rings at itself through the same descriptor.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def wait(self, timeout: float) -> bool:
        """Returns after a ring (True; every ring so far counts as heard) or after ``timeout`` seconds (False)."""
        if not self._poll.poll(max(0.0, timeout) * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            while os.read(self._descriptor, 4096):
                pass
        return True

    def ring(self) -> None:
        """As :meth:`Doorbell.ring`, for this process alone."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._descriptor, _RING)

    def close(self) -> None:
        """Stops listening. The pipe stays: removing it could take it from a successor that has just opened it."""
        os.close(self._descriptor)
