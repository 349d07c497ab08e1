"""The only file that starts a media process, and the one that makes sure it ends.

A run blocks its thread: the process is tied to this thread's life by the kernel, so the thread that starts it must be
the thread that waits. All output comes through pipes and is handed to the caller's sinks here; back-pressure is theirs.
This file knows nothing of what the commands mean.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from penstock.ffmpeg import launch, sandbox
from penstock.ffmpeg.commands import PROGRESS_PIPE, Command
from penstock.ffmpeg.config import Isolation
from penstock.ffmpeg.progress import Progress, ProgressParser
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import Cancelled, ToolError, ToolFailed

Sink = Callable[[bytes], None]

_LAUNCHER = str(Path(launch.__file__).resolve())
_PATIENCE = (
    0.1  # seconds between looks at cancellation and clocks while nothing arrives: "at once" for a person
)
_READ = 1 << 18  # bytes taken from a pipe at a time
# Bytes a pipe may hold, so that the encoder runs on while a segment is being stored. All pipes of a user share 64 MiB, and
# who goes beyond gets tiny ones (pipe(7), pipe-user-pages-soft).
_PIPE = 1 << 18
# Seconds between two looks at a pipe whose bytes nobody waits for; a line per picture would wake this thread for each.
_SELDOM = 0.5
# The last bytes of what a tool complains about; broken files make it complain without end.
_MESSAGES = 64 << 10
_ENVIRONMENT = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "AV_LOG_FORCE_NOCOLOR": "1",
}  # no credentials, no proxies, no surprises


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended. The status alone says little: a decoder that lost half the pictures ends with 0."""

    status: int  # exit status, or minus the signal's number
    messages: str  # the end of what it wrote to its standard error
    seconds: float  # wall clock


def run(
    tools: Tools,
    command: Command,
    sinks: Mapping[int, Sink],
    *,
    cancel: Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    deadline: float | None = None,
    nice: int = 0,
    keep: int = _MESSAGES,
    seldom: Collection[int] = (),
) -> Finished:
    """Run a command to its end, feeding what it writes to descriptor ``n`` to ``sinks[n]`` (1 is standard output).

    ``keep`` bytes from the end of its messages are returned. ``nice`` is added to this process's niceness. Pipes in ``seldom``
    are read twice a second: for what trickles through them and is only looked at in the end.

    Raises ``Cancelled`` once ``cancel`` is set; ``ToolFailed`` with code ``tool_stalled`` (nothing moved for the
    configured time), ``tool_deadline`` (``deadline`` seconds are over), ``tool_output_too_large`` or ``tool_cpu_limit``;
    ``ToolError`` where the process could not be started as configured. Whatever a sink raises ends the run and is
    raised here. In every case no process of the run is left when this returns.
    """
    running = _Running(tools, command, sinks, on_progress, nice, keep, seldom)
    try:
        running.watch(cancel, deadline)
        return running.finish()
    finally:
        running.end()


class _Running:
    """One process group, its pipes and what has come out of them."""

    def __init__(
        self,
        tools: Tools,
        command: Command,
        sinks: Mapping[int, Sink],
        on_progress: Callable[[Progress], None] | None,
        nice: int,
        keep: int,
        seldom: Collection[int],
    ) -> None:
        self._config = tools.config
        self._in_bubblewrap = tools.isolation is Isolation.BUBBLEWRAP
        self._started = self._moved = time.monotonic()
        self._written = 0
        self._messages = b""
        self._keep = keep
        self._last_progress: Progress | None = None
        self._on_progress = on_progress
        self._parser = ProgressParser()
        self._selector = selectors.DefaultSelector()
        self._seldom: set[int] = set()
        self._resting: list[selectors.SelectorKey] = []  # of those, the ones that were just read
        self._rested = self._started
        readers: dict[int, Sink] = {}
        writers: list[int] = []
        try:
            for target in range(launch.FIRST_PIPE, launch.FIRST_PIPE + command.pipes):
                reader, writer = os.pipe()
                readers[reader] = self._progress if target == PROGRESS_PIPE else self._counted(sinks[target])
                writers.append(writer)
                if target in seldom:
                    self._seldom.add(reader)
                _enlarge(reader)
            self._process = _start(tools, command, writers, nice)
        except BaseException:
            for reader in readers:
                os.close(reader)
            raise
        finally:
            for writer in writers:
                os.close(writer)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        readers[self._process.stdout.fileno()] = self._counted(sinks.get(1, lambda _: None))
        readers[self._process.stderr.fileno()] = self._complaint
        self._own_readers = list(readers)[: command.pipes]
        for reader, sink in readers.items():
            self._selector.register(reader, selectors.EVENT_READ, sink)

    def watch(self, cancel: Event | None, deadline: float | None) -> None:
        """Feed the sinks until every pipe is closed."""
        while self._selector.get_map():
            for key, _ in self._selector.select(_PATIENCE):
                data = os.read(key.fd, _READ)
                if data:
                    key.data(data)
                if not data or key.fd in self._seldom:
                    self._selector.unregister(key.fd)
                if data and key.fd in self._seldom:
                    self._resting.append(key)
                _check(cancel)
            _check(cancel)
            now = time.monotonic()
            if now - self._rested > _SELDOM or not self._selector.get_map():
                self._rested = now
                self._look_again()
            if deadline is not None and now - self._started > deadline:
                raise ToolFailed(f"A media tool needed more than {deadline:.0f} s.", code="tool_deadline")
            if now - self._moved > self._config.stall_seconds:
                raise ToolFailed(
                    f"A media tool made no progress for {self._config.stall_seconds:.0f} s.",
                    code="tool_stalled",
                )

    def _look_again(self) -> None:
        resting, self._resting = self._resting, []
        for key in resting:
            self._selector.register(key.fd, key.events, key.data)

    def finish(self) -> Finished:
        """Wait for the process, whose pipes are all closed."""
        try:
            status = self._process.wait(self._config.stall_seconds)
        except subprocess.TimeoutExpired:
            raise ToolFailed(
                "A media tool closed its outputs and did not end.", code="tool_stalled"
            ) from None
        messages = self._messages.decode("utf-8", "replace")
        if status == launch.REFUSED or (
            self._in_bubblewrap and status == 1 and messages.startswith("bwrap: ")
        ):
            raise ToolError(f"A media process could not be started: {messages.strip()[-500:]}")
        if status in {
            -signal.SIGXCPU,
            128 + signal.SIGXCPU,
        }:  # bubblewrap reports a signal as 128 and its number
            raise ToolFailed("A media tool used up its CPU time.", code="tool_cpu_limit")
        return Finished(status, messages, time.monotonic() - self._started)

    def end(self) -> None:
        """Kill what is left of the group and close what is ours."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._selector.close()
        for reader in self._own_readers:
            os.close(reader)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _counted(self, sink: Sink) -> Sink:
        def feed(data: bytes) -> None:
            self._moved = time.monotonic()
            self._written += len(data)
            if self._written > self._config.output_bytes:
                raise ToolFailed("A media tool wrote more than it may.", code="tool_output_too_large")
            sink(data)

        return feed

    def _complaint(self, data: bytes) -> None:
        self._messages = (self._messages + data)[-self._keep :]

    def _progress(self, data: bytes) -> None:
        for progress in self._parser.feed(data):
            if self._last_progress is None or _position(progress) != _position(self._last_progress):
                self._moved = time.monotonic()
            self._last_progress = progress
            if self._on_progress is not None:
                self._on_progress(progress)


def _position(progress: Progress) -> tuple[int, float | None]:
    return progress.frame, progress.out_seconds


def _check(cancel: Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled("The work was called off.")


def _enlarge(pipe: int) -> None:
    """Ask for a larger pipe where the system has them; the default of 64 KiB is good enough where it refuses."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _start(tools: Tools, command: Command, pipes: list[int], nice: int) -> subprocess.Popen[bytes]:
    config = tools.config
    options = launch.pack(
        pipes,
        nice=nice,
        cpu_seconds=config.cpu_seconds,
        memory_bytes=config.memory_bytes,
        no_network=tools.isolation is Isolation.NAMESPACE,
        parent=os.getpid(),
    )
    program = tools.ffmpeg if command.program == "ffmpeg" else tools.ffprobe
    isolated = sandbox.wrap(tools.isolation, tools.bubblewrap, program, command.arguments, command.reads)
    try:
        return subprocess.Popen(  # noqa: S603 - written by commands.py from validated values; no shell
            [sys.executable, "-I", "-S", _LAUNCHER, options, *isolated],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=pipes,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,  # its own group, so that one signal reaches all of it and none of ours
        )
    except OSError as error:  # no process or memory to be had, or the interpreter was replaced under our feet
        raise ToolError(f"A media process could not be started: {error}") from error
