"""Files that the system sends from where they lie, without their bytes passing through this process.

``sendfile`` takes what is in memory within microseconds and waits for the disk otherwise, which nobody may do on the event loop:
so the system is asked first whether it has the bytes, and a thread has them fetched where it has not.
"""

import os

# How much is asked for and fetched at once: what one viewer's turn may cost the others is sending so much from memory.
_PIECE = 1 << 20
_LOADED = 256 << 10  # bytes of a thread's buffer
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux; elsewhere there is no asking
_PROBE = [bytearray(1)]


class OpenFile:
    """A descriptor that is closed when nobody refers to it any more: answers share a file that is asked for often."""

    __slots__ = ("descriptor", "in_memory")

    def __init__(self, descriptor: int) -> None:
        """It belongs to this object from now on."""
        self.descriptor = descriptor
        # Up to where the system said last that it has the bytes, and when: nobody asks twice for the same moment.
        self.in_memory = (0, 0.0)

    def __del__(self) -> None:
        os.close(self.descriptor)


class FileShorter(OSError):
    """It ends before what was announced does."""


class FilePart:
    """Bytes of an open file on their way to one client."""

    __slots__ = ("_descriptor", "_end", "_file", "_in_memory", "_position", "_start")

    def __init__(self, file: OpenFile, start: int, end: int) -> None:
        """The bytes from ``start`` up to, not including, ``end``."""
        self._file = file
        self._descriptor = file.descriptor
        self._start = self._position = start
        self._in_memory = start  # up to where the system said that it has the bytes
        self._end = end

    @property
    def sent(self) -> int:
        """Bytes."""
        return self._position - self._start

    def ready(self, moment: float) -> bool:
        """Whether :meth:`send` would not wait for the disk; where it would, :meth:`load` is to be called in a thread.

        What the system said of the file within the same ``moment`` it is not asked again, whichever client is sent to.
        """
        if self._position < self._in_memory:
            return True
        end = min(self._position + _PIECE, self._end)
        known, as_of = self._file.in_memory
        if as_of == moment and end <= known:
            self._in_memory = end
            return True
        if _NOWAIT is not None:
            try:
                # Files are read from the front and ahead, so where the last byte is, those before nearly always are.
                os.preadv(self._descriptor, _PROBE, end - 1, _NOWAIT)
            except BlockingIOError:
                return False
            except OSError:
                pass  # the file system knows no asking; what is wrong with the file itself, sending tells
        self._in_memory = end
        self._file.in_memory = (end, moment)
        return True

    def load(self) -> None:
        """Has the system read the next piece. Blocking. Raises OSError where the disk fails."""
        at, end = self._position, min(self._position + _PIECE, self._end)
        buffer = memoryview(bytearray(_LOADED))
        while at < end and (read := os.preadv(self._descriptor, [buffer[: end - at]], at)):
            at += read
        self._in_memory = end

    def send(self, to: int) -> bool:
        """After :meth:`ready` said so: sends what the socket ``to`` takes. Whether that was the last of it.

        Raises BlockingIOError where the socket takes nothing now, ``FileShorter``, and OSError where it or the file is broken.
        """
        count = os.sendfile(to, self._descriptor, self._position, self._in_memory - self._position)
        self._position += count
        if self._position >= self._end:
            return True
        if not count:
            raise FileShorter("the file has become shorter")
        return False
