"""The project's own client on a line that breaks, with a server that dies."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from penstock.client import Client, ClientError
from penstock.client.connection import Patience
from tests.clients.conftest import Shaky
from tests.contract.upload.conftest import MIB, content

PATIENT = Patience(tries=60, first=0.05, longest=1)


@pytest.fixture
def told() -> list[str]:
    """The reasons of pauses that a person would have been told."""
    return []


@pytest.fixture
def client(shaky: Shaky, tmp_path: Path, told: list[str]) -> Iterator[Client]:
    """With a memory."""
    with a_client(shaky, tmp_path, told) as client:
        yield client


def a_client(shaky: Shaky, folder: Path, told: list[str] | None = None) -> Client:
    """Another program of the same user."""
    return Client(
        shaky.url,
        api_key=shaky.key,
        patience=PATIENT,
        memory=folder / "state" / "uploads.db",
        waiting=lambda _seconds, reason: None if told is None else told.append(reason.code),
    )


@pytest.mark.parametrize("size", [3 * MIB, 12 * MIB])
def test_a_line_that_breaks_in_the_middle(
    shaky: Shaky, client: Client, file: Path, told: list[str], size: int
) -> None:
    """The upload goes on by itself, says that it waits, and sends no part again that was there."""
    file.write_bytes(content(size))
    shaky.proxy.cut_after(size // 2)
    uploaded = client.upload(file)
    assert (shaky.proxy.cuts, "unreachable" in told) == (1, True)
    shaky.assert_has(file, uploaded.id)
    under_way = 3 * MIB  # the parts that broke off; a small file is one request, and begins again
    assert size == 3 * MIB or shaky.proxy.received < size + under_way + MIB / 4


def test_a_server_that_is_killed_in_the_middle(
    shaky: Shaky, client: Client, file: Path, told: list[str]
) -> None:
    """What it had acknowledged is there after its restart; the rest follows."""
    shaky.proxy.cut_after(7 * MIB, then=shaky.kill_and_start_again)
    uploaded = client.upload(file)
    shaky.assert_has(file, uploaded.id)
    assert shaky.proxy.received < 12 * MIB + 3 * MIB + MIB / 4


@pytest.mark.parametrize("request_line", ["POST /api/uploads/initiate", "POST /api/uploads/complete"])
def test_a_lost_answer_makes_no_second_video(
    shaky: Shaky, client: Client, file: Path, request_line: str
) -> None:
    """The same question again gets the same answer."""
    shaky.proxy.lose_answer_to(request_line)
    uploaded = client.upload(file)
    assert shaky.proxy.cuts == 1
    assert [video.id for video in shaky.instance.videos()] == [uploaded.id]
    shaky.assert_has(file, uploaded.id)


def test_a_lost_answer_to_a_small_file_makes_no_second_video(
    shaky: Shaky, client: Client, file: Path
) -> None:
    """One request has an idempotency key of its own."""
    file.write_bytes(content(MIB))
    shaky.proxy.lose_answer_to("POST /api/uploads?")
    uploaded = client.upload(file)
    assert shaky.proxy.cuts == 1
    assert [video.id for video in shaky.instance.videos()] == [uploaded.id]


class _Ended(BaseException):
    """As Ctrl-C ends a program at any moment."""


def ends_at(count: int) -> Callable[[str, int], None]:
    """A progress that is interrupted once so many bytes are sent."""

    def progress(stage: str, done: int) -> None:
        if stage == "send" and done >= count:
            raise _Ended

    return progress


def test_another_program_goes_on(shaky: Shaky, file: Path, tmp_path: Path) -> None:
    """It finds the upload by the file, asks what is there, and sends the rest; the digest is not even read again."""
    with a_client(shaky, tmp_path) as first, pytest.raises(_Ended):
        first.upload(file, progress=ends_at(6 * MIB))
    sent = shaky.proxy.received
    stages: list[tuple[str, int]] = []
    with a_client(shaky, tmp_path) as second:
        uploaded = second.upload(file, progress=lambda stage, done: stages.append((stage, done)))
    shaky.assert_has(file, uploaded.id)
    assert {stage for stage, _ in stages} == {"send"}
    assert stages[0][1] >= 3 * MIB  # where it went on: six were sent, of which at most three were under way
    assert shaky.proxy.received - sent < 9 * MIB + MIB / 4


def test_a_file_that_has_changed_is_another_file(shaky: Shaky, file: Path, tmp_path: Path) -> None:
    """What was begun for other bytes is not gone on with."""
    with a_client(shaky, tmp_path) as first, pytest.raises(_Ended):
        first.upload(file, progress=ends_at(6 * MIB))
    file.write_bytes(content(12 * MIB, seed=2))
    with a_client(shaky, tmp_path) as second:
        uploaded = second.upload(file)
    shaky.assert_has(file, uploaded.id)


def test_an_upload_that_was_cancelled_begins_anew(shaky: Shaky, file: Path, tmp_path: Path) -> None:
    """What is remembered only says what to ask about."""
    with a_client(shaky, tmp_path) as first, pytest.raises(_Ended):
        first.upload(file, progress=ends_at(6 * MIB))
    (video,) = shaky.instance.videos()
    with a_client(shaky, tmp_path) as second:
        with shaky.instance.catalog.read() as tx:
            from penstock.catalog import schema

            (upload_id,) = tx.execute(
                schema.uploads.select().with_only_columns(schema.uploads.c.id)
            ).scalars()
        second.connection.request("DELETE", f"/api/uploads/{upload_id}")
        uploaded = second.upload(file)
    assert uploaded.id != video.id
    shaky.assert_has(file, uploaded.id)


def test_the_same_file_again_is_known_without_reading_it(shaky: Shaky, file: Path, tmp_path: Path) -> None:
    """One question tells that its video still stands."""
    with a_client(shaky, tmp_path) as first:
        uploaded = first.upload(file)
    stages: list[str] = []
    sent = shaky.proxy.received
    with a_client(shaky, tmp_path) as second:
        again = second.upload(file, progress=lambda stage, _: stages.append(stage))
    assert (again.id, again.duplicate, again.sha256, stages) == (uploaded.id, True, uploaded.sha256, [])
    assert shaky.proxy.received - sent < 2000


def test_two_programs_send_the_same_file_at_once(shaky: Shaky, file: Path, tmp_path: Path) -> None:
    """Each waits where the other is at work; there is one video, and both are told of it."""
    results: list[str] = []

    def send() -> None:
        with a_client(shaky, tmp_path) as client:
            results.append(client.upload(file).id)

    programs = [Thread(target=send) for _ in range(2)]
    for program in programs:
        program.start()
    for program in programs:
        program.join()
    assert len(results) == 2
    shaky.assert_has(file, results[0])
    assert results[0] == results[1]


_MEASURED = """
import resource, sys
from pathlib import Path
from penstock.client import Client

with Client(sys.argv[1], api_key=sys.argv[2]) as client:
    for path in sys.argv[3:]:
        client.upload(Path(path))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_does_not_grow_with_the_file(shaky: Shaky, tmp_path: Path) -> None:
    """A program that has sent 8 MiB needs little more for 200: pieces of a quarter of a megabyte, three parts at a time."""
    small, large = tmp_path / "small.mp4", tmp_path / "large.mp4"
    small.write_bytes(content(8 * MIB, seed=3))
    large.write_bytes(content(200 * MIB, seed=4))
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURED, shaky.url, shaky.key, str(small), str(large)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert measured.returncode == 0, measured.stderr
    before, after = map(int, measured.stdout.split())
    assert after - before < 16 * MIB


def test_a_server_that_stays_away_is_told(shaky: Shaky, file: Path, tmp_path: Path) -> None:
    """Patience has an end; what was sent stays there for the next run."""
    haste = Patience(tries=3, first=0.01, longest=0.02)
    memory = tmp_path / "state" / "uploads.db"
    with Client(shaky.url, api_key=shaky.key, patience=haste, memory=memory) as hasty:
        shaky.proxy.cut_after(6 * MIB, then=lambda: shaky.proxy.refuse(True))
        with pytest.raises(ClientError) as trouble:
            hasty.upload(file)
        assert trouble.value.code == "unreachable"
        shaky.proxy.refuse(False)
        uploaded = hasty.upload(file)
    shaky.assert_has(file, uploaded.id)
    assert shaky.proxy.received < 12 * MIB + 3 * MIB + MIB / 4
