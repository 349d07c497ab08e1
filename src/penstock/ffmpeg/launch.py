"""Run as a program by ``run.py``: prepare this process to be a harmless media process, then become it.

A program of its own because Python must not run code between fork and exec in a process with threads. It uses the
standard library alone and is started with ``python -I -S``, which takes some ten milliseconds. Modules that would double that
(json, typing, contextlib, signal) are not imported: somebody waits for a first segment.

Arguments: the options as :func:`pack` writes them, then the command. Anything that fails here ends with status 125.
"""

import ctypes
import fcntl
import os
import resource
import sys

REFUSED = 125  # exit status for "the command was never started", as ``env`` and ``timeout`` use it
FIRST_PIPE = 3  # the pipes appear from this descriptor on, in order
_SIGKILL = 9
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000  # linux/sched.h


def pack(pipes: list[int], **options: int) -> str:
    """The first argument of the program: its inherited pipes, and ``nice``, ``cpu_seconds``, ``memory_bytes``, ``no_network``, ``parent``."""
    return ",".join(
        [f"{name}={value:d}" for name, value in options.items()] + [f"pipe={pipe}" for pipe in pipes]
    )


def main(arguments: list[str]) -> None:
    """Limit, isolate, tie to the parent, and become the command."""
    packed = [item.split("=") for item in arguments[0].split(",")]
    options = {name: int(value) for name, value in packed}
    _arrange_pipes([int(value) for name, value in packed if name == "pipe"])
    _step_back(options["nice"])
    _limit(options)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if options["no_network"]:
            _leave_network(libc)
        _die_with_parent(libc, options["parent"])
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - the command is written by commands.py, no shell reads it


def _arrange_pipes(pipes: list[int]) -> None:
    """Move the inherited pipes to 3, 4, 5...: so commands can name them without knowing the parent's numbers."""
    # Beyond their final places first, so that none is overwritten before it was moved.
    high = [fcntl.fcntl(pipe, fcntl.F_DUPFD, FIRST_PIPE + len(pipes)) for pipe in pipes]
    for pipe in pipes:
        os.close(pipe)
    for target, source in enumerate(high, start=FIRST_PIPE):
        os.dup2(source, target, inheritable=True)
        os.close(source)


def _step_back(nice: int) -> None:
    """Let others go first. Linux may share the processors between sessions before it looks at niceness (sched(7), autogroup).

    This process leads a session of its own: without the second line an encode at 19 has as much as the web services.
    """
    _tell("/proc/self/autogroup", os.nice(nice))


def _limit(options: dict[str, int]) -> None:
    limits = {
        resource.RLIMIT_CPU: options["cpu_seconds"],
        resource.RLIMIT_AS: options["memory_bytes"],
        resource.RLIMIT_FSIZE: 0,  # everything leaves through pipes: the process needs to write no file at all
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    # Where memory runs out, the kernel takes this process and not the worker. Before the limit on what it may write.
    _tell("/proc/self/oom_score_adj", 500)
    for limit, value in limits.items():
        try:  # noqa: SIM105 - contextlib is one of the modules that cost time
            # A second above, or the kernel kills without the signal that tells why.
            resource.setrlimit(limit, (value, value + 1 if limit == resource.RLIMIT_CPU else value))
        except (OSError, ValueError):  # macOS has no address space limit; a lower one stays
            pass


def _tell(path: str, value: int) -> None:
    """Writes a number to a file of the kernel's, where there is such a file."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(descriptor, str(value).encode())
    except OSError:  # it may not be this process's to say
        pass
    finally:
        os.close(descriptor)


def _leave_network(libc: ctypes.CDLL) -> None:
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET
    if libc.unshare(flags) != 0:
        sys.stderr.write(f"no network namespace: {os.strerror(ctypes.get_errno())}\n")
        raise SystemExit(REFUSED)


def _die_with_parent(libc: ctypes.CDLL, parent: int) -> None:
    """Ask the kernel for SIGKILL when the thread that started us ends. After ``unshare``, which forgets the wish."""
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the wish was heard
        raise SystemExit(REFUSED)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"cannot start: {error}\n")
        raise SystemExit(REFUSED) from error
