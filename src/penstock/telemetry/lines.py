"""Lines on their way out, in the order in which they were logged; those of a frequent logger wait for company.

A line of a frequent logger is also made in a shorter way, where nothing in it can be secret. It knows texts and a stream, and
decides nothing about either's form but for that.
"""

import atexit
import time
from collections.abc import Mapping
from functools import lru_cache
from threading import Event, Lock, Thread
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.contextvars import get_contextvars

from penstock.telemetry.redaction import gathered, has_mark, is_suspect, names_secret

FIRST = ("time", "level", "event", "service", "node")  # on every line, and in this order
_FIXED = frozenset({"time", "level", "event"})
FREQUENT = "frequent"
ENCODER = msgspec.json.Encoder(enc_hook=str)
_MOST_LOGGERS = 8192  # of which it is remembered what all their lines have, about half a kilobyte each
_WAIT_S = 0.1  # how long a line waits for others at most
_MOST_WAITING = (
    8192  # lines, a few megabytes: whoever writes one more waits for the file, as with every other line
)


class Lines:
    """Where lines go, in the order in which they were logged; those of a frequent logger wait for company."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._waiting: list[str] = []
        self._some = Event()
        self._closing = Event()
        self._writing = Lock()
        self._writer: Thread | None = None

    def logger(self, *names: str) -> Any:
        """What structlog writes with; it passes on what ``get_logger`` was called with."""
        return Patient(self) if names == (FREQUENT,) else structlog.WriteLogger(cast("TextIO", self))

    def write(self, text: str) -> None:
        """Writes what waits, and then ``text``."""
        with self._writing:
            self._write(text)

    def flush(self) -> None:
        """See the standard library's streams."""
        self._output.flush()

    def put(self, line: str) -> None:
        """Lets a line wait. Neither a lock nor the file is waited for, unless too many wait already."""
        self._waiting.append(line)
        if not self._some.is_set():
            self._some.set()
            if self._writer is None:
                self._begin()
        if len(self._waiting) > _MOST_WAITING:
            self.write("")

    def close(self) -> None:
        """Writes what waits."""
        self._closing.set()
        self._some.set()
        if self._writer is not None:
            self._writer.join()
            atexit.unregister(self.close)
        self.write("")

    def _begin(self) -> None:
        self._writer = Thread(target=self._run, name="log lines", daemon=True)
        self._writer.start()
        atexit.register(self.close)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._closing.wait(_WAIT_S)
            self._some.clear()  # first, so that a line which comes while others are written is not forgotten
            try:
                self.write("")
            except OSError:  # a full disk: these lines are lost, as any line then is; later ones may not be
                continue

    def _write(self, text: str) -> None:
        """To be called with the lock. Lines are only ever added at the end, by whoever, and taken from the front here."""
        count = len(self._waiting)
        if count:
            text = "".join((*self._waiting[:count], text))
            del self._waiting[:count]
        if text:
            self._output.write(text)
            self._output.flush()


class Patient:
    """structlog's side of lines that may wait. A warning does not."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def info(self, line: str) -> None:
        """Lets the line wait."""
        self._lines.put(f"{line}\n")

    debug = info

    def error(self, line: str) -> None:
        """Writes the line now."""
        self._lines.write(f"{line}\n")

    warning = critical = exception = error


class ShortWay:
    """The line of a frequent logger from facts in which nothing can be secret, as the processors would make it."""

    def __init__(self, constants: Mapping[str, str]) -> None:
        self._constants = constants
        # What the lines of a logger have in common, by its context: that, its names, and their part of a line.
        self._same: dict[int, tuple[Mapping[str, Any], tuple[str, ...], str]] = {}

    def line(self, context: Mapping[str, Any], event: str, facts: Mapping[str, Any]) -> str | None:
        """None where it has to be looked at more closely."""
        known = self._same.get(id(context))
        if known is None or known[0] is not context:
            known = self._common(context)
            if known is None:
                return None
        if not _are_plain(tuple(facts), known[1]) or get_contextvars():
            return None
        try:
            said = ENCODER.encode(facts).decode()
        except (ValueError, TypeError, msgspec.MsgspecError):
            return None
        # Within an object are names that nobody looked at, and what is escaped could be anything: so the only white space is this.
        if " " in said or "\\" in said or "{" in said[1:] or not said.isascii() or has_mark(said):
            return None
        rest = f",{said[1:]}" if facts else "}"
        return f'{{"time":"{now()}","level":"info","event":"{event}",{known[2]}{rest}'

    def _common(self, context: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...], str] | None:
        texts: list[str] = []
        if not gathered(context, texts) or is_suspect("\0".join(texts)) or not _FIXED.isdisjoint(context):
            return None
        if len(self._same) >= _MOST_LOGGERS:
            self._same.clear()
        said = ENCODER.encode({**self._constants, **context, **self._constants}).decode()[1:-1]
        made = self._same[id(context)] = context, tuple(context), said
        return made


def now() -> str:
    """UTC, to the microsecond."""
    nanoseconds = str(time.time_ns())
    return f"{_second(nanoseconds[:-9])}.{nanoseconds[-9:-3]}Z"


@lru_cache(maxsize=2)
def _second(seconds: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(seconds)))


@lru_cache(maxsize=1024)
def _are_plain(names: tuple[str, ...], taken: tuple[str, ...]) -> bool:
    """Whether nothing of these names is secret, or has a place of its own on every line or on those of its logger."""
    return not names_secret(names) and not {*FIRST, *taken}.intersection(names)
