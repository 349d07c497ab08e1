"""``penstock upload`` and ``penstock import`` as people run them: as programs that are interrupted, killed and run again."""

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.clients.proxy import Proxy
from tests.cluster.conftest import platform
from tests.cluster.running import PATIENCE, Platform
from tests.contract.upload.conftest import MIB, content

__all__ = ["platform"]

pytestmark = pytest.mark.xdist_group("command-line-clients")  # one platform serves all tests of this file

PART = 16 * MIB


@pytest.fixture
def line(platform: Platform) -> Iterator[Proxy]:
    """To the platform."""
    port = int(platform.url.rpartition(":")[2])
    with Proxy(lambda: port) as proxy:
        yield proxy


@pytest.fixture
def penstock(platform: Platform, line: Proxy, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts a command whose server is at the end of the line, with a state folder of its own."""
    environment = {
        **platform.environment,
        "PENSTOCK_URL": line.url,
        "PENSTOCK_STATE": str(tmp_path / "state"),
    }

    def start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "penstock.cli", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ended(program: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit status and what it said."""
    output, errors = program.communicate(timeout=PATIENCE)
    return program.returncode, output, errors


def assert_there(platform: Platform, video_id: str, data: bytes) -> None:
    """The platform keeps these very bytes for it."""
    with platform.client() as client:
        uploaded = [event for event in client.history(video_id) if event["event"] == "upload_completed"]
    assert len(uploaded) == 1
    digests = {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (platform.data / "sources").rglob("*")
        if path.is_file() and video_id in str(path)
    }
    assert digests == {hashlib.sha256(data).hexdigest()}


def end_web(platform: Platform) -> None:
    """As ``kill -9`` does; the supervisor starts it again."""
    platform.kill("web")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_upload_that_was_ended_goes_on(
    platform: Platform,
    line: Proxy,
    penstock: Callable[..., "subprocess.Popen[str]"],
    tmp_path: Path,
    end: int,
) -> None:
    """Ctrl-C says how far it is and which command goes on; so does that command, even after kill -9."""
    file = tmp_path / "clip.mp4"
    data = content(5 * PART, seed=end)
    file.write_bytes(data)
    running: list[subprocess.Popen[str]] = []
    line.cut_after(4 * PART + PART // 2, then=lambda: os.kill(running[0].pid, end))
    running.append(penstock("upload", str(file)))
    status, _, errors = ended(running[0])
    if end == signal.SIGINT:
        assert (status, "Traceback" in errors) == (130, False)
        assert re.search(
            r"interrupted: [\d.]+ MB of 83.9 MB of clip.mp4 are sent. To go on: penstock upload .*clip.mp4",
            errors,
        )
    sent = line.received
    status, output, errors = ended(penstock("upload", str(file)))
    assert status == 0, errors
    assert line.received - sent < 5 * PART  # at least one part was there
    assert_there(platform, output.split()[0], data)


def test_a_server_that_restarts_is_waited_for(
    platform: Platform, line: Proxy, penstock: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """The web process is killed under the upload; a line says that it waits, and the upload ends well."""
    file = tmp_path / "clip.mp4"
    data = content(4 * PART, seed=7)
    file.write_bytes(data)
    line.cut_after(2 * PART, then=lambda: end_web(platform))
    status, output, errors = ended(penstock("upload", str(file)))
    assert status == 0, errors
    assert errors.count("waiting: The server does not answer; trying again in") == 1
    assert_there(platform, output.split()[0], data)


def test_several_files_have_a_summary(
    penstock: Callable[..., "subprocess.Popen[str]"], clips: Path, tmp_path: Path
) -> None:
    """One that is refused does not keep the others, and the exit status tells."""
    files = [tmp_path / name for name in ("one.mp4", "two.mp4", "empty.mp4")]
    for file in files[:2]:
        file.write_bytes((clips / "hdr10-av1.mp4").read_bytes())
    files[2].touch()
    status, output, errors = ended(penstock("upload", *map(str, files)))
    assert status == 1
    assert "1 uploaded, 1 there already, 1 refused" in errors
    assert "error empty_upload" in errors
    assert len({row.split()[0] for row in output.splitlines()}) == 1


def test_an_import_that_was_interrupted_goes_on(
    platform: Platform, penstock: Callable[..., "subprocess.Popen[str]"], line: Proxy, tmp_path: Path
) -> None:
    """Interrupted in the middle, and run again to its end: every file is there whole, and what was refused is told."""
    folder = tmp_path / "holidays"
    (folder / "deep").mkdir(parents=True)
    contents = {f"{n}.mp4": content(6 * MIB, seed=30 + n) for n in range(4)}
    contents["deep/last.mov"] = content(MIB, seed=40)
    contents["deep/empty.mkv"] = b""
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "readme.txt").write_text("no video")

    status, planned, errors = ended(penstock("import", str(folder), "--dry-run"))
    assert (status, planned.count("would be uploaded")) == (0, 6)
    assert "6 of 6 files would be uploaded" in errors
    assert "1 others are left out" in errors

    running: list[subprocess.Popen[str]] = []
    line.cut_after(10 * MIB, then=lambda: os.kill(running[0].pid, signal.SIGINT))
    running.append(penstock("import", str(folder)))
    status, _, errors = ended(running[0])
    assert (status, "Traceback" in errors) == (130, False)
    assert "The same command goes on" in errors

    status, second, errors = ended(penstock("import", str(folder), "--json"))
    assert status == 1, errors  # the empty file
    assert second, errors
    outcomes = {Path(item["shown"]).name: item for item in json.loads(second)}
    assert outcomes["empty.mkv"]["error"]["code"] == "empty_upload"
    assert outcomes["last.mov"]["outcome"] in {"uploaded", "duplicate"}
    for name in ("0.mp4", "1.mp4", "2.mp4", "3.mp4"):
        assert_there(platform, outcomes[name]["video_id"], contents[name])


def test_videos_that_are_there_are_not_sent_again(
    platform: Platform,
    penstock: Callable[..., "subprocess.Popen[str]"],
    line: Proxy,
    clips: Path,
    tmp_path: Path,
) -> None:
    """A folder of real clips, imported twice: the second time costs a question for each."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("bigbuckbunny.mp4", "bbb_first_750ms.ts"):
        (folder / name).symlink_to(clips / name)
    status, first, errors = ended(penstock("import", str(folder)))
    assert status == 0, errors
    assert first.count(" uploaded ") == 2
    sent = line.received
    status, second, errors = ended(penstock("import", str(folder)))
    assert status == 0, errors
    assert second.count(" duplicate ") == 2
    assert {row.split()[0] for row in first.splitlines()} == {row.split()[0] for row in second.splitlines()}
    assert line.received - sent < 4000
    status, planned, _ = ended(penstock("import", str(folder), "--dry-run"))
    assert (status, planned.count("there already as ")) == (0, 2)


def test_bars_do_not_mix_with_results(platform: Platform, line: Proxy, clips: Path, tmp_path: Path) -> None:
    """On a screen there are bars with speed and time left; what is piped on is the results alone."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "sample.avi").symlink_to(clips / "sample.avi")
    screen, terminal = pty.openpty()
    environment = {**platform.environment, "PENSTOCK_STATE": str(tmp_path / "state"), "TERM": "xterm"}
    program = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "import", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the end of a screen
        while data := os.read(screen, 65536):
            shown += data
    os.close(screen)
    output, _ = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, shown
    assert "MB/s" in shown.decode()
    (row,) = output.splitlines()
    assert row.endswith(f"uploaded  {folder}/sample.avi")


def test_no_server_is_told_at_once(
    penstock: Callable[..., "subprocess.Popen[str]"], line: Proxy, tmp_path: Path
) -> None:
    """Nothing waits for a server that was never there; the exit status is that of trying again later."""
    line.refuse(True)
    line.__exit__()
    (tmp_path / "clip.mp4").write_bytes(content(MIB))
    for command in (("upload", str(tmp_path / "clip.mp4")), ("import", str(tmp_path))):
        status, _, errors = ended(penstock(*command))
        assert status == 4
        assert "penstock up" in errors
