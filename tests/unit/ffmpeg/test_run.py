import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.ffmpeg.commands import FIRST_OUTPUT_PIPE, Command
from penstock.ffmpeg.config import Isolation
from penstock.ffmpeg.progress import Progress
from penstock.ffmpeg.run import Finished, run
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import Cancelled, ToolError, ToolFailed

DEADLINE = 60.0  # seconds that a loaded machine may take to do what takes none


@pytest.fixture
def shell(tools: Tools) -> Tools:
    """Tools whose "ffmpeg" is a shell, so that a process can be made to misbehave; limits only."""
    return replace(tools, ffmpeg=Path("/bin/sh").resolve(), isolation=Isolation.NONE)


def script(text: str, *, reads: tuple[Path, ...] = (), pipes: int = 0) -> Command:
    """A command that runs this shell script."""
    return Command("ffmpeg", ("-c", text), reads, pipes)


def output(tools: Tools, text: str, *, reads: tuple[Path, ...] = ()) -> tuple[str, Finished]:
    """What a script prints, and how it ended."""
    printed = bytearray()
    finished = run(tools, script(text, reads=reads), {1: printed.extend})
    return printed.decode(), finished


def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fail after a generous while."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether the process is no more (a zombie that nobody has waited for counts as gone)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_output_messages_and_status_come_back(shell: Tools) -> None:
    """Each through its own channel."""
    printed, finished = output(shell, "echo made; echo trouble >&2; exit 3")
    assert (printed, finished.messages, finished.status) == ("made\n", "trouble\n", 3)


def test_pipes_appear_from_descriptor_three_on(shell: Tools) -> None:
    """So that commands can name them without knowing who starts them."""
    made: list[bytes] = []
    progress: list[Progress] = []
    run(
        shell,
        script("printf 'frame=7\nprogress=end\n' >&3; printf first >&4; printf second >&5", pipes=3),
        {FIRST_OUTPUT_PIPE: made.append, FIRST_OUTPUT_PIPE + 1: made.append},
        on_progress=progress.append,
    )
    assert sorted(made) == [b"first", b"second"]
    assert progress == [Progress(7, None, None, done=True)]


def test_few_descriptors_are_enough(shell: Tools) -> None:
    """Where ``ulimit -n`` is low, pipes arrive all the same."""
    made: list[bytes] = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    try:
        run(shell, script("printf made >&4", pipes=2), {FIRST_OUTPUT_PIPE: made.append})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert made == [b"made"]


def test_a_large_output_arrives_whole_and_in_order(shell: Tools) -> None:
    """Pipes hold a fraction of it."""
    printed, _ = output(shell, "i=0; while [ $i -lt 60000 ]; do echo $i; i=$((i+1)); done")
    assert printed.split() == [str(n) for n in range(60000)]


def test_what_nobody_waits_for_is_read_now_and_then_and_whole(shell: Tools) -> None:
    """A line per picture would otherwise wake the reader for each; it gets all of them, twice a second and at the end."""
    pieces: list[bytes] = []
    text = "i=0; while [ $i -lt 50 ]; do echo $i >&4; sleep 0.02; i=$((i+1)); done; printf last >&4"
    finished = run(
        shell, script(text, pipes=2), {FIRST_OUTPUT_PIPE: pieces.append}, seldom=(FIRST_OUTPUT_PIPE,)
    )
    assert b"".join(pieces).split() == [*(str(n).encode() for n in range(50)), b"last"]
    assert len(pieces) <= 2 * finished.seconds + 2


def test_more_than_a_pipe_holds_arrives_however_seldom_it_is_read(shell: Tools) -> None:
    """The process waits for the reader, not for ever."""
    received = bytearray()
    text = "head -c 600000 /dev/zero >&4"
    run(shell, script(text, pipes=2), {FIRST_OUTPUT_PIPE: received.extend}, seldom=(FIRST_OUTPUT_PIPE,))
    assert len(received) == 600_000


def test_nothing_of_our_environment_is_inherited(shell: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential can be read by a decoder that a file has taken over."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    printed, _ = output(shell, "export -p; pwd")
    assert "secret" not in printed
    assert "HOME" not in printed
    assert printed.endswith("/\n")


def test_no_descriptor_of_ours_is_inherited(shell: Tools, tmp_path: Path) -> None:
    """Not even one that is marked to be."""
    with (tmp_path / "database").open("wb") as ours:
        os.set_inheritable(ours.fileno(), True)
        printed, _ = output(shell, "ls -l /proc/$$/fd")
    assert "database" not in printed


def test_a_process_can_write_no_file(shell: Tools, tmp_path: Path) -> None:
    """Everything leaves through pipes, so the limit on file sizes is zero."""
    output(shell, f"echo planted > {tmp_path}/file")
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_bytes() == b""


def test_cancelling_kills_the_whole_group_at_once(shell: Tools) -> None:
    """The process and what it started."""
    cancel, pids = threading.Event(), bytearray()

    def started(data: bytes) -> None:
        pids.extend(data)
        if pids.count(b"\n") == 2:
            cancel.set()

    before = time.monotonic()
    with pytest.raises(Cancelled):
        run(shell, script("echo $$; sleep 600 & echo $!; wait"), {1: started}, cancel=cancel)
    assert time.monotonic() - before < DEADLINE
    for pid in pids.split():
        until(lambda pid=pid: gone(int(pid)))  # type: ignore[misc]


def test_an_error_in_a_sink_ends_the_process_and_reaches_the_caller(shell: Tools) -> None:
    """A store that is full, for instance."""
    pids = bytearray()

    def full(data: bytes) -> None:
        pids.extend(data)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run(shell, script("echo $$; exec sleep 600"), {1: full})
    until(lambda: gone(int(pids)))


def limited(shell: Tools, **limits: float) -> Tools:
    """The same tools with other limits."""
    return replace(shell, config=replace(shell.config, **limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "limits", "code"),
    [
        ("sleep 600", {"stall_seconds": 0.2}, "tool_stalled"),
        ("exec >&- 2>&-; sleep 600", {"stall_seconds": 0.2}, "tool_stalled"),
        ("while :; do echo on and on; done", {"output_bytes": 10_000}, "tool_output_too_large"),
        ("while :; do :; done", {"cpu_seconds": 1}, "tool_cpu_limit"),
    ],
)
def test_a_process_beyond_its_limits_is_killed(
    shell: Tools, text: str, limits: dict[str, float], code: str
) -> None:
    """Silent, closed and still there, talkative, busy: each has its code."""
    with pytest.raises(ToolFailed) as failure:
        run(limited(shell, **limits), script(text), {})
    assert failure.value.code == code


def test_repeating_the_same_progress_is_no_progress(shell: Tools) -> None:
    """A decoder in a loop goes on reporting."""
    talkative = "while :; do printf 'frame=1\nprogress=continue\n' >&3; sleep 0.05; done"
    with pytest.raises(ToolFailed) as failure:
        run(limited(shell, stall_seconds=0.4), script(talkative, pipes=1), {})
    assert failure.value.code == "tool_stalled"


def test_a_deadline_is_kept(shell: Tools) -> None:
    """For runs that are short or wrong."""
    with pytest.raises(ToolFailed) as failure:
        run(shell, script("while :; do echo busy; sleep 0.05; done"), {}, deadline=0.3)
    assert failure.value.code == "tool_deadline"


def test_memory_is_limited(shell: Tools) -> None:
    """A process that wants more fails by itself; the machine goes on."""
    _, finished = output(
        limited(shell, memory_bytes=64 << 20), "head -c 400000000 /dev/zero | tail -c 300000000"
    )
    assert finished.status != 0


def test_complaints_are_kept_from_the_end_and_bounded(shell: Tools) -> None:
    """A broken file makes a decoder complain without end; the last words matter."""
    _, finished = output(shell, "i=0; while [ $i -lt 20000 ]; do echo complaint $i >&2; i=$((i+1)); done")
    assert finished.messages.endswith("complaint 19999\n")
    assert len(finished.messages) <= 64 << 10


def test_a_program_that_cannot_be_started_is_an_operators_matter(shell: Tools) -> None:
    """Not a fault of the source."""
    with pytest.raises(ToolError):
        run(replace(shell, ffmpeg=Path("/nonexistent/ffmpeg")), script("true"), {})


@pytest.mark.needs_bubblewrap
def test_a_sandbox_that_cannot_be_built_is_an_operators_matter(shell: Tools) -> None:
    """Bubblewrap ends with the status of a tool that failed; its words tell."""
    gone = replace(shell, ffmpeg=Path("/nonexistent/ffmpeg"), isolation=Isolation.BUBBLEWRAP)
    with pytest.raises(ToolError):
        run(gone, script("true"), {})


def test_a_machine_without_room_for_a_process_is_an_operators_matter(
    shell: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system says of it is no defect of this program."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(ToolError):
        run(shell, script("true"), {})


def test_runs_leave_no_descriptor_behind(shell: Tools) -> None:
    """Whether they end well or not."""
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the iterator of pathlib holds one itself
    for _ in range(5):
        output(shell, "true")
        with pytest.raises(ToolFailed):
            run(shell, script("sleep 600", pipes=2), {FIRST_OUTPUT_PIPE: lambda _: None}, deadline=0.05)
    # There may be fewer: what earlier tests left to the collector of garbage.
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
from penstock.ffmpeg.commands import Command
from penstock.ffmpeg.config import FfmpegConfig, Isolation
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
isolation = Isolation(sys.argv[1])
bubblewrap = Path(sys.argv[2]) if sys.argv[2] else None
shell = Path("/bin/sh").resolve()
tools = Tools(shell, shell, "", "", frozenset(), isolation, bubblewrap, FfmpegConfig())
say = lambda data: (sys.stdout.buffer.write(data), sys.stdout.flush())
run(tools, Command("ffmpeg", ("-c", "echo $PPID; exec sleep 600")), {1: say})
"""


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            found += [int(child), *children(int(child))]
    return found


def test_a_killed_worker_takes_its_processes_with_it(tools: Tools) -> None:
    """The kernel sees to it: ``kill -9`` leaves no time for anything else. Under whatever isolation is in force."""
    arguments = [sys.executable, "-c", WORKER, tools.isolation, str(tools.bubblewrap or "")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()  # the media process runs
        descendants = children(worker.pid)
        assert descendants
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        for pid in descendants:
            until(lambda pid=pid: gone(pid))  # type: ignore[misc]


@pytest.mark.needs_bubblewrap  # what bubblewrap is allowed to do is what a network namespace takes
@pytest.mark.parametrize("isolation", [Isolation.BUBBLEWRAP, Isolation.NAMESPACE])
def test_isolation_takes_the_network_away(shell: Tools, isolation: Isolation) -> None:
    """Only a loopback that leads nowhere is left."""
    printed, finished = output(replace(shell, isolation=isolation), "cat /proc/net/dev")
    interfaces = [line.split(":")[0].strip() for line in printed.splitlines() if ":" in line]
    assert finished.status == 0
    assert interfaces in ([], ["lo"])


@pytest.mark.needs_bubblewrap
def test_bubblewrap_takes_all_other_files_away(shell: Tools, tmp_path: Path) -> None:
    """The source can be read; a file beside it, and the passwords, are not even there."""
    source, beside = tmp_path / "source", tmp_path / "beside"
    source.write_text("the source", encoding="ascii")
    beside.write_text("a neighbour's video", encoding="ascii")
    wrapped = replace(shell, isolation=Isolation.BUBBLEWRAP)
    printed, _ = output(
        wrapped, f"cat {source} {beside} /etc/passwd; echo; echo x >> {source}", reads=(source,)
    )
    assert printed == "the source\n"
    assert source.read_text(encoding="ascii") == "the source"


@pytest.mark.needs_bubblewrap
def test_bubblewrap_hides_other_processes(shell: Tools) -> None:
    """Nothing to signal, nothing to look at."""
    printed, _ = output(replace(shell, isolation=Isolation.BUBBLEWRAP), "echo /proc/[0-9]*")
    assert str(os.getpid()) not in [Path(path).name for path in printed.split() if int(Path(path).name) > 10]
    assert len(printed.split()) < 5


def test_a_background_run_steps_back_for_other_sessions_too(shell: Tools) -> None:
    """Where the kernel shares the processors between sessions first, niceness inside a session of its own means nothing."""
    printed = bytearray()
    text = "nice; grep -o 'nice.*' /proc/self/autogroup 2>/dev/null || echo none"
    run(shell, script(text), {1: printed.extend}, nice=7)
    niceness, group = printed.decode().splitlines()
    assert int(niceness) == os.nice(0) + 7
    assert group in {f"nice {niceness}", "none"}
