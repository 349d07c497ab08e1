"""Every example of the page on clients, run as it stands there on a line that breaks: clients that nobody here wrote."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Shaky
from tests.clients.documented import examples, lay_out
from tests.contract.upload.conftest import MIB, content

PROGRAMS = {".py": sys.executable, ".sh": "sh", ".mjs": "node"}

needs_node = pytest.mark.needs_node
needs_curl = pytest.mark.needs_curl
RESUMING = [
    "upload.py",
    "tus.py",
    "parts.py",
    pytest.param("tus.sh", marks=needs_curl),
    pytest.param("tus.mjs", marks=needs_node),
    pytest.param("uppy.mjs", marks=needs_node),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody types an example: with a film that is 20 MiB long."""
    folder = tmp_path / "somebody"
    folder.mkdir()
    (folder / "holiday.mp4").write_bytes(content(20 * MIB))
    return folder


def run(shaky: Shaky, example: Path) -> "subprocess.Popen[str]":
    """The example as a program."""
    environment = {**os.environ, "PENSTOCK": shaky.url, "KEY": shaky.key}
    return subprocess.Popen(
        [PROGRAMS[example.suffix], str(example)],
        cwd=example.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def video(program: "subprocess.Popen[str]") -> str:
    """The id that it printed at its end."""
    output, _ = program.communicate(timeout=240)
    assert program.returncode == 0, output
    word, video_id = output.strip().splitlines()[-1].split()[:2]
    assert word == "video", output
    return video_id


def end(running: list["subprocess.Popen[str]"]) -> None:
    """As ``kill -9`` does."""
    running[0].kill()


@pytest.mark.parametrize("name", RESUMING)
def test_it_goes_on_after_a_broken_line(shaky: Shaky, folder: Path, name: str) -> None:
    """The connection is reset in the middle: the client goes on by itself, what was there is not sent again."""
    shaky.proxy.cut_after(13 * MIB)
    video_id = video(run(shaky, lay_out(name, folder)))
    assert shaky.proxy.cuts == 1
    shaky.assert_has(folder / "holiday.mp4", video_id)
    assert shaky.proxy.received < 32 * MIB  # of 20: at most what was under way came twice


@pytest.mark.parametrize("name", RESUMING)
def test_it_goes_on_after_the_server_was_killed(shaky: Shaky, folder: Path, name: str) -> None:
    """``kill -9`` in the middle, and another server on what it left."""
    shaky.proxy.cut_after(13 * MIB, then=shaky.kill_and_start_again)
    video_id = video(run(shaky, lay_out(name, folder)))
    assert shaky.proxy.cuts == 1
    shaky.assert_has(folder / "holiday.mp4", video_id)


@pytest.mark.parametrize(
    "name", ["upload.py", "tus.py", "parts.py", pytest.param("tus.mjs", marks=needs_node)]
)
def test_it_goes_on_when_run_again(shaky: Shaky, folder: Path, name: str) -> None:
    """The program is killed in the middle; the same program, started again, sends the rest."""
    example = lay_out(name, folder)
    running: list[subprocess.Popen[str]] = []
    shaky.proxy.cut_after(13 * MIB, then=lambda: end(running))
    running.append(run(shaky, example))
    running[0].communicate(timeout=120)
    assert running[0].returncode != 0
    sent = shaky.proxy.received
    video_id = video(run(shaky, example))
    shaky.assert_has(folder / "holiday.mp4", video_id)
    assert shaky.proxy.received - sent < 17 * MIB  # of 20, the first had brought several


@needs_curl
def test_one_request_is_repeated_until_it_is_answered(shaky: Shaky, folder: Path) -> None:
    """Its answer is lost; the repetition under the same key is told of the same video."""
    shaky.proxy.lose_answer_to("POST /api/uploads?")
    program = run(shaky, lay_out("one-request.sh", folder))
    output, _ = program.communicate(timeout=240)
    assert program.returncode == 0, output
    assert shaky.proxy.cuts == 1
    (made,) = shaky.instance.videos()
    assert made.id in output
    shaky.assert_has(folder / "holiday.mp4", made.id)


def test_no_example_is_left_out() -> None:
    """What the page shows is run: here, or in a browser."""
    here = {"upload.py", "tus.py", "parts.py", "tus.sh", "tus.mjs", "uppy.mjs", "one-request.sh"}
    in_a_browser = {"uppy-page.js", "address.sh", "tus-page.js"}
    assert set(examples()) == here | in_a_browser
