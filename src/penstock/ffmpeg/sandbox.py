"""The command line that keeps a media process away from the rest of the machine. Pure; ``run.py`` executes it."""

from collections.abc import Sequence
from pathlib import Path

from penstock.ffmpeg.config import Isolation

_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives", "/nix/store")


def wrap(
    isolation: Isolation,
    bubblewrap: Path | None,
    program: Path,
    arguments: Sequence[str],
    reads: Sequence[Path],
) -> list[str]:
    """The command that runs ``program`` under ``isolation``, able to read ``reads`` and to write to its pipes only."""
    command = [str(program), *arguments]
    if isolation is not Isolation.BUBBLEWRAP or bubblewrap is None:
        return command
    visible: list[str] = []
    for (
        path
    ) in _SYSTEM:  # shared libraries of a tool that is not statically linked; absent ones are passed over
        visible += ["--ro-bind-try", path, path]
    for file in (program, *reads):
        visible += ["--ro-bind", str(file), str(file)]
    return [
        str(bubblewrap),
        "--unshare-all",  # own network (none), processes, users, host name, shared memory
        "--die-with-parent",  # kills the tool too when the wrapper is killed
        "--cap-drop",
        "ALL",
        *visible,
        "--proc",
        "/proc",  # the tool counts processors there
        "--dev",
        "/dev",
        "--chdir",
        "/",
        "--",
        *command,
    ]
