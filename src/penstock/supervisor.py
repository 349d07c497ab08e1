"""Keeps the processes of one machine running: starts them, restarts what crashed, ends them together.

It knows argument lists, sockets and signals; it must never know what the processes do. The parent owns what has to
outlive a child: the listening sockets (so that a restart of ``web`` refuses no connection, it only delays it) and the
lock on the data folder (which every child holds too, so that it is free only when the last of them is gone).

Parent and child share one socket pair. The child writes ``ready`` once; when the parent dies, however it dies, the
child reads the end of the stream and ends itself as on SIGTERM. So nothing is left behind, on any Unix.
"""

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from penstock.video.errors import ConfigurationError

READY = b"ready\n"
CONTROL_OPTION = "--control-fd"

log = structlog.get_logger()


class AlreadyRunning(ConfigurationError):
    """Another ``up`` holds the data folder. Nothing was started."""

    code = "already_running"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to keep running. ``CONTROL_OPTION N`` is appended to ``argv``: the child's end of the socket pair."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    inherit: tuple[int, ...] = ()  # file descriptors that the child keeps, beside its control socket


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in seconds. Delay before the n-th restart in a row: ``min(first_delay * 2 ** (n - 1), longest_delay)``."""

    first_delay: float = 0.25  # short: most crashes are single, and viewers wait
    longest_delay: float = 15.0  # long enough that a process that cannot start costs next to nothing
    stable_after: float = 30.0  # a process that ran this long starts again at the first delay
    stop_timeout: float = (
        12.0  # SIGTERM to SIGKILL: a web process drains up to 5 s, a worker hands its claims back
    )


class DataLock:
    """The exclusive right to run on one data folder, held as long as any process keeps ``fd`` open."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def acquire(cls, path: Path, *, holder: Mapping[str, Any], patience: float = 0.0) -> "DataLock":
        """Takes the lock file at ``path`` and writes ``holder`` into it, for whoever comes second.

        Where the recorded holder is dead, its children may still be ending: then this waits up to ``patience`` seconds.
        Raises :class:`AlreadyRunning` with the first one's pid and URL.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            first = _wait_for_lock(fd, patience)
        except BaseException:
            os.close(fd)
            raise
        if first is not None:
            os.close(fd)
            pid = first.get("pid", "unknown")
            raise AlreadyRunning(
                f"Penstock already runs on this data folder: process {pid}, at {first.get('url', 'an unknown address')}. "
                f"Use that one, stop it (kill {pid}), or choose another folder with --data."
            )
        lock = cls(fd)
        lock.describe(holder)
        return lock

    def describe(self, holder: Mapping[str, Any]) -> None:
        """Writes who holds it, instead of what was said before."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, json.dumps(dict(holder)).encode(), 0)

    def release(self) -> None:
        """Gives up this process's share of the lock."""
        os.close(self.fd)


class Control:
    """The child's end: tells the parent that it is ready, and ends this process when the parent is gone."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # or a media tool started here would keep the channel open
        self._socket = socket.socket(fileno=fd)
        threading.Thread(target=self._watch, name="parent-watch", daemon=True).start()

    def ready(self) -> None:
        """Says that this process serves now."""
        with contextlib.suppress(OSError):
            self._socket.sendall(READY)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(64):
                pass
        os.kill(os.getpid(), signal.SIGTERM)


class _Child:
    """One process and its history of restarts."""

    def __init__(self, spec: ProcessSpec, policy: Policy) -> None:
        self.spec = spec
        self.policy = policy
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.ready = False
        self.restart_at: float | None = None
        self._started = 0.0
        self._crashes = 0

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(  # noqa: S603  (the argument list is our own)
                [*self.spec.argv, CONTROL_OPTION, str(theirs.fileno())],
                env=dict(self.spec.env),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *self.spec.inherit),
                process_group=0,  # Ctrl-C in a terminal reaches the parent alone, which then ends the children in order
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        self.control, self.ready, self.restart_at = ours, False, None
        self._started = time.monotonic()
        log.info("process_started", process=self.spec.name, pid=self.process.pid)

    def reap(self) -> int | None:
        """The exit status if the process has ended since the last call (negative: the signal that ended it)."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.process = None
        return status

    def schedule_restart(self) -> float:
        """Sets when to start again, and returns the delay in seconds."""
        stable = time.monotonic() - self._started >= self.policy.stable_after
        self._crashes = 1 if stable else self._crashes + 1
        doubled = self.policy.first_delay * 2.0 ** min(
            self._crashes - 1, 30
        )  # 30: far beyond any longest delay
        delay = min(doubled, self.policy.longest_delay)
        self.restart_at = time.monotonic() + delay
        return delay

    def signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Runs a set of processes until it is told to stop, or until one of them cannot even start."""

    def __init__(
        self, specs: Sequence[ProcessSpec], *, on_ready: Callable[[], None], policy: Policy | None = None
    ) -> None:
        """``on_ready`` is called once, when every process has said that it is ready."""
        self._policy = policy or Policy()
        self._children = [_Child(spec, self._policy) for spec in specs]
        self._on_ready = on_ready
        self._announced = False
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._kill_at: float | None = None
        self._exit_status = 0

    def run(self) -> int:
        """Blocks. Returns 0 after SIGINT, SIGTERM or SIGHUP, else the status of the process that could not start."""
        with self._signals() as wakeup:
            self._selector.register(wakeup, selectors.EVENT_READ)
            try:
                for child in self._children:
                    self._start(child)
                while any(child.process or child.restart_at for child in self._children):
                    self._step(wakeup)
            finally:
                for child in self._children:  # only after an error of our own: nothing may survive us
                    child.signal(signal.SIGKILL)
                self._selector.close()
        log.info("stopped")
        return self._exit_status

    def _step(self, wakeup: socket.socket) -> None:
        for key, _ in self._selector.select(self._timeout()):
            if key.fileobj is wakeup:
                for number in wakeup.recv(64):
                    self._on_signal(number)
            else:
                self._on_control(key.data)
        for child in self._children:
            self._reap(child)
        _bury_orphans({child.process.pid for child in self._children if child.process is not None})
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_all()
        for child in self._children:
            if child.restart_at is not None and now >= child.restart_at:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.start()
        if child.control is not None:
            self._selector.register(child.control, selectors.EVENT_READ, child)

    def _timeout(self) -> float | None:
        moments = [child.restart_at for child in self._children if child.restart_at is not None]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _on_signal(self, number: int) -> None:
        if number not in {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}:
            return  # SIGCHLD: every step looks for ended processes
        if self._stopping:
            log.warning("stopping_at_once", signal=signal.Signals(number).name)
            self._kill_all()
        else:
            log.info("stopping", signal=signal.Signals(number).name)
            self._stop()

    def _stop(self) -> None:
        self._stopping, self._kill_at = True, time.monotonic() + self._policy.stop_timeout
        for child in self._children:
            child.restart_at = None
            child.signal(signal.SIGTERM)

    def _kill_all(self) -> None:
        self._kill_at = None
        for child in self._children:
            if child.process is not None:
                log.warning("process_killed", process=child.spec.name, pid=child.process.pid)
                child.signal(signal.SIGKILL)

    def _on_control(self, child: _Child) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = child.control.recv(64) if child.control is not None else b""
        if not data:
            self._close_control(child)
        elif not child.ready:
            child.ready = True
            log.info("process_ready", process=child.spec.name)
            if not self._announced and all(each.ready for each in self._children):
                self._announced = True
                with contextlib.suppress(BrokenPipeError):  # whoever read the first line may have gone since
                    self._on_ready()

    def _close_control(self, child: _Child) -> None:
        if child.control is not None:
            self._selector.unregister(child.control)
            child.control.close()
            child.control = None

    def _reap(self, child: _Child) -> None:
        status = child.reap()
        if status is None:
            return
        self._close_control(child)
        if self._stopping:
            log.info("process_ended", process=child.spec.name, status=status)
        elif not self._announced:
            log.error("process_failed_to_start", process=child.spec.name, status=status)
            self._exit_status = status if status > 0 else 1
            self._stop()
        else:
            delay = child.schedule_restart()
            log.error("process_crashed", process=child.spec.name, status=status, restart_in_seconds=delay)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """A socket that becomes readable with the numbers of the signals that arrive."""
        receiver, sender = socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
        # What whoever started us ignores (nohup, a background job of a shell) stays ignored.
        numbers = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
        former = {number: signal.signal(number, lambda *_: None) for number in numbers}
        former_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        try:
            yield receiver
        finally:
            signal.set_wakeup_fd(former_fd)
            for number, handler in former.items():
                signal.signal(number, handler)
            receiver.close()
            sender.close()


def _bury_orphans(known: set[int]) -> None:
    """Takes leave of ended processes that are not our children's business any more.

    As the first process of a container we inherit whatever a killed child leaves, and nobody else would reap it.
    """
    if not hasattr(os, "waitid"):  # macOS before Python 3.13, where we are never the first process
        return
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in known:
                return  # the next step reaps it with its status
            os.waitpid(ended.si_pid, os.WNOHANG)


def _wait_for_lock(fd: int, patience: float) -> dict[str, Any] | None:
    """None once the lock is ours, else who holds it."""
    deadline = time.monotonic() + patience
    while not _try_lock(fd):
        first = _read_holder(fd)
        if _alive(first.get("pid")) or time.monotonic() >= deadline:
            return first
        time.sleep(0.1)
    return None


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ConfigurationError(f"The data folder cannot be locked: {error.strerror}.") from error
    return True


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _read_holder(fd: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}
