import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.supervisor import AlreadyRunning, DataLock

PATIENCE = 30.0  # seconds; how long a condition may take on a busy machine before the test fails

# A child that serves until SIGTERM, says each start in a file, and misbehaves where its mode says so.
CHILD = """
import os, signal, sys, threading
from pathlib import Path
from penstock.supervisor import Control
folder, name, mode, control = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[5])
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: (folder / "asked").touch() if mode == "stubborn" else ended.set())
signal.signal(signal.SIGINT, lambda *_: (folder / "interrupted").touch())
with (folder / name).open("a") as starts:
    starts.write(f"{os.getpid()}\\n")
if mode == "broken":
    sys.exit(7)
if mode == "parent":
    import subprocess
    with (folder / "grandchildren").open("a") as known:
        known.write(f"{subprocess.Popen(['sleep', '0.5']).pid}\\n")
Control(control).ready()
while not ended.wait(0.05):
    pass
(folder / f"{name}.clean").touch()
"""

PARENT = """
import ctypes, json, os, sys
from pathlib import Path
from penstock.supervisor import DataLock, Policy, ProcessSpec, Supervisor
folder, modes = Path(sys.argv[1]), json.loads(sys.argv[2])
if "parent" in modes.values():
    PR_SET_CHILD_SUBREAPER = 36  # as the first process of a container is for all below it
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
lock = DataLock.acquire(folder / "run" / "up.lock", holder={"pid": os.getpid(), "url": "http://here"}, patience=20)
specs = [
    ProcessSpec(name, (sys.executable, str(folder / "child.py"), str(folder), name, mode), os.environ, (lock.fd,))
    for name, mode in modes.items()
]
policy = Policy(first_delay=0.05, longest_delay=0.2, stable_after=60, stop_timeout=float(sys.argv[3]))
sys.exit(Supervisor(specs, on_ready=(folder / "ready").touch, policy=policy).run())
"""


def eventually(condition: Callable[[], Any]) -> Any:
    """The first true answer of ``condition``; fails when there is none within the patience of the tests."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    return pytest.fail("the condition was not met in time")


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Family:
    """A supervisor in a process of its own, with children that tell what happened to them through files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "child.py").write_text(CHILD)
        (folder / "parent.py").write_text(PARENT)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, stop_timeout: float = 20.0, **modes: str) -> subprocess.Popen[bytes]:
        """Starts the supervisor with one child per keyword."""
        argv = [
            sys.executable,
            str(self.folder / "parent.py"),
            str(self.folder),
            json.dumps(modes),
            str(stop_timeout),
        ]
        process = subprocess.Popen(argv)
        self.processes.append(process)
        return process

    def pids(self, name: str) -> list[int]:
        """Every pid under which the child was started so far."""
        path = self.folder / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def ready(self) -> bool:
        """Whether all children have said that they serve."""
        return (self.folder / "ready").exists()


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    """A supervisor to start; whatever a test leaves running is killed."""
    family = Family(tmp_path)
    yield family
    for process in family.processes:
        process.kill()
        process.wait()
    for name in ("a", "b"):
        for pid in filter(alive, family.pids(name)):
            os.kill(pid, signal.SIGKILL)


def test_it_says_ready_once_all_are_and_ends_them_cleanly(family: Family) -> None:
    """SIGTERM to the supervisor ends every child in its own way, and the exit status is 0."""
    parent = family.start(a="good", b="good")
    eventually(family.ready)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(PATIENCE) == 0
    assert (family.folder / "a.clean").exists()
    assert (family.folder / "b.clean").exists()


def test_an_interrupt_of_the_terminal_reaches_the_supervisor_alone(family: Family) -> None:
    """Ctrl-C signals a whole process group; children are outside it and are ended in order."""
    parent = family.start(a="good")
    eventually(family.ready)
    assert os.getpgid(family.pids("a")[0]) != os.getpgid(parent.pid)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(PATIENCE) == 0
    assert not (family.folder / "interrupted").exists()


def test_a_crashed_child_is_started_again(family: Family) -> None:
    """A killed process comes back under a new pid; its neighbour is left alone."""
    family.start(a="good", b="good")
    eventually(family.ready)
    for _ in range(3):
        known = family.pids("a")
        os.kill(known[-1], signal.SIGKILL)
        eventually(lambda: len(family.pids("a")) > len(known))  # noqa: B023  (awaited within the turn)
    assert len(family.pids("a")) == 4
    assert len(family.pids("b")) == 1


def test_a_child_that_cannot_start_ends_everything_with_its_status(family: Family) -> None:
    """A first start that fails is a configuration to repair, not something to try for ever."""
    parent = family.start(a="good", b="broken")
    assert parent.wait(PATIENCE) == 7
    assert len(family.pids("b")) == 1
    assert not any(map(alive, family.pids("a")))


def test_a_child_that_does_not_stop_is_killed(family: Family) -> None:
    """The end comes in bounded time."""
    parent = family.start(stop_timeout=0.2, a="stubborn")
    eventually(family.ready)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(PATIENCE) == 0
    assert not any(map(alive, family.pids("a")))


def test_a_second_signal_ends_at_once(family: Family) -> None:
    """Whoever presses Ctrl-C twice does not wait for the stop timeout."""
    parent = family.start(stop_timeout=3600, a="stubborn")
    eventually(family.ready)
    parent.send_signal(signal.SIGINT)
    eventually((family.folder / "asked").exists)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(PATIENCE) == 0


def test_children_die_with_their_parent_and_free_the_folder(family: Family) -> None:
    """After kill -9 of the supervisor its children end cleanly, and a new one may start on the same folder."""
    parent = family.start(a="good", b="good")
    eventually(family.ready)
    parent.kill()
    eventually(lambda: not any(map(alive, family.pids("a") + family.pids("b"))))
    assert (family.folder / "a.clean").exists()
    family.start(a="good", b="good")
    eventually(lambda: len(family.pids("a")) == 2)


def test_what_a_killed_child_leaves_is_reaped(family: Family) -> None:
    """As the first process of a container, the supervisor inherits grandchildren; none of them stays as a zombie."""
    family.start(a="parent")
    eventually(family.ready)
    grandchild = int((family.folder / "grandchildren").read_text().split()[0])
    os.kill(family.pids("a")[0], signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{grandchild}").exists())


def test_an_orphan_keeps_the_folder_locked(tmp_path: Path) -> None:
    """The lock is free only when the last process that holds it is gone, not when the first one dies."""
    path = tmp_path / "run" / "up.lock"
    lock = DataLock.acquire(path, holder={"pid": 2**22 + 1, "url": "http://here"})  # no such process
    heir = os.dup(lock.fd)
    lock.release()
    with pytest.raises(AlreadyRunning):
        DataLock.acquire(path, holder={}, patience=0.3)
    os.close(heir)
    DataLock.acquire(path, holder={}).release()


def test_the_second_on_one_folder_is_told_who_the_first_is(tmp_path: Path) -> None:
    """The refusal names the process and its address."""
    path = tmp_path / "run" / "up.lock"
    first = DataLock.acquire(path, holder={"pid": os.getpid(), "url": "http://127.0.0.1:8800"})
    with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}, at http://127.0.0.1:8800"):
        DataLock.acquire(path, holder={}, patience=3600)
    first.release()
