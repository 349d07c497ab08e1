"""What the folder store asks of the operating system, seen by strace: the order of syncs, faults, and death at any step.

strace also injects: an error number into one call, or SIGKILL on entering it. So a full disk, a broken disk and a crash
between any two steps are the real program meeting them, without privileges.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.storage.staging import Staged
from penstock.storage.store import ObjectMissing

pytestmark = pytest.mark.needs_strace

DATA = bytes(range(256)) * 10_000  # 2.56 MB: three writes

PUT = """
from pathlib import Path
from penstock.storage.local import LocalStore
store = LocalStore(Path({root!r}))
print("ready", flush=True)
try:
    store.put("video/task.1/object", bytes(range(256)) * 10_000)
except Exception as error:
    print(type(error).__name__, flush=True)
else:
    print("acknowledged", flush=True)
"""

ADOPT = """
from pathlib import Path
from penstock.storage.local import LocalStore
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.staging import Staged
store = LocalStore(Path({root!r}))
staging, staged = FolderStaging(store), Staged("upload", "video/task.1/object")
print("ready", flush=True)
try:
    staging.create("upload")
    half = bytes(range(256)) * 5_000
    for offset in (len(half), 0):
        with staging.writing(staged, offset=offset) as part:
            part.write(half)
            part.sync()
    with staging.sealed(staged) as sealed:
        sealed.adopt()
except Exception as error:
    print(type(error).__name__, flush=True)
else:
    print("acknowledged", flush=True)
"""

SYSCALLS = "write,pwrite64,fsync,?rename,?renameat,?renameat2,?mkdir,?mkdirat,?unlink,?unlinkat"


@dataclass(frozen=True)
class Outcome:
    """What a traced child printed, and its calls from "ready" on, in order."""

    printed: list[str]
    calls: list[str]


def traced(tmp_path: Path, script: str, *, inject: str | None = None) -> Outcome:
    """Runs ``script`` on the store in ``tmp_path`` under strace."""
    log = tmp_path / "trace"
    program = script.format(root=str(tmp_path / "store"))
    command = ["strace", "-f", "-y", "-qq", "-s", "16", "-o", str(log), "-e", f"trace={SYSCALLS}"]
    command += ["-e", f"inject={inject}"] if inject else []
    result = subprocess.run(
        [*command, sys.executable, "-B", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = [re.sub(r"^\d+\s+", "", line) for line in log.read_text().splitlines()]
    ready = next((index for index, line in enumerate(lines) if '"ready' in line), len(lines))
    words = {"ready", "acknowledged", "StorageFull", "StorageUnavailable"}
    return Outcome([line for line in result.stdout.splitlines() if line in words], lines[ready + 1 :])


def position(calls: list[str], pattern: str) -> int:
    """The index of the only call that matches."""
    found = [index for index, call in enumerate(calls) if re.search(pattern, call)]
    assert len(found) == 1, (pattern, calls)
    return found[0]


@pytest.mark.parametrize("script", [PUT, ADOPT], ids=["put", "adopt"])
def test_synced_then_named_then_folder_synced_then_acknowledged(tmp_path: Path, script: str) -> None:
    """The file is synced before its rename, every folder that names it before the acknowledgement is written."""
    outcome = traced(tmp_path, script)
    assert outcome.printed == ["ready", "acknowledged"]
    root = re.escape(str(tmp_path / "store"))
    calls = outcome.calls
    acknowledged = position(calls, r'write\(1.*"acknowledged')
    named = position(calls, r"rename.*/video/task\.1/object\"")
    written = max(index for index, call in enumerate(calls) if re.search(r"write\((?!1<)", call))
    file_synced = max(
        i
        for i, call in enumerate(calls)
        if re.match(rf"fsync\(\d+<{root}/\.(tmp|staging)/[^>]*>\) += 0", call) and i < named
    )
    assert written < file_synced < named
    synced_after = [position(calls[named:], rf"fsync\(\d+<{root}/video/task\.1>\) += 0") + named]
    folders_made = [
        position(calls, rf"mkdir.*{root}/video\""),
        position(calls, rf"mkdir.*{root}/video/task\.1\""),
    ]
    entries_synced = [
        next(
            i
            for i, call in enumerate(calls)
            if i > folders_made[0] and re.match(rf"fsync\(\d+<{root}>\) += 0", call)
        ),
        next(
            i
            for i, call in enumerate(calls)
            if i > folders_made[1] and re.match(rf"fsync\(\d+<{root}/video>\) += 0", call)
        ),
    ]
    assert max(synced_after + entries_synced) < acknowledged


@pytest.mark.parametrize("script", [PUT, ADOPT], ids=["put", "adopt"])
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
def test_killed_on_entering_any_step(tmp_path: Path, script: str, call: str) -> None:
    """However far a writer came before ``kill -9``, the object is whole or absent, and whole if it was acknowledged."""
    calls = {"rename": "?rename,?renameat,?renameat2", "mkdir": "?mkdir,?mkdirat"}.get(call, call)
    for step in range(1, 40):
        folder = tmp_path / str(step)
        folder.mkdir()
        outcome = traced(folder, script, inject=f"{calls}:signal=KILL:when={step}")
        store = LocalStore(folder / "store")
        try:
            content = store.get("video/task.1/object")
        except ObjectMissing:
            assert "acknowledged" not in outcome.printed
            assert list(store.list("")) == []
        else:
            assert content == DATA
        store.put("video/task.1/object", DATA)  # what a crash left behind is in nobody's way
        assert store.get("video/task.1/object") == DATA
        FolderStaging(store).remove(Staged("upload", None))
        if outcome.printed[-1:] == ["acknowledged"]:
            return
    pytest.fail("the program never came to its end")


@pytest.mark.parametrize(
    ("script", "syncs"), [(PUT, range(2, 6)), (ADOPT, range(3, 11))], ids=["put", "adopt"]
)
@pytest.mark.parametrize(("fault", "error"), [("ENOSPC", "StorageFull"), ("EIO", "StorageUnavailable")])
def test_a_fault_of_the_disk_is_named(
    tmp_path: Path, script: str, syncs: range, fault: str, error: str
) -> None:
    """Whichever call fails, the error says full or broken, and there is no half object and no temporary file."""
    faults = [
        "write:when=3",
        *(f"fsync:when={n}" for n in syncs),
        "?rename,?renameat,?renameat2:when=1",
    ]
    for number, call in enumerate(faults):
        name, _, when = call.rpartition(":")
        folder = tmp_path / str(number)
        folder.mkdir()
        LocalStore(folder / "store").put("neighbour", b"x")
        LocalStore(folder / "store").hidden_folder("staging")
        outcome = traced(folder, script, inject=f"{name}:error={fault}:{when}")
        assert outcome.printed[-1] == error, (call, outcome)
        store = LocalStore(folder / "store")
        objects = {info.key: info.size for info in store.list("")}
        assert objects in ({"neighbour": 1}, {"neighbour": 1, "video/task.1/object": len(DATA)})
        assert list((folder / "store" / ".tmp").iterdir()) == []
