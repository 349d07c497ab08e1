import threading
from pathlib import Path
from threading import Barrier, Event, Lock

import pytest

from penstock.client import ClientError
from penstock.client.importing import Outcome, in_folder, send_all
from penstock.client.models import Uploaded
from penstock.client.sources import LocalFile, Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos and other things."""
    for name in (
        "b.MP4",
        "a.mkv",
        "deep/er/c.mov",
        "notes.txt",
        ".hidden.mp4",
        ".cache/d.mp4",
        "mp4",
        "x.mxf~",
    ):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bytes of " + name.encode())
    return tmp_path / "videos"


def names(sources: tuple[Source, ...]) -> list[str]:
    """What they are called."""
    return [source.name for source in sources]


def test_videos_are_found_by_their_endings(folder: Path) -> None:
    """Below every folder, in one order, whatever the case; hidden ones and what is no video are only counted."""
    found = in_folder(folder)
    assert names(found.sources) == ["a.mkv", "b.MP4", "c.mov"]
    assert found.left_out == 4
    assert found.unreadable == ()


def test_patterns_replace_the_endings(folder: Path) -> None:
    """For names that nobody thought of."""
    assert names(in_folder(folder, ["*.mxf~", "mp4"]).sources) == ["mp4", "x.mxf~"]


def test_links_lead_to_files_and_not_in_circles(folder: Path) -> None:
    """A linked file is one; a linked folder is not entered; a link to nothing is told."""
    (folder / "linked.mp4").symlink_to(folder / "a.mkv")
    (folder / "round").symlink_to(folder)
    (folder / "void.mp4").symlink_to(folder / "nothing")
    found = in_folder(folder)
    assert names(found.sources) == ["a.mkv", "b.MP4", "c.mov", "linked.mp4"]
    assert [(Path(item.shown).name, item.outcome) for item in found.unreadable] == [
        ("void.mp4", Outcome.REFUSED)
    ]


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(ClientError, match="nowhere is not a folder"):
        in_folder(tmp_path / "nowhere")


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """Ten files."""
    paths = [tmp_path / f"{n}.mp4" for n in range(10)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [LocalFile(path) for path in paths]


def test_each_file_has_its_outcome(sources: list[Source]) -> None:
    """A refusal stops nothing, and only so many are under way at once."""
    lock, together, under_way, most = Lock(), Barrier(3), 0, 0

    def send(source: Source) -> Uploaded:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if source.name in {"0.mp4", "1.mp4", "2.mp4"}:
            together.wait(30)  # three really are at once
        with lock:
            under_way -= 1
        if source.name == "3.mp4":
            raise ClientError("No video.", code="unsupported_media_type", status=415)
        return Uploaded(f"v{source.name[0]}", "uploaded", duplicate=source.name == "4.mp4")

    outcomes = {item.shown[-5:-4]: item for item in send_all(sources, send, together=3)}
    assert most == 3
    assert len(outcomes) == 10
    assert outcomes["3"].error is not None
    assert outcomes["4"].outcome is Outcome.DUPLICATE
    rest = [outcomes[str(n)] for n in (0, 1, 2, 5, 6, 7, 8, 9)]
    assert all((item.outcome, item.video_id) == (Outcome.UPLOADED, f"v{item.shown[-5]}") for item in rest)


@pytest.mark.parametrize(
    "trouble",
    [
        ClientError("Gone.", code="unreachable"),
        ClientError("No key.", code="unauthenticated", status=401),
        ClientError("Full.", code="storage_full", status=507),
    ],
)
def test_what_would_meet_every_file_ends_it(sources: list[Source], trouble: ClientError) -> None:
    """Nobody wants the same error ten thousand times."""
    tried: list[str] = []

    def send(source: Source) -> Uploaded:
        tried.append(source.name)
        raise trouble

    with pytest.raises(ClientError, match=trouble.detail):
        list(send_all(sources, send, together=1))
    assert tried == ["0.mp4"]


def test_closing_begins_no_further_file(sources: list[Source]) -> None:
    """An interrupted import lets the file end that is under way, and begins none after it."""
    begun: list[str] = []
    interrupted = Event()

    def send(source: Source) -> Uploaded:
        begun.append(source.name)
        if len(begun) > 1:
            assert interrupted.wait(60)
        return Uploaded("v", "uploaded", duplicate=False)

    outcomes = send_all(sources, send, together=1)
    next(outcomes)
    outcomes.close()
    interrupted.set()
    for thread in threading.enumerate():
        if thread.name == "import-0":
            thread.join(60)
    assert len(begun) <= 2
